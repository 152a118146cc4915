//! What is known of one PgBouncer: plain data, read from its console and its host.
//!
//! Decides nothing but what a version number means ([`Capability`]). Read by `edge::admin_console`
//! and `edge::remote`, judged by [`crate::core::worker`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::NodeId;
use crate::core::debt::{Debt, Settings};
use crate::core::routing::Routing;
use crate::generation::Generation;

mod version;

pub use version::{Capability, Version};

/// How long PgBouncer leaves a server alone that refused a login, in seconds.
pub const LOGIN_RETRY: &str = "server_login_retry";

/// One row of SHOW DATABASES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryState {
    /// As PgBouncer has it; empty for a unix socket.
    pub host: String,
    /// As PgBouncer has it.
    pub port: u16,
    /// The database on the server.
    pub dbname: String,
    /// `user=` of the entry.
    pub force_user: Option<String>,
    /// Whether `PAUSE db` or `KILL db` holds it.
    pub paused: bool,
    /// Whether `DISABLE db` holds it.
    pub disabled: bool,
}

/// One row of SHOW SERVERS: a connection of PgBouncer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// The entry.
    pub database: String,
    /// As whom.
    pub user: String,
    /// `active`, `idle`, `used`, `tested`, `login`, `new`, `active_cancel`, `being_canceled`.
    pub state: String,
    /// An address, or `unix`.
    pub addr: String,
    /// Of the server.
    pub port: u16,
    /// Whether it is closed when its client lets go of it.
    pub close_needed: bool,
    /// The `ptr` of the client that has it.
    pub link: Option<String>,
}

/// One row of SHOW CLIENTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientState {
    /// The entry.
    pub database: String,
    /// Names it for `link`, until it is gone.
    pub ptr: String,
    /// Names it for ever; from 1.24 on.
    pub id: Option<u64>,
}

/// What one process of a PgBouncer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessState {
    /// All entries, ours and others.
    pub entries: BTreeMap<String, EntryState>,
    /// The settings in force that a SET or a RELOAD changes: SHOW CONFIG, where it says
    /// `changeable`.
    pub settings: Settings,
}

impl ProcessState {
    /// `server_login_retry` in force.
    #[must_use]
    pub fn login_retry(&self) -> &str {
        self.settings.get(LOGIN_RETRY).map_or("", String::as_str)
    }
}

/// What is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// The generation in the header; [`Generation::NONE`] without one.
    pub generation: Generation,
    /// The node that the header names; `None` without one.
    pub active: Option<NodeId>,
    /// SHA-256 of the file, or `absent`.
    pub hash: String,
    /// Whether the file's body is the one that its header was written for; `None` without a header.
    pub untouched: Option<bool>,
    /// The file; `None`: there is none.
    pub content: Option<Content>,
    /// Where its entries point: host and port, as PgBouncer would read them. `None`: it would not
    /// read all of it.
    pub entries: Option<BTreeMap<String, (String, u16)>>,
    /// An operation that has not ended.
    pub operation: Option<Operation>,
}

/// The bytes of a file. It may hold passwords, so only its size is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Arc<[u8]>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// An operation on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Whose.
    pub token: String,
    /// Whether its time is over.
    pub expired: bool,
    /// What it owes.
    pub debt: Debt,
}

/// One PgBouncer at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// One for each console of the configuration.
    pub processes: Vec<ProcessState>,
    /// Its host.
    pub file: FileState,
}

impl Observation {
    /// The nodes that an entry of ours points at: one, unless processes differ. An entry that is
    /// not there, or points elsewhere, points at no node.
    #[must_use]
    pub fn nodes_of(&self, entry: &str, routing: &Routing) -> BTreeSet<NodeId> {
        let states = self
            .processes
            .iter()
            .filter_map(|process| process.entries.get(entry));
        states
            .filter_map(|state| routing.node_of(entry, state))
            .collect()
    }

    /// Entries of ours that some process has paused.
    #[must_use]
    pub fn paused(&self, routing: &Routing) -> BTreeSet<String> {
        let rows = self.processes.iter().flat_map(|process| &process.entries);
        let paused = rows.filter(|(name, state)| state.paused && routing.has(name));
        paused.map(|(name, _)| name.clone()).collect()
    }

    /// Entries that point at `node`, but are not ours to change.
    #[must_use]
    pub fn foreign_at(&self, node: NodeId, routing: &Routing) -> BTreeSet<String> {
        let rows = self.processes.iter().flat_map(|process| &process.entries);
        let there = rows.filter(|(name, state)| !routing.has(name) && routing.is_at(state, node));
        there.map(|(name, _)| name.clone()).collect()
    }
}
