//! What the log says of one PgBouncer while nothing is being decided.

use std::collections::BTreeSet;

use super::Running;
use crate::agent::executor::Cleared;
use crate::config::{Drift, NodeId};
use crate::core::worker::{Difference, Status};

impl Running {
    pub(super) fn say_reached(&self) {
        let (name, status) = (self.name(), self.worker.status());
        let versions = self.links.iter().flat_map(|links| &links.consoles);
        let version = versions.map(|console| console.version).min();
        let version = version.map(|version| version.to_string());
        let nodes: Vec<String> = status.serves.iter().map(NodeId::to_string).collect();
        let serves = nodes.join(",");
        tracing::info!(pgbouncer = name, version, serves, "PgBouncer is reached");
    }

    /// What somebody left behind is cleared up.
    pub(super) fn say_cleared(&self, token: &str, cleared: &Cleared) {
        let join = |names: &BTreeSet<String>| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.join(",")
        };
        if cleared.enabled.is_empty() {
            tracing::warn!(
                pgbouncer = self.name(),
                operation = token,
                resumed = join(&cleared.resumed),
                "cleared up after an operation that did not end"
            );
        } else {
            let enabled = join(&cleared.enabled);
            tracing::info!(pgbouncer = self.name(), enabled, "there is a node again");
        }
        for note in &cleared.notes {
            tracing::warn!(pgbouncer = self.name(), "{note}");
        }
    }

    /// One line when it starts to differ from what it should be, one when it agrees again.
    pub(super) fn say_differences(&self, before: &Status) {
        let (name, status) = (self.name(), self.worker.status());
        let news = |one: &&Difference| !before.differs.contains(*one);
        let agrees = status.differs.is_empty() && !before.differs.is_empty();
        if agrees {
            tracing::info!(pgbouncer = name, "PgBouncer is as it should be again");
        }
        if status.differs.iter().any(|one| news(&one)) {
            let all: Vec<String> = status.differs.iter().map(Difference::to_string).collect();
            let outdated = status.differs.iter().any(|one| one.outdated().is_some());
            let then = match outdated {
                true => self.what_follows(status),
                false => "",
            };
            tracing::warn!(
                pgbouncer = name,
                "PgBouncer is not as it should be: {}{then}",
                all.join("; ")
            );
        }
    }

    fn what_follows(&self, status: &Status) -> &'static str {
        let reconciling = self.worker.reconciling();
        match reconciling.map(|told| told.drift) {
            _ if status.given_up => {
                "; it was put right three times within ten minutes and undone again: left as it \
                 is until the next decision"
            }
            _ if status.differs.iter().any(Difference::is_held) => "; left until that is over",
            Some(Drift::Repair) => "; putting it right, unless failover is paused",
            Some(Drift::Report) | None => "; left as it is, because of drift = \"report\"",
        }
    }
}
