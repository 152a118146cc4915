//! What the recorder is told to do, and what it tells.

use std::time::Duration;

use crate::config::NodeId;
use crate::core::cluster::Recovery;
use crate::core::event::EventKind;
use crate::core::plan::Decision;

/// Something to record.
#[derive(Debug)]
pub enum Job {
    /// A node answers: have repmgr's tables ready there, and see who is inactive.
    Prepare(NodeId),
    /// The daemon has begun its work; the row goes to this node.
    Started(NodeId),
    /// The daemon ends; the row goes to this node, if one is up.
    Stopping(Option<NodeId>),
    /// A node answers again that had not counted as down.
    Reconnected {
        /// Which.
        node: NodeId,
        /// Since its first failed probe.
        after: Duration,
    },
    /// A failover was decided.
    Failover {
        /// Which.
        decision: Decision,
        /// Whether there was anything to redirect.
        news: bool,
        /// Why there is nothing to redirect, so that no [`Job::Progress`] will come.
        idle: Option<String>,
    },
    /// How far the redirect for a failed node has come: for its `bdr_failover`.
    Progress {
        /// Which node has failed.
        failed: NodeId,
        /// Whether every PgBouncer serves the other node.
        complete: bool,
        /// How many do, and why the others do not.
        summary: String,
    },
    /// How far the redirect has come: `repoint_redirect`.
    Redirect {
        /// Which.
        decision: Decision,
        /// Whether every PgBouncer serves the node.
        complete: bool,
        /// What became of each.
        details: String,
    },
    /// A failed node is not left: `repoint_failover_aborted`.
    Aborted {
        /// Which.
        failed: NodeId,
        /// Why not.
        details: String,
    },
    /// Look whether replication with a returned node runs, and if so, mark it active.
    Recovery {
        /// The node that was down.
        node: NodeId,
        /// The node that stayed.
        on: NodeId,
        /// How long it was away, if this agent saw it go.
        away: Option<Duration>,
    },
    /// A hook has ended.
    HookEnded {
        /// The event it ran for.
        event: EventKind,
        /// The node whose failure it was about, if any.
        failed: Option<NodeId>,
        /// The node whose database takes the row.
        on: NodeId,
        /// Exit status 0.
        successful: bool,
        /// How it ended.
        details: String,
    },
}

impl Job {
    /// Whether it belongs to a failover, or to the end of the daemon, which ends those.
    pub(super) fn is_of_failover(&self) -> bool {
        match self {
            Self::Failover { .. }
            | Self::Progress { .. }
            | Self::Redirect { .. }
            | Self::Aborted { .. }
            | Self::HookEnded { .. }
            | Self::Stopping(_) => true,
            Self::Prepare(_)
            | Self::Started(_)
            | Self::Reconnected { .. }
            | Self::Recovery { .. } => false,
        }
    }
}

/// What the coordinator is told.
#[derive(Debug)]
pub enum Told {
    /// On this node, these are marked inactive.
    Inactive(NodeId, Vec<NodeId>),
    /// What a look at replication gave.
    Recovery(NodeId, Recovery),
}
