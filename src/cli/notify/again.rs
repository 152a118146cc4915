//! No event: where traffic belongs is found out from what the nodes and the PgBouncers say now, and
//! what is left to do is done. Whenever it is not certain, nothing is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::course::{Course, Known, Proof, Time, Watched};
use super::failover::look_at;
use super::members::Members;
use super::promotion;
use crate::agent::daemon::planners;
use crate::agent::pooler::Identities;
use crate::cli::print;
use crate::config::{Config, NodeId};
use crate::core::node::{Fault, Probe};
use crate::core::worker::Scope;
use crate::generation::Generation;

/// Finishes what is left to do, if anything is.
pub(super) async fn run(config: Config, file: &Path, time: Time) -> anyhow::Result<()> {
    let members = Members::look(&config, time.deadline).await;
    let records = members.records(config.node_id);
    let streaming = records.iter().any(|record| record.kind != "bdr");
    match streaming {
        true => follow_primary(&config, members, file, time).await,
        false => finish_failover(config, members, file, time).await,
    }
}

async fn follow_primary(
    config: &Config,
    members: Members,
    file: &Path,
    time: Time,
) -> anyhow::Result<()> {
    let (mut course, doubtful) = promotion::only(config, members).context("nothing was changed")?;
    let planners = std::mem::take(&mut course.planners);
    let _claim = tokio::time::timeout_at(time.deadline.into(), course.claim()).await;
    let identities = Identities::from([(course.active, course.identity.clone())]);
    let mut watched = Watched::start(&course.config, planners, identities)?;
    watched.look(time.deadline).await;
    if let Some(why) = doubt(&watched.known, &doubtful, course.active) {
        watched.stop(time.deadline).await;
        bail!("nothing was changed: {why}");
    }
    course.go(watched, file, time).await
}

/// A PgBouncer may be on a primary that came after the one that was found, and cannot be asked from
/// here: so it is where this host is cut off together with an old primary.
fn doubt(known: &Known, doubtful: &BTreeSet<NodeId>, active: NodeId) -> Option<String> {
    let silent = doubtful.first()?;
    for (name, status) in known {
        let trouble = status.trouble.as_deref().unwrap_or("no answer in time");
        if !status.reached {
            return Some(format!(
                "{name} is not reached ({trouble}), and node {silent} cannot be asked, which \
                 node {active} takes for an active one"
            ));
        }
        if let Some(node) = status.serves.intersection(doubtful).next() {
            return Some(format!(
                "{name} serves node {node}, which cannot be asked, and which node {active} takes \
                 for an active one: it may be the primary"
            ));
        }
    }
    None
}

/// What is known of a pair of which both nodes take writes.
struct Pair {
    healthy: Identities,
    down: BTreeMap<NodeId, Fault>,
    reasons: Vec<String>,
}

async fn finish_failover(
    mut config: Config,
    members: Members,
    file: &Path,
    time: Time,
) -> anyhow::Result<()> {
    config.nodes = members.nodes.clone();
    let planners = planners(&config).context("nothing was changed")?;
    let asks = Pair::look(&config);
    let pair = tokio::time::timeout_at(time.deadline.into(), asks).await;
    let pair = pair.context("nothing was changed: --timeout is over before the nodes answered")?;
    if pair.healthy.is_empty() {
        let reasons = pair.reasons.join("; ");
        bail!("nothing was changed: no node is healthy: {reasons}");
    }
    let mut watched = Watched::start(&config, planners, pair.healthy.clone())?;
    watched.look(time.deadline).await;
    let served = watched.known.values().flat_map(|status| &status.serves);
    let left: Option<NodeId> = served.copied().find(|node| pair.down.contains_key(node));
    let Some(failed) = left else {
        // A redirect may just be running, or was killed in the middle: the second is cleared up as
        // soon as its time is over.
        let rests = |known: &Known| known.values().all(|status| !status.paused);
        watched.until(time.work_until(), rests).await;
        let end = all_is_well(&watched.known);
        watched.stop(time.deadline).await;
        return end;
    };
    let newest = watched
        .known
        .values()
        .max_by_key(|status| status.generation);
    let newest = newest.filter(|status| status.generation > Generation::NONE);
    let decided = newest.and_then(|status| status.file_active);
    let active = decided.filter(|node| pair.healthy.contains_key(node));
    let Some(active) = active.or_else(|| pair.healthy.keys().next().copied()) else {
        bail!("no node is healthy")
    };
    let records = members.records(active);
    let given_up = records
        .iter()
        .any(|row| row.node_id == failed && !row.active);
    if decided != Some(active) && !given_up {
        watched.stop(time.deadline).await;
        bail!(
            "nothing was changed: node {failed} does not answer, but nobody has decided to leave \
             it: neither does repmgr.nodes have it as inactive, nor does a PgBouncer's file lead \
             to node {active}"
        );
    }
    let course = Course {
        failed,
        active,
        identity: pair.healthy.get(&active).cloned().unwrap_or_default(),
        planners: BTreeMap::new(),
        fault: pair.down.get(&failed).copied().unwrap_or(Fault::Crash),
        scope: Scope::OnFailed,
        notes: Vec::new(),
        proof: Proof::Told,
        config,
    };
    course.go(watched, file, time).await
}

impl Pair {
    async fn look(config: &Config) -> Self {
        let mut pair = Self {
            healthy: Identities::new(),
            down: BTreeMap::new(),
            reasons: Vec::new(),
        };
        let probes = config.nodes.values().map(|node| async move {
            let seen = look_at(&node.conninfo).await;
            (node, seen)
        });
        for (node, seen) in futures_util::future::join_all(probes).await {
            let id = node.node_id;
            let reason = match seen {
                Probe::Healthy { identity } => {
                    pair.healthy.insert(id, identity);
                    continue;
                }
                Probe::Failed { fault, reason } => {
                    pair.down.insert(id, fault);
                    reason
                }
                Probe::Refusing { reason } => reason,
            };
            let name = &node.node_name;
            pair.reasons
                .push(format!("node {name:?} (ID: {id}): {reason}"));
        }
        pair
    }
}

/// No PgBouncer serves a node that is down; of those that were not reached, nobody knows.
fn all_is_well(known: &Known) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (name, status) in known {
        let well = status.reached && status.astray.is_empty() && !status.paused;
        let what = match (status.reached, &status.trouble) {
            (true, _) if status.paused => {
                "paused by a redirect that has not ended; run `repoint notify --again` later"
                    .to_owned()
            }
            (true, _) => status.serving(),
            (false, Some(trouble)) => trouble.clone(),
            (false, None) => "no answer in time".to_owned(),
        };
        match well {
            true => print::line(&format!("{name}: left alone: {what}")),
            false => missing.push(format!("{name}: {what}")),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} PgBouncers are not known to serve a node: {}",
        missing.len(),
        known.len(),
        missing.join("; ")
    )
}
