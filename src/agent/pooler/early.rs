//! Pausing on suspicion, as the worker says ([`crate::core::worker::early`]), and what a host needs
//! for it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Running;
use crate::agent::links::{LinkError, Links, file_state, record_owed, why_no_switch};
use crate::config::NodeId;
use crate::core::debt::Debt;
use crate::core::pooler::Operation;
use crate::core::sequence::{Owed, pause};
use crate::core::worker::early::{self, EarlyEnd};
use crate::edge::chain;

/// The pause holds from the moment when the command is read; its answer is not waited for.
const SENT: Duration = Duration::from_millis(20);

impl Running {
    /// The ways were opened: what they allow.
    pub(super) fn found_switch(&mut self, links: &Links) {
        let (bouncer, has_switch) = (&self.task.pgbouncer, links.switch.is_there());
        let configured = bouncer.early_pause;
        let allowed = early::allowed(configured, has_switch);
        self.worker.allow_early_pause(allowed);
        let pauses = links.may_pause(bouncer);
        if !has_switch && pauses && !std::mem::replace(&mut self.told_no_switch, true) {
            let early = match configured.is_some() && allowed.is_none() {
                true => "; early_pause is not used",
                false => "",
            };
            tracing::warn!(
                pgbouncer = self.task.pgbouncer.name,
                "nothing on its host could end a pause if this agent were killed: {}; no pause \
                 lasts longer than {} s{early}",
                why_no_switch(bouncer),
                pause::limit(false).as_secs()
            );
        }
    }

    pub(super) async fn pause_early(
        &mut self,
        node: NodeId,
        databases: BTreeSet<String>,
        limit: Duration,
    ) {
        let Some(links) = &self.links else { return };
        let databases = match not_paused(links, databases).await {
            Ok(databases) => databases,
            Err(error) => return self.away(&error),
        };
        let (token, until) = (self.task.planner.token(), Instant::now() + limit);
        let debt = Debt {
            paused: databases.clone(),
            ..Debt::default()
        };
        let paused = begin(links, &token, &debt, limit).await;
        let names = list(&databases);
        match &paused {
            Ok(true) => tracing::info!(
                pgbouncer = self.name(),
                operation = token,
                "node {node} is suspect: clients of {names} wait, for {} s at most",
                limit.as_secs_f64()
            ),
            Ok(false) => tracing::debug!(pgbouncer = self.name(), "something is on record"),
            Err(_) => {}
        }
        // Where an answer is lost, it may be paused all the same.
        let ours = !matches!(paused, Ok(false));
        self.worker
            .paused_early(ours.then_some(token), node, databases, until);
        if let Err(error) = paused {
            self.away(&error);
        }
    }

    pub(super) async fn end_early_pause(
        &mut self,
        token: &str,
        databases: BTreeSet<String>,
        why: EarlyEnd,
    ) {
        let Some(links) = &self.links else { return };
        let names = list(&databases);
        match end(links, token, databases, why == EarlyEnd::NotSuspect).await {
            Ok(Ended::Resumed(owed)) => {
                tracing::info!(
                    pgbouncer = self.name(),
                    "clients of {names} wait no longer: {why}"
                );
                self.worker.early_pause_ended(owed);
            }
            Ok(Ended::TakenOver) => self.worker.early_pause_ended(None),
            Err(error) => self.away(&error),
        }
    }
}

/// Without what somebody has paused since the last look.
async fn not_paused(
    links: &Links,
    mut databases: BTreeSet<String>,
) -> Result<BTreeSet<String>, LinkError> {
    for console in &links.consoles {
        let entries = console.databases().await?;
        databases.retain(|name| entries.get(name).is_some_and(|entry| !entry.paused));
    }
    Ok(databases)
}

/// `false`: something else is on record, and nothing was paused.
async fn begin(
    links: &Links,
    token: &str,
    debt: &Debt,
    limit: Duration,
) -> Result<bool, LinkError> {
    let (json, lease) = (json(debt), pause::lease(limit));
    if !links
        .host
        .record_alone(token, lease, &json, &links.switch)
        .await?
    {
        return Ok(false);
    }
    let pauses = links.consoles.iter().flat_map(|console| {
        let databases = debt.paused.iter();
        databases.map(move |database| console.pause(database, SENT))
    });
    for answer in join_all(pauses).await {
        if let Err(error) = answer {
            // Some of it may hold; it is on record, and ended like the rest.
            tracing::warn!(error = chain(&error), "clients may see errors");
        }
    }
    // Another agent may have begun a redirect in between, and not know of this pause.
    if on_record(links, token).await?.is_some() {
        return Ok(true);
    }
    links.resume(&debt.paused).await?;
    Ok(false)
}

/// How an early pause ended.
enum Ended {
    /// Another operation is on record in its place, and resumes at its own end.
    TakenOver,
    /// Clients go on; this is left to pay.
    Resumed(Option<Owed>),
}

/// Ends it. With `hasten`, `server_login_retry` is made short for a while, so that clients do not
/// wait for pools that failed to connect before the pause.
async fn end(
    links: &Links,
    token: &str,
    paused: BTreeSet<String>,
    hasten: bool,
) -> Result<Ended, LinkError> {
    let Some(operation) = on_record(links, token).await? else {
        return Ok(Ended::TakenOver);
    };
    let found = match links.settings().await {
        Ok(found) => found,
        Err(error) => {
            // A process is gone; the clients of the others go on all the same.
            links.resume(&paused).await?;
            return Err(error.into());
        }
    };
    let owed = early::owed(token, found, &operation.debt, hasten, Instant::now());
    let Some(owed) = owed else {
        let debt = Debt {
            paused,
            ..Debt::default()
        };
        links.pay(token, &debt).await?;
        return Ok(Ended::Resumed(None));
    };
    let debt = Debt {
        paused,
        ..owed.debt()
    };
    let first = pause::lease(pause::limit(links.switch.is_there()));
    links.host.update(token, first, &json(&debt)).await?;
    let hastened = match hasten {
        true => links.hasten().await,
        false => Ok(()),
    };
    links.resume(&debt.paused).await?;
    hastened?;
    record_owed(&links.host, &owed).await?;
    Ok(Ended::Resumed(Some(owed)))
}

/// The operation of this token, if it is on record.
async fn on_record(links: &Links, token: &str) -> Result<Option<Operation>, LinkError> {
    let operation = file_state(&links.host.inspect().await?).operation;
    Ok(operation.filter(|operation| operation.token == token))
}

fn json(debt: &Debt) -> String {
    serde_json::to_string(debt).expect("a debt holds nothing but text")
}

fn list(databases: &BTreeSet<String>) -> String {
    let names: Vec<String> = databases.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
