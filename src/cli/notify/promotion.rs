//! The primary of a streaming cluster: waiting until the node that was promoted is one, or finding
//! out which it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::course::{Course, Proof};
use super::members::Members;
use crate::agent::daemon::planners;
use crate::config::{Config, Node, NodeId};
use crate::core::node::Fault;
use crate::core::primary::{Found, Verdict, find, judge};
use crate::core::worker::Scope;

/// repmgr sends its event when all is done, but recovery may still be ending: no more than this
/// part of the time limit is spent on waiting for it.
const WAIT_PART: u32 = 3;
const INTERVAL: Duration = Duration::from_millis(250);

/// Waits until `node` is the primary; fails when it is not in time, or cannot be.
pub(super) async fn promoted(
    config: &Config,
    node: NodeId,
    before: Option<NodeId>,
    limit: Duration,
    deadline: Instant,
) -> anyhow::Result<Course> {
    let give_up = deadline - (limit - limit / WAIT_PART);
    loop {
        let members = Members::look(config, deadline).await;
        let why = match judge(node, config.node_id, &members.sights()) {
            Verdict::Primary(notes) => return course(config, node, before, members, notes),
            Verdict::Refused(why) => bail!(why),
            Verdict::NotYet(why) => why,
        };
        if Instant::now() + INTERVAL >= give_up {
            bail!("{why}; waited {} s", (limit / WAIT_PART).as_secs());
        }
        tracing::debug!(why, "not the primary yet");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The one primary that there is, and the nodes that it is in doubt about.
pub(super) fn only(
    config: &Config,
    members: Members,
) -> anyhow::Result<(Course, BTreeSet<NodeId>)> {
    let found = find(config.node_id, &members.sights());
    let Found {
        node_id,
        doubtful,
        notes,
    } = found.map_err(|why| anyhow!(why))?;
    let course = course(config, node_id, None, members, notes)?;
    Ok((course, doubtful))
}

/// Whether it still is the primary, right before something is done about it.
pub(super) async fn confirm(
    members: &Members,
    node: NodeId,
    local: NodeId,
    deadline: Instant,
) -> anyhow::Result<()> {
    let again = members.look_again(deadline).await;
    match judge(node, local, &again.sights()) {
        Verdict::Primary(_) => Ok(()),
        Verdict::NotYet(why) | Verdict::Refused(why) => Err(anyhow!(why)),
    }
}

fn course(
    config: &Config,
    active: NodeId,
    before: Option<NodeId>,
    members: Members,
    mut notes: Vec<String>,
) -> anyhow::Result<Course> {
    let (mut config, all) = (config.clone(), &members.nodes);
    let Some(node) = all.get(&active) else {
        bail!("no node {active}")
    };
    same_name(node, &members)?;
    // A standby that PgBouncer could not be given must not keep anybody from the primary.
    config.nodes = BTreeMap::from([(active, node.clone())]);
    planners(&config).context(format!("node {active}"))?;
    for (id, other) in all.iter().filter(|(id, _)| **id != active) {
        config.nodes.insert(*id, other.clone());
        if let Err(error) = planners(&config) {
            config.nodes.remove(id);
            notes.push(format!("node {id} is left out: {error}"));
        }
    }
    let planners = planners(&config).context("the nodes of repmgr.nodes")?;
    let identity = match members.answers.get(&active) {
        Some(Ok(standing)) => standing.identity.clone(),
        Some(Err(_)) | None => bail!("no node {active}"),
    };
    let before = before.or_else(|| primary_before(active, &members));
    let other = config.nodes.keys().find(|id| **id != active);
    let fault = match members.some_are_silent() {
        true => Fault::Blackhole,
        false => Fault::Crash,
    };
    Ok(Course {
        failed: before.or(other.copied()).unwrap_or(active),
        active,
        identity,
        planners,
        fault,
        scope: Scope::AllButActive,
        notes,
        proof: Proof::Promotion(members),
        config,
    })
}

/// That the configuration and repmgr mean the same node by one id.
fn same_name(node: &Node, members: &Members) -> anyhow::Result<()> {
    let records = members.records(node.node_id);
    let record = records.iter().find(|record| record.node_id == node.node_id);
    let other = record.filter(|record| record.node_name != node.node_name);
    if let Some(other) = other {
        bail!(
            "node {} is {:?} in the configuration, but {:.80?} in its own repmgr.nodes; \
             the names must be repmgr's",
            node.node_id,
            node.node_name,
            other.node_name
        );
    }
    Ok(())
}

/// The one that repmgr has given up.
fn primary_before(active: NodeId, members: &Members) -> Option<NodeId> {
    let records = members.records(active);
    let old = |record: &&crate::cluster_db::node_records::NodeRecord| {
        record.node_id != active && record.kind == "primary"
    };
    records.iter().find(old).map(|record| record.node_id)
}
