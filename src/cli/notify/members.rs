//! Which nodes there are and what each says of itself, now: the configuration's and, where it
//! leaves the others to repmgr, those of `repmgr.nodes`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::cluster_db::node_records::NodeRecord;
use crate::cluster_db::promotion::{self, Standing};
use crate::config::{Config, Node, NodeId, Peers};
use crate::core::primary::{self, Sight};
use crate::edge::postgres::{PostgresError, attempt_limit};

/// How long one node is waited for, whatever its conninfo says: a row may say anything.
pub(super) const NODE_LIMIT: Duration = Duration::from_secs(3);
/// This host's node names its peers, and one of them may know a newer one.
const ROUNDS_MAX: usize = 3;
/// Of a name that is too long, as much as PostgreSQL would take.
const NAME_CHARS_MAX: usize = 63;

/// All nodes at one moment.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Those that can be connected to.
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// What each of them said.
    pub(super) answers: BTreeMap<NodeId, Result<Standing, PostgresError>>,
    /// Rows that describe no node, with their name and what is wrong with them.
    unusable: BTreeMap<NodeId, (String, String)>,
    /// Copies of the table with nothing to serve.
    witnesses: BTreeSet<NodeId>,
}

impl Members {
    /// Asks all nodes, each within its own time and all before `deadline`.
    pub(super) async fn look(config: &Config, deadline: Instant) -> Self {
        let mut members = Self {
            nodes: config.nodes.clone(),
            ..Self::default()
        };
        for _ in 0..ROUNDS_MAX {
            let asked = |id: &&NodeId| !members.answers.contains_key(*id);
            let new: Vec<NodeId> = members.nodes.keys().filter(asked).copied().collect();
            if new.is_empty() {
                break;
            }
            members.ask(&new, deadline).await;
            if config.peers == Peers::Registered {
                members.read_rows(config.node_id);
            }
        }
        members
    }

    /// Asks again those that answered.
    pub(super) async fn look_again(&self, deadline: Instant) -> Self {
        let answered = |id: &&NodeId| matches!(self.answers.get(*id), Some(Ok(_)));
        let ids: Vec<NodeId> = self.nodes.keys().filter(answered).copied().collect();
        let mut members = Self {
            nodes: self.nodes.clone(),
            ..Self::default()
        };
        members.ask(&ids, deadline).await;
        members
    }

    async fn ask(&mut self, ids: &[NodeId], deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let nodes = ids.iter().filter_map(|id| self.nodes.get(id));
        let asks = nodes.map(|node| async move {
            let limit = attempt_limit(&node.conninfo).min(NODE_LIMIT).min(left);
            (
                node.node_id,
                promotion::standing(&node.conninfo, limit).await,
            )
        });
        let answers = join_all(asks).await;
        self.answers.extend(answers);
    }

    /// Takes up the nodes that those which answered have in their tables, `local`'s first.
    fn read_rows(&mut self, local: NodeId) {
        let order = [local].into_iter().chain(self.answers.keys().copied());
        let tables = order.filter_map(|id| self.answers.get(&id)?.as_ref().ok());
        let records: Vec<NodeRecord> = tables.flat_map(|said| said.records.clone()).collect();
        for record in records {
            let id = record.node_id;
            let known = self.nodes.contains_key(&id) || self.unusable.contains_key(&id);
            if known || self.witnesses.contains(&id) {
                continue;
            }
            if record.kind == "witness" {
                self.witnesses.insert(id);
                continue;
            }
            match promotion::node(&record) {
                Ok(node) => {
                    self.nodes.insert(id, node);
                }
                Err(error) => {
                    let name = record.node_name.chars().take(NAME_CHARS_MAX).collect();
                    self.unusable.insert(id, (name, error.to_string()));
                }
            }
        }
    }

    /// What each said, for whoever judges.
    pub(super) fn sights(&self) -> Vec<Sight> {
        let sight = |(id, node): (&NodeId, &Node)| {
            let answer = self.answers.get(id)?;
            Some(Sight {
                node_id: *id,
                node_name: node.node_name.clone(),
                answer: answer
                    .as_ref()
                    .map(|standing| said(*id, standing))
                    .map_err(ToString::to_string),
            })
        };
        let unusable = |(id, (name, why)): (&NodeId, &(String, String))| Sight {
            node_id: *id,
            node_name: name.clone(),
            answer: Err(why.clone()),
        };
        let known = self.nodes.iter().filter_map(sight);
        known.chain(self.unusable.iter().map(unusable)).collect()
    }

    /// The rows of the node that knows best: the given one, else any that answered.
    pub(super) fn records(&self, first: NodeId) -> Vec<NodeRecord> {
        let order = [first].into_iter().chain(self.answers.keys().copied());
        let mut tables = order.filter_map(|id| self.answers.get(&id)?.as_ref().ok());
        let table = tables.find(|said| !said.records.is_empty());
        table.map(|said| said.records.clone()).unwrap_or_default()
    }

    /// Whether any of them stayed silent, as a lost host does.
    pub(super) fn some_are_silent(&self) -> bool {
        self.answers.values().any(|answer| {
            matches!(
                answer,
                Err(PostgresError::Silent(_) | PostgresError::Unreachable(_))
            )
        })
    }
}

fn said(id: NodeId, standing: &Standing) -> primary::Standing {
    let own = standing.records.iter().find(|record| record.node_id == id);
    let inactive = standing.records.iter().filter(|record| !record.active);
    primary::Standing {
        in_recovery: standing.in_recovery,
        read_only: standing.read_only,
        timeline: standing.timeline,
        system: standing.system.clone(),
        row: own.map(|record| (record.kind.clone(), record.active)),
        inactive: inactive.map(|record| record.node_id).collect(),
    }
}
