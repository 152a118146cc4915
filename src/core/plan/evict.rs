//! The clients that hang in a node that answers nothing: who they are, and how they are freed.
//!
//! PgBouncer gives such a client its place until TCP gives up, a quarter of an hour later. After
//! RELOAD no further one can get there: servers of the old address are not handed out again.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, Step};
use crate::core::node::Fault;
use crate::core::pooler::{Capability, ClientState, Observation, ServerState, Version};

/// What is SET for a moment before 1.24. `query_timeout` ends who has waited for an answer, or
/// idled in a transaction, for a second; `server_fast_close` ends idle sessions whose server RELOAD
/// has marked.
pub const EVICTING: [(&str, &str); 2] = [("query_timeout", "1"), ("server_fast_close", "1")];

/// How clients are freed that hang in a node that answers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// `KILL_CLIENT` of exactly those (from 1.24 on).
    KillClients,
    /// [`EVICTING`] for a moment: it reaches every database of the process.
    QueryTimeout,
    /// `KILL db` and `RESUME db`: it drops every client of the entry.
    KillDatabase,
}

/// Which eviction a fault asks for: none when the connections are gone by themselves.
#[must_use]
pub fn eviction(
    fault: Fault,
    version: Option<Version>,
    observation: &Observation,
    moves: &BTreeSet<String>,
) -> Option<Eviction> {
    if fault == Fault::Crash {
        return None;
    }
    if version.is_some_and(|version| version.can(Capability::KillClient)) {
        return Some(Eviction::KillClients);
    }
    let stays = |name: &String| name != "pgbouncer" && !moves.contains(name);
    let mut names = observation
        .processes
        .iter()
        .flat_map(|process| process.entries.keys());
    match names.any(stays) {
        true => Some(Eviction::KillDatabase),
        false => Some(Eviction::QueryTimeout),
    }
}

/// Those of `settings` that an eviction has to change, as they are.
#[must_use]
pub fn to_change(settings: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let lower = |(key, evicting): &(&str, &str)| {
        let value = settings.get(*key)?;
        // A shorter `query_timeout` than ours does as well.
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number > 0.0);
        let does = number(value).is_some_and(|now| number(evicting).is_some_and(|to| now <= to));
        (!does).then(|| ((*key).to_owned(), value.clone()))
    };
    EVICTING.iter().filter_map(lower).collect()
}

impl Plan {
    /// Whether this connection of PgBouncer's leads to where its entry pointed before, and a client
    /// has it.
    #[must_use]
    pub fn hangs(&self, server: &ServerState) -> bool {
        let proves = |name: &&String| self.confirm.contains(*name);
        let proved = Some(&server.database).filter(proves);
        let moved = self.moves.get(&server.database);
        let Some(new) = moved.or_else(|| self.expected.get(proved?)) else {
            return false;
        };
        let at = |host: &str, port: u16| (host, port) == (server.addr.as_str(), server.port);
        let mut previous = self.previous.get(&server.database).into_iter();
        let old = previous.any(|(host, port)| at(host, *port));
        // RELOAD marks each server of an entry that points elsewhere afterwards. The mark alone
        // tells where the entry has a name, or an address that is spelt otherwise.
        server.link.is_some() && (old || server.close_needed) && !at(&new.host, new.port)
    }

    /// Before and after the confirmation, where an attempt before this one has moved everything and
    /// its answer was lost.
    pub(super) fn steps_for_stuck(&self) -> (Option<Step>, Option<Step>) {
        match self.evict {
            Some(Eviction::KillClients) => (Some(Step::Evict(Eviction::KillClients)), None),
            Some(Eviction::QueryTimeout | Eviction::KillDatabase) => (None, Some(Step::Freed)),
            None => (None, None),
        }
    }

    /// Whether clients that hang are only counted: with nothing to move there is no record of what
    /// would be SET, or paused by KILL, to free them.
    #[must_use]
    pub fn only_counts_stuck(&self) -> bool {
        self.moves.is_empty() && self.evict != Some(Eviction::KillClients)
    }

    /// The clients that hang, by database: how many.
    #[must_use]
    pub fn hanging(&self, servers: &[ServerState]) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for server in servers.iter().filter(|server| self.hangs(server)) {
            *count.entry(server.database.clone()).or_insert(0) += 1;
        }
        count
    }

    /// What `KILL_CLIENT` names. `clients` must have been read before `servers`: whoever has a
    /// server that hangs has had it since before RELOAD, so that his row cannot be another's.
    #[must_use]
    pub fn to_kill(&self, clients: &[ClientState], servers: &[ServerState]) -> BTreeSet<u64> {
        let links = servers
            .iter()
            .filter(|server| self.hangs(server))
            .filter_map(|server| Some((server.link.as_deref()?, server)))
            .collect::<BTreeMap<_, _>>();
        let hangs = |client: &&ClientState| {
            let server = links.get(client.ptr.as_str());
            server.is_some_and(|server| server.database == client.database)
        };
        let hanging = clients.iter().filter(hangs);
        hanging.filter_map(|client| client.id).collect()
    }
}

#[cfg(test)]
mod tests;
