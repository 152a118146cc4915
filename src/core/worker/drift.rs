//! What is not as it should be with a PgBouncer while nothing is being decided.
//!
//! Decides from one look. Whether it lasts, and what becomes of it, is `reconciling`'s.
//!
//! What one should serve is told by the decision in force, but only a file that is *older* than
//! that decision, and that nobody has touched since it was written, is known to have lost or missed
//! it: PgBouncer was down then, or the file came from a backup. Everything else is somebody's will:
//! - a file of that very decision whose body was edited: the operator went back by hand,
//! - a file that carries no decision: written by hand, or by `repoint render --full`, which is how
//!   README says to begin and to go back. It may also be a backup from before the first decision;
//!   the two cannot be told apart, and both nodes are alive, so nothing is lost by leaving it,
//! - an older file that was edited: a PgBouncer that served the node already when the decision was
//!   made kept its file then, and an operator edited it later.
//!
//! A PgBouncer that points at a dead node is another matter: it is moved whatever its file says
//! (`core::cluster`).

use std::collections::BTreeSet;

use crate::config::NodeId;
use crate::core::pooler::{EntryState, Observation};
use crate::core::routing::Routing;
use crate::generation::Generation;

/// The last decision that the file of any PgBouncer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Its number.
    pub generation: Generation,
    /// The node that traffic goes to since.
    pub active: NodeId,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It lost or missed the decision in force: its file is of an older one.
    Outdated {
        /// The node that it serves instead.
        serves: NodeId,
        /// The decision that its file is of.
        generation: Generation,
        /// The decision in force.
        in_force: InForce,
    },
    /// Somebody edited its file to serve another node than the decision in force leads to.
    Edited {
        /// The node that it serves.
        serves: NodeId,
        /// The decision in force.
        in_force: InForce,
    },
    /// The same, and no decision is in the file.
    Undecided {
        /// The node that it serves.
        serves: NodeId,
        /// The decision in force.
        in_force: InForce,
    },
    /// Entries that PgBouncer has otherwise than the file.
    NotLoaded(BTreeSet<String>),
    /// Entries that are not there, or point at no node.
    Astray(BTreeSet<String>),
    /// Entries that somebody paused.
    Paused(BTreeSet<String>),
    /// Entries that somebody disabled.
    Disabled(BTreeSet<String>),
}

/// Compares one look with what should be. `by_ledger`: the decision in force is what witnesses
/// remember, and the number in the file is nothing but information.
pub(super) fn differences(
    observation: &Observation,
    routing: &Routing,
    in_force: Option<InForce>,
    by_ledger: bool,
) -> Vec<Difference> {
    let astray = |name: &&String| observation.nodes_of(name, routing).is_empty();
    let astray: BTreeSet<String> = routing.names().filter(astray).cloned().collect();
    let unlike_file = |name: &&String| !astray.contains(*name) && is_unlike_file(observation, name);
    let not_loaded: BTreeSet<String> = routing.names().filter(unlike_file).cloned().collect();
    // What the file says of it proves nothing about what PgBouncer serves then.
    let decided = in_force.filter(|_| not_loaded.is_empty());
    let mut found = Vec::new();
    found.extend(decided.and_then(|in_force| against(observation, routing, in_force, by_ledger)));
    let operation = observation.file.operation.as_ref();
    let owed = operation.map(|operation| &operation.debt);
    let held = |is: fn(&EntryState) -> bool, ours: Option<&BTreeSet<String>>| {
        let rows = observation.processes.iter().flat_map(|p| &p.entries);
        let held = rows.filter(|(name, state)| is(state) && routing.has(name));
        let held = held.filter(|(name, _)| !ours.is_some_and(|ours| ours.contains(*name)));
        held.map(|(name, _)| name.clone()).collect()
    };
    let sets = [
        Difference::NotLoaded(not_loaded),
        Difference::Astray(astray),
        Difference::Paused(held(|entry| entry.paused, owed.map(|owed| &owed.paused))),
        Difference::Disabled(held(
            |entry| entry.disabled,
            owed.map(|owed| &owed.disabled),
        )),
    ];
    found.extend(sets.into_iter().filter(|set| !set.is_empty()));
    found
}

/// Whether every process has the entries as the file says, as far as that can be read.
pub(super) fn is_loaded(observation: &Observation, routing: &Routing) -> bool {
    !routing
        .names()
        .any(|name| is_unlike_file(observation, name))
}

/// Whether some process has an entry otherwise than the file says that it should.
fn is_unlike_file(observation: &Observation, name: &str) -> bool {
    let Some(entries) = &observation.file.entries else {
        return false;
    };
    let meant = entries.get(name);
    let states = observation.processes.iter();
    let mut states = states.filter_map(|process| process.entries.get(name));
    states.any(|state| meant.is_none_or(|(host, port)| (host, *port) != (&state.host, state.port)))
}

fn against(
    observation: &Observation,
    routing: &Routing,
    in_force: InForce,
    by_ledger: bool,
) -> Option<Difference> {
    let elsewhere = |(name, state): (&String, &EntryState)| {
        let node = routing.node_of(name, state)?;
        (!routing.leads_to(name, state, in_force.active)).then_some(node)
    };
    let rows = observation.processes.iter().flat_map(|p| &p.entries);
    let serves = rows.filter_map(elsewhere).next()?;
    let file = &observation.file;
    let (generation, decided) = (file.generation, file.generation.number > 0);
    match file.untouched.filter(|_| decided) {
        _ if generation > in_force.generation && !by_ledger => None,
        None => Some(Difference::Undecided { serves, in_force }),
        Some(false) => Some(Difference::Edited { serves, in_force }),
        // As the decision left it.
        Some(true) if generation == in_force.generation && !by_ledger => None,
        Some(true) => Some(Difference::Outdated {
            serves,
            generation,
            in_force,
        }),
    }
}

impl Difference {
    /// The node that is served by mistake.
    #[must_use]
    pub fn outdated(&self) -> Option<NodeId> {
        match self {
            Self::Outdated { serves, .. } => Some(*serves),
            Self::Edited { .. }
            | Self::Undecided { .. }
            | Self::NotLoaded(_)
            | Self::Astray(_)
            | Self::Paused(_)
            | Self::Disabled(_) => None,
        }
    }

    /// Whether somebody has stopped the PgBouncer's work, and is probably at work there.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Paused(_) | Self::Disabled(_))
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Outdated { .. } | Self::Edited { .. } | Self::Undecided { .. } => false,
            Self::NotLoaded(names)
            | Self::Astray(names)
            | Self::Paused(names)
            | Self::Disabled(names) => names.is_empty(),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quoted = |names: &BTreeSet<String>| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        match self {
            Self::Outdated {
                serves,
                generation,
                in_force,
            } => write!(
                f,
                "it serves node {serves} by its file of decision {generation}, but decision {} \
                 leads to node {}",
                in_force.generation, in_force.active
            ),
            Self::Edited { serves, in_force } => write!(
                f,
                "it serves node {serves}, but decision {} leads to node {}; its file was edited \
                 since it was written, so it is left alone",
                in_force.generation, in_force.active
            ),
            Self::Undecided { serves, in_force } => write!(
                f,
                "it serves node {serves}, but decision {} leads to node {}; no decision is in its \
                 file, so it is left alone",
                in_force.generation, in_force.active
            ),
            Self::NotLoaded(names) => write!(
                f,
                "{} is not as in its file: RELOAD it, or look whether PgBouncer reads that file",
                quoted(names)
            ),
            Self::Astray(names) => write!(
                f,
                "{} is not there or points at no node; is the file taken in with %include, and \
                 was PgBouncer reloaded?",
                quoted(names)
            ),
            Self::Paused(names) => write!(
                f,
                "{} is paused, but not by repoint; RESUME ends it",
                quoted(names)
            ),
            Self::Disabled(names) => write!(
                f,
                "{} is disabled, but not by repoint; ENABLE ends it",
                quoted(names)
            ),
        }
    }
}
