//! `bdr_failover`: a node of a pair failed, and everything on it goes to the other one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::course::{Course, Proof};
use super::members::{Members, NODE_LIMIT};
use crate::agent::daemon::planners;
use crate::cli::print;
use crate::cluster_db::{node_state, promotion};
use crate::config::{Config, NodeId, Peers};
use crate::conninfo::Conninfo;
use crate::core::node::{Fault, Probe};
use crate::core::notification::Told;
use crate::core::worker::Scope;
use crate::edge::postgres::{PostgresError, probe};

/// For reading `repmgr.nodes` where repmgrd says that it can be read.
const READ_LIMIT: Duration = Duration::from_secs(3);

/// Everything that can be refused while nothing has been touched.
pub(super) async fn prepare(
    mut config: Config,
    failed: NodeId,
    told: &Told,
    deadline: Instant,
) -> anyhow::Result<Course> {
    let given = match told.next_conninfo.as_str() {
        "" => None,
        text => Some(Conninfo::parse(text).context("NEXT_CONNINFO")?),
    };
    if config.peers == Peers::Registered {
        config.nodes = registered(&config, given.as_ref(), deadline).await;
    }
    if !config.nodes.contains_key(&failed) {
        let known: Vec<String> = config.nodes.keys().map(NodeId::to_string).collect();
        bail!(
            "NODE_ID {failed} is no node of the configuration; there are {}",
            known.join(" and ")
        );
    }
    let active = next_node(&mut config, failed, told, given)?;
    let planners = planners(&config).context("NEXT_CONNINFO")?;
    let healthy = healthy_identity(&config, active);
    let identity = tokio::time::timeout_at(deadline.into(), healthy).await;
    let late = |_| anyhow!("--timeout is over before the next node has answered");
    let identity = identity.map_err(late)??;
    // The time is for the PgBouncers: without an answer the node is silent.
    let fault = tokio::time::timeout_at(deadline.into(), fault_of(&config, failed)).await;
    Ok(Course {
        failed,
        active,
        identity,
        planners,
        fault: fault.unwrap_or(Fault::Blackhole),
        scope: Scope::OnFailed,
        notes: Vec::new(),
        proof: Proof::Told,
        config,
    })
}

/// The nodes of `repmgr.nodes`, read on this host's node or on the one that is left.
async fn registered(
    config: &Config,
    given: Option<&Conninfo>,
    deadline: Instant,
) -> BTreeMap<NodeId, crate::config::Node> {
    let mut nodes = Members::look(config, deadline).await.nodes;
    if nodes.len() > 1 {
        return nodes;
    }
    let Some(given) = given else { return nodes };
    let left = deadline.saturating_duration_since(Instant::now());
    let said = promotion::standing(given, READ_LIMIT.min(left)).await;
    let records = said.map(|said| said.records).unwrap_or_default();
    for node in records.iter().filter_map(|row| promotion::node(row).ok()) {
        nodes.entry(node.node_id).or_insert(node);
    }
    nodes
}

/// The node to go to; what repmgrd says of its address replaces what the configuration says.
fn next_node(
    config: &mut Config,
    failed: NodeId,
    told: &Told,
    given: Option<Conninfo>,
) -> anyhow::Result<NodeId> {
    let name = &told.next_node_name;
    let left = config.nodes.values().filter(|node| node.node_id != failed);
    let left: Vec<NodeId> = left.map(|node| node.node_id).collect();
    let named = |id: &&NodeId| config.nodes.get(id).is_some_and(|n| n.node_name == *name);
    let Some(id) = left.iter().find(named).or(left.first()) else {
        bail!("there is only one node")
    };
    let Some(node) = config.nodes.get_mut(id) else {
        bail!("there is only one node")
    };
    if !name.is_empty() && node.node_name != *name {
        bail!(
            "NEXT_NODE_NAME {name:?} is not the node that is left, which is {:?}; \
             the names in the configuration must be repmgr's",
            node.node_name
        );
    }
    if let Some(parsed) = given {
        // A password that repmgr leaves out is still the one to use.
        node.conninfo = match (parsed.get("password"), node.conninfo.get("password")) {
            (None, Some(password)) => {
                let password = password.to_owned();
                parsed.with("password", &password)
            }
            (Some(_), _) | (None, None) => parsed,
        };
    }
    Ok(node.node_id)
}

/// Nobody is sent to a node that was not just seen healthy.
async fn healthy_identity(config: &Config, active: NodeId) -> anyhow::Result<String> {
    let Some(node) = config.nodes.get(&active) else {
        bail!("no node {active}")
    };
    match writable(&node.conninfo).await {
        Probe::Healthy { identity } => Ok(identity),
        Probe::Refusing { reason } | Probe::Failed { reason, .. } => bail!(
            "node {:?} (ID: {active}) is not healthy: {reason}",
            node.node_name
        ),
    }
}

/// How a node is, within [`NODE_LIMIT`]: its conninfo may allow more than all the time there is.
pub(super) async fn look_at(conninfo: &Conninfo) -> Probe {
    let seen = tokio::time::timeout(NODE_LIMIT, writable(conninfo)).await;
    seen.unwrap_or_else(|_| Probe::Failed {
        fault: Fault::Blackhole,
        reason: PostgresError::Silent(NODE_LIMIT).to_string(),
    })
}

/// How a node is; a standby is not what traffic may be sent to, whatever the event says.
async fn writable(conninfo: &Conninfo) -> Probe {
    let mut session = None;
    let seen = probe(conninfo, &mut session).await;
    let Some(session) = session else { return seen };
    match node_state::in_recovery(&session).await {
        Ok(false) => seen,
        Ok(true) => Probe::Refusing {
            reason: "it is a standby".to_owned(),
        },
        Err(error) => Probe::Refusing {
            reason: error.to_string(),
        },
    }
}

async fn fault_of(config: &Config, failed: NodeId) -> Fault {
    let Some(node) = config.nodes.get(&failed) else {
        return Fault::Crash;
    };
    match look_at(&node.conninfo).await {
        Probe::Failed { fault, .. } => fault,
        Probe::Refusing { .. } => Fault::Crash,
        Probe::Healthy { .. } => {
            print::line(&format!(
                "note: node {:?} (ID: {failed}) answers this host; \
                 going on, because repmgrd says so",
                node.node_name
            ));
            Fault::Crash
        }
    }
}
