//! repmgr's events: what happened, which of them run the operator's command, and with which text.
//!
//! [`hook_script`] decides the exact text for `/bin/sh -c`; nothing is run here, see
//! `edge::hook`. The event types that may be named in a filter are
//! [`crate::config::event_names`].

use crate::config::NodeId;
use crate::generation::Generation;

pub mod failover;
mod script;
#[cfg(test)]
mod tests;

pub use script::{HookError, hook_script};

/// The kinds of event that are emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A node is down and traffic goes to the other one.
    BdrFailover,
    /// A node that was down is back.
    BdrRecovery,
    /// A node was away for less time than it takes to count as down.
    BdrReconnect,
    /// A PgBouncer was pointed at another node, or could not be.
    RepointRedirect,
    /// A node has failed for this agent, and is not left: its witnesses do not agree.
    RepointFailoverAborted,
    /// An event that an operator sent by hand.
    RepointNotification,
    /// The agent has begun its work.
    RepmgrdStart,
    /// The agent ends.
    RepmgrdShutdown,
    /// repmgr's tables were made.
    ClusterCreated,
    /// Old events were removed.
    ClusterCleanup,
    /// A node's record was written.
    BdrRegister,
    /// A node's record was removed.
    BdrUnregister,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::BdrFailover,
        Self::BdrRecovery,
        Self::BdrReconnect,
        Self::RepointRedirect,
        Self::RepointFailoverAborted,
        Self::RepointNotification,
        Self::RepmgrdStart,
        Self::RepmgrdShutdown,
        Self::ClusterCreated,
        Self::ClusterCleanup,
        Self::BdrRegister,
        Self::BdrUnregister,
    ];

    /// The name in `repmgr.events`, in `%e` and in `event_notifications`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BdrFailover => "bdr_failover",
            Self::BdrRecovery => "bdr_recovery",
            Self::BdrReconnect => "bdr_reconnect",
            Self::RepointRedirect => "repoint_redirect",
            Self::RepointFailoverAborted => "repoint_failover_aborted",
            Self::RepointNotification => "repoint_notification",
            Self::RepmgrdStart => "repmgrd_start",
            Self::RepmgrdShutdown => "repmgrd_shutdown",
            Self::ClusterCreated => "cluster_created",
            Self::ClusterCleanup => "cluster_cleanup",
            Self::BdrRegister => "bdr_register",
            Self::BdrUnregister => "bdr_unregister",
        }
    }
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event, with what repmgr's placeholders say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `%e`: what happened.
    pub kind: EventKind,
    /// `%n`: the node of the event: the failed one in `bdr_failover`, else the reporting one.
    pub node_id: NodeId,
    /// `%s`, as `1` or `0`.
    pub successful: bool,
    /// `%t`: when, with a zone. It holds a blank, so an unquoted `%t` is two words.
    pub timestamp: String,
    /// `%d`: the sentence for people. The hook gets it as it is: repmgr's `\"` is undone by the
    /// shell before a command sees it.
    pub details: String,
    /// `%c`: the connection string of the node that was recovered or that traffic goes to.
    /// It may hold a password, so this type must not be logged whole.
    pub conninfo: Option<String>,
    /// `%a`: the name of the same node.
    pub node_name: Option<String>,
    /// `%p`: another node that took part.
    pub other_id: Option<NodeId>,
}

impl Event {
    /// The value of the placeholder `%letter`; `None`: repmgr has no such placeholder.
    fn value(&self, letter: char) -> Option<String> {
        let value = match letter {
            'n' => self.node_id.to_string(),
            'e' => self.kind.as_str().to_owned(),
            's' => if self.successful { "1" } else { "0" }.to_owned(),
            't' => self.timestamp.clone(),
            'd' => self.details.clone(),
            'c' => self.conninfo.clone().unwrap_or_default(),
            'a' => self.node_name.clone().unwrap_or_default(),
            'p' => self.other_id.map(|id| id.to_string()).unwrap_or_default(),
            _ => return None,
        };
        Some(value)
    }
}

/// Who is who in an event, for the command's environment: `%n` is the failed node in
/// `bdr_failover` and the reporting one in `bdr_recovery`, as in repmgr, so that a command cannot
/// tell from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    /// `REPOINT_FAILED_ID`: the node that failed, or had failed.
    pub failed: Option<NodeId>,
    /// `REPOINT_NEXT_ID`: the node that traffic goes to.
    pub next: Option<NodeId>,
    /// `REPOINT_REPORTER_ID`: the node whose agent tells.
    pub reporter: Option<NodeId>,
    /// `REPOINT_GENERATION`: the number of the decision.
    pub generation: Option<Generation>,
}

impl Roles {
    /// The beginning of a script that gives them to the command's environment; one that is unknown
    /// is empty. Numbers only: nothing here needs quoting.
    #[must_use]
    pub fn exports(&self) -> String {
        let id = |id: Option<NodeId>| id.map(|id| id.to_string()).unwrap_or_default();
        let generation = self.generation.map(|generation| generation.to_string());
        [
            ("FAILED_ID", id(self.failed)),
            ("NEXT_ID", id(self.next)),
            ("REPORTER_ID", id(self.reporter)),
            ("GENERATION", generation.unwrap_or_default()),
        ]
        .map(|(name, value)| format!("export REPOINT_{name}='{value}'\n"))
        .concat()
    }
}

/// Whether events of this kind run the command; an empty list means every event.
///
/// Only the command is filtered: the event is recorded in any case.
pub fn wanted(events: &[String], kind: EventKind) -> bool {
    events.is_empty() || events.iter().any(|event| event == kind.as_str())
}
