//! What a worker tells [`crate::core::cluster`], and people.

use std::collections::{BTreeMap, BTreeSet};

use super::Difference;
use crate::config::NodeId;
use crate::core::outcome::Outcome;
use crate::generation::Generation;

/// What the cluster is told of a PgBouncer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the last look worked.
    pub reached: bool,
    /// The nodes that our entries point at.
    pub serves: BTreeSet<NodeId>,
    /// Entries of ours that point at none of the nodes, or are not there.
    pub astray: BTreeSet<String>,
    /// Entries of others that point at each node: not ours to move, but to be named.
    pub foreign: BTreeMap<NodeId, BTreeSet<String>>,
    /// The generation of its file.
    pub generation: Generation,
    /// The node that its file was written for.
    pub file_active: Option<NodeId>,
    /// Whether PgBouncer has our entries as its file says: a file that was never loaded tells of no
    /// decision that anybody followed.
    pub loaded: bool,
    /// Whether some entry of ours is paused.
    pub paused: bool,
    /// The decision that it agrees with, if any.
    pub settled: Option<Generation>,
    /// The last outcome, for the decision that it names.
    pub outcome: Option<Outcome>,
    /// Why it is not reached.
    pub trouble: Option<String>,
    /// Whether something that was SET for a while is still to be set again.
    pub owes: bool,
    /// What is not as it should be, and has lasted.
    pub differs: Vec<Difference>,
    /// Whether it was put right and undone so often that it is left, until the next decision.
    pub given_up: bool,
    /// Whether an operation that has not ended is on record on its host: ours or another's.
    pub on_record: bool,
}

impl Status {
    /// Whether nothing is left to do for this decision, and all of its entries lead to a node.
    #[must_use]
    pub fn serves_by(&self, generation: Generation) -> bool {
        self.settled == Some(generation) && self.astray.is_empty()
    }

    /// Where its entries point, for people.
    #[must_use]
    pub fn serving(&self) -> String {
        let nodes: Vec<String> = self.serves.iter().map(NodeId::to_string).collect();
        let astray: Vec<String> = self.astray.iter().map(|name| format!("`{name}`")).collect();
        match (nodes.is_empty(), astray.is_empty()) {
            (_, true) => format!("it serves node {} already", nodes.join(" and ")),
            (false, false) => format!(
                "it serves node {}, but {} is not there or points at no node",
                nodes.join(" and "),
                astray.join(", ")
            ),
            (true, false) => format!("{} is not there or points at no node", astray.join(", ")),
        }
    }
}
