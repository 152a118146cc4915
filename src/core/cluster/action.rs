//! What the cluster asks for, and what it is told: plain data.

use std::time::Duration;

use crate::config::NodeId;
use crate::core::agreement::{Obstacle, Request};
use crate::core::pause::Pause;
use crate::core::plan::Decision;
use crate::generation::Generation;

/// What became of an attempt at the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimResult {
    /// It is ours.
    Granted,
    /// The other agent has it.
    Held,
    /// The node did not answer, or could not be asked.
    Failed(String),
}

/// What a look at a returned node's replication gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// It runs, and the node is marked active.
    Recovered,
    /// Not yet, and why.
    Pending(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Try to take the claim on this node.
    Claim {
        /// The surviving node.
        on: NodeId,
    },
    /// Give the claim back.
    Release,
    /// A failover was decided: tell everybody, record it.
    Announce {
        /// Which.
        decision: Decision,
        /// Whether it is news: something points at the failed node, or may, or at none. Not so for
        /// the agent that stood by and finds everything done.
        news: bool,
    },
    /// Ask a witness.
    Ask(Request),
    /// A node is down, and the witnesses do not agree to leave it: said once for each failure and
    /// reason. It is tried again every interval.
    Aborted {
        /// The node that failed.
        failed: NodeId,
        /// What was in the way.
        obstacle: Obstacle,
    },
    /// The other agent holds the claim: said once for each failure.
    StandBy {
        /// The node that failed.
        failed: NodeId,
    },
    /// A node is down and there is no other to go to: said once for each failure.
    NoCandidate {
        /// The node that failed.
        failed: NodeId,
    },
    /// A node is down and a pause keeps that from being acted upon: said once for each pause.
    Paused {
        /// The node that failed.
        failed: NodeId,
        /// The pause.
        pause: Pause,
    },
    /// The node answers again, and nobody had decided: said once.
    Reappeared {
        /// The node.
        node: NodeId,
    },
    /// How far the redirect has come: when it has ended, or when it cannot be complete for now.
    Report {
        /// Which.
        decision: Decision,
        /// Whether every PgBouncer serves the node.
        complete: bool,
        /// Whether it is an event. Not so when another agent had done all of it already, faster
        /// than this one could see.
        news: bool,
    },
    /// Another agent decided later, and otherwise: this one stands back.
    Superseded {
        /// What this agent had decided.
        decision: Decision,
        /// What it found.
        by: Generation,
    },
    /// A node has been back for a while and does not replicate: said once in each
    /// `bdr_recovery_timeout`. Looking goes on.
    NotReplicating {
        /// The node that was down.
        node: NodeId,
        /// How long it has answered.
        waited: Duration,
        /// What the last look gave.
        why: String,
    },
    /// Look whether replication with a returned node runs again.
    CheckRecovery {
        /// The node that was down.
        node: NodeId,
        /// The node that stayed.
        on: NodeId,
    },
}
