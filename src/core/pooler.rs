//! What is known of one PgBouncer: plain data, read from its console and its host.
//!
//! Decides nothing but what a version number means. Read by `edge::admin_console` and
//! `edge::remote`, judged by [`crate::core::worker`].

use std::collections::{BTreeMap, BTreeSet};

use crate::config::NodeId;
use crate::core::debt::Debt;
use crate::core::routing::Routing;
use crate::generation::Generation;

/// PgBouncer's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads what a PgBouncer reports at login: `1.18.0/bouncer`.
    #[must_use]
    pub fn parse(reported: &str) -> Option<Self> {
        let (numbers, kind) = reported.split_once('/')?;
        if kind != "bouncer" {
            return None;
        }
        let mut parts = numbers.split('.').map(|part| {
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..end].parse::<u32>().ok()
        });
        Some(Self(
            parts.next()??,
            parts.next()??,
            parts.next().flatten().unwrap_or(0),
        ))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

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

/// What one process of a PgBouncer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessState {
    /// All entries, ours and others.
    pub entries: BTreeMap<String, EntryState>,
    /// `server_login_retry` in force.
    pub server_login_retry: String,
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
    /// An operation that has not ended.
    pub operation: Option<Operation>,
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

    /// `server_login_retry` as it is without us: where a redirect's value (`hasty`) is in force, it
    /// is on record what that redirect owes.
    #[must_use]
    pub fn login_retry(&self, hasty: &str) -> String {
        let in_force = || self.processes.iter().map(|p| &p.server_login_retry);
        let operation = self.file.operation.iter();
        let on_record = operation.filter_map(|o| o.debt.server_login_retry.as_ref());
        let found = in_force().chain(on_record).find(|value| *value != hasty);
        found.or(in_force().next()).cloned().unwrap_or_default()
    }

    /// Entries that point at `node`, but are not ours to change.
    #[must_use]
    pub fn foreign_at(&self, node: NodeId, routing: &Routing) -> BTreeSet<String> {
        let rows = self.processes.iter().flat_map(|process| &process.entries);
        let there = rows.filter(|(name, state)| !routing.has(name) && routing.is_at(state, node));
        there.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_pgbouncer_reports_it() {
        assert_eq!(Version::parse("1.18.0/bouncer"), Some(Version(1, 18, 0)));
        assert_eq!(Version::parse("1.25rc1/bouncer"), Some(Version(1, 25, 0)));
        assert_eq!(Version::parse("15.18 (Debian 15.18-0+deb12u1)"), None);
        assert!(Version(1, 9, 0) < Version(1, 12, 0));
    }
}
