//! What a worker is told by [`crate::core::cluster`], or by `notify`.

use std::collections::BTreeSet;

use super::{Reconciling, Scope};
use crate::config::NodeId;
use crate::core::ledger::Record;
use crate::core::plan::Decision;

/// What a worker is to reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The decision in force.
    pub decision: Option<Decision>,
    /// Whether decisions are made together with witnesses.
    pub by_ledger: bool,
    /// What they have agreed upon, if that is known.
    pub agreed: Option<Record>,
    /// Which entries it moves.
    pub scope: Scope,
    /// Whether this agent holds the claim: without it, nothing is moved.
    pub may_act: bool,
    /// Whether a node is suspect, or down and nothing decided about it yet: looks come more often.
    pub busy: bool,
    /// Whether the failed node is still down: then a PgBouncer that points there again is moved
    /// again. Afterwards each is moved once, and what an operator does then is left alone.
    pub insist: bool,
    /// The decisions that would be made if a node failed now: their files are staged ahead of time.
    pub foreseen: Vec<Decision>,
    /// What is to be compared with what should be, while nothing is being decided; `None`: nothing.
    pub reconciling: Option<Reconciling>,
    /// No new work; pay what is owed and end.
    pub stopping: bool,
    /// Do not pay it when stopping: somebody else comes for what is on record.
    pub leave_debt: bool,
    /// Whether PgBouncers that serve the node already get the number of the decision.
    pub stamps: bool,
    /// The nodes that were just seen alive.
    pub alive: BTreeSet<NodeId>,
    /// Whether no node is left: all of them are down.
    pub none_left: bool,
    /// A node that is suspect, or down with nothing decided yet, while another one could take its
    /// traffic and nobody holds failover back.
    pub suspect: Option<NodeId>,
}
