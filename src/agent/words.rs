//! What the coordinator says in the log about nodes, in repmgrd's words where it has them.
//!
//! Lines that repmgr gives the level NOTICE or DETAIL have the target `repoint::notice` or
//! `repoint::detail`. Names come from the configuration and are quoted, so that none ends a line.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Config, Node, NodeId};
use crate::core::agreement::Obstacle;
use crate::core::plan::Decision;

/// The nodes as people know them, and which of them is this host's.
#[derive(Debug, Clone)]
pub(super) struct Words {
    own: NodeId,
    nodes: BTreeMap<NodeId, Node>,
}

impl Words {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            own: config.node_id,
            nodes: config.nodes.clone(),
        }
    }

    /// `node "node2" (ID: 2)`
    fn node(&self, id: NodeId) -> String {
        format!("node {:?} (ID: {id})", self.name(id))
    }

    fn name(&self, id: NodeId) -> &str {
        let node = self.nodes.get(&id);
        node.map(|node| node.node_name.as_str()).unwrap_or_default()
    }

    /// That of the other host.
    fn peer(&self) -> NodeId {
        let other = self.nodes.keys().find(|id| **id != self.own);
        other.copied().unwrap_or(self.own)
    }

    pub(super) fn starting(&self, local_only: bool) {
        tracing::info!("starting continuous BDR node monitoring");
        if local_only {
            let node = self.node(self.own);
            tracing::info!("bdr_local_monitoring_only: of the nodes, {node} alone is watched");
        }
    }

    /// That the daemon is still there, and what is not as it should be.
    pub(super) fn status(&self, degraded: &[NodeId]) {
        let own = self.node(self.own);
        tracing::info!("monitoring BDR replication status on {own}");
        for node in degraded {
            let node = self.node(*node);
            tracing::info!(target: super::DETAIL, "monitoring {node} in degraded mode");
        }
    }

    pub(super) fn inactive(&self, node: NodeId) {
        let name = self.node(node);
        tracing::info!(
            target: super::NOTICE,
            "the record of {name} says that it is inactive; monitoring it in degraded mode until \
             it has recovered"
        );
    }

    pub(super) fn stand_by(&self, failed: NodeId, holder: Option<NodeId>) {
        let who = match holder {
            Some(id) => format!("the repoint of {}", self.node(id)),
            None => "another repoint".to_owned(),
        };
        tracing::info!(
            target: super::NOTICE,
            "{who} is handling failover of node {failed}; standing by"
        );
    }

    pub(super) fn no_candidate(&self, failed: NodeId) {
        let failed = self.node(failed);
        tracing::error!(
            "{failed} is down, and no other node is available; nothing is changed until one is"
        );
    }

    pub(super) fn reappeared(&self, node: NodeId) {
        tracing::info!(
            target: super::NOTICE,
            "node {node} has reappeared, aborting failover"
        );
    }

    pub(super) fn reconnected(&self, node: NodeId, after: Duration) {
        let (node, seconds) = (self.node(node), after.as_secs());
        tracing::info!(
            target: super::NOTICE,
            "reconnected to {node} after {seconds} seconds"
        );
    }

    /// Gives the sentence.
    pub(super) fn aborted(&self, failed: NodeId, obstacle: &Obstacle) -> String {
        let name = self.node(failed);
        let sentence = format!("{name} is not left, and nothing is changed: {obstacle}");
        tracing::warn!("{sentence}; trying again until it is, or the node is back");
        sentence
    }

    pub(super) fn decided(&self, decision: &Decision) {
        let (failed, active) = (self.node(decision.failed), self.node(decision.active));
        tracing::warn!(
            generation = %decision.generation,
            fault = %decision.fault,
            "failover decided: {failed} detected as failed; next available node is {}",
            active.trim_start_matches("node ")
        );
    }

    pub(super) fn unused(&self, failed: NodeId) {
        let failed = self.node(failed);
        tracing::info!("{failed} is down; no PgBouncer points at it");
    }

    /// `slots` of replication are named as repmgr names them: by the node that is not this host's.
    pub(super) fn not_replicating(&self, waited: Duration, why: &str) {
        let (peer, seconds) = (self.name(self.peer()), waited.as_secs());
        tracing::warn!(
            why,
            "no active replication slot for node {peer:?} found after {seconds} seconds"
        );
    }

    pub(super) fn recovered(&self, node: NodeId, looked: Option<Duration>, away: Option<Duration>) {
        let (peer, name) = (self.name(self.peer()), self.node(node));
        let seconds = looked.unwrap_or_default().as_secs();
        tracing::info!("active replication slot for node {peer:?} found after {seconds} seconds");
        let after = away.map(|away| format!(" after {} seconds", away.as_secs()));
        let after = after.unwrap_or_default();
        tracing::info!(target: super::NOTICE, "{name} has recovered{after}");
    }
}
