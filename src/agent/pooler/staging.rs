//! Puts the file of a decision that may come on the host, and says when that does not work: the
//! failover would not work either.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Running;
use crate::core::plan::Decision;
use crate::edge::chain;
use crate::edge::remote::RemoteError;

impl Running {
    pub(super) async fn prepare(&mut self, decision: &Decision, moves: &BTreeSet<String>) {
        let (Some(links), Some(observation)) = (&self.links, self.worker.observation()) else {
            return;
        };
        let version = links.consoles.iter().map(|console| console.version).min();
        let planner = &self.task.planner;
        let plan = match planner.plan(decision, moves, moves.clone(), observation, version) {
            Ok(plan) => plan,
            Err(error) => return self.not_staged(decision, &error.to_string()),
        };
        let keep = self.worker.staged_still_wanted();
        let begun = Instant::now();
        let host = &links.host;
        match host
            .stage(plan.writer, &plan.content, &plan.hash, &keep)
            .await
        {
            Ok(()) => {
                let took_ms = begun.elapsed().as_millis();
                let (failed, generation) = (decision.failed, decision.generation);
                let name = &self.task.pgbouncer.name;
                tracing::debug!(
                    pgbouncer = name, %failed, %generation, took_ms,
                    "staged the file for a failover"
                );
                if self.worker.staged(decision, plan.hash) {
                    let name = &self.task.pgbouncer.name;
                    tracing::info!(pgbouncer = name, "files for a failover can be staged again");
                }
            }
            Err(error @ RemoteError::Lost { .. }) => self.away(&error.into()),
            Err(error) => self.not_staged(decision, &chain(&error)),
        }
    }

    fn not_staged(&mut self, decision: &Decision, reason: &str) {
        let news = self.worker.not_staged(Instant::now());
        let (name, failed) = (self.name(), decision.failed);
        match news {
            true => tracing::warn!(
                pgbouncer = name,
                reason,
                "the file for a failover of node {failed} cannot be staged: that failover would \
                 fail here; trying again"
            ),
            false => tracing::debug!(pgbouncer = name, reason, %failed, "not staged"),
        }
    }
}
