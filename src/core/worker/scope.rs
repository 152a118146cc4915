//! Which entries of a PgBouncer a decision moves, and what is told of those that it does not.

use std::collections::BTreeSet;

use super::Status;
use crate::config::{Edits, NodeId};
use crate::core::plan::Decision;
use crate::core::pooler::{EntryState, FileState, Observation};
use crate::core::routing::Routing;

/// Which entries of ours a decision moves. What is not there at all is never moved: PgBouncer would
/// not have it after a RELOAD either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that point at the failed node; the other nodes serve as well.
    #[default]
    OnFailed,
    /// All that do not point at the active node, because no other node takes writes. With them one
    /// that points at no node: at a node that is no longer registered, say. But not if somebody
    /// edited the file since it was written: that may be meant.
    AllButActive,
}

impl Scope {
    /// The entries to move.
    #[must_use]
    pub fn moves(
        self,
        decision: &Decision,
        observation: &Observation,
        routing: &Routing,
    ) -> BTreeSet<String> {
        let edited = observation.file.untouched == Some(false);
        let leaves = |name: &str, state: &EntryState| match self {
            Self::OnFailed => routing.node_of(name, state) == Some(decision.failed),
            Self::AllButActive => {
                let known = routing.node_of(name, state).is_some();
                !routing.leads_to(name, state, decision.active) && (known || !edited)
            }
        };
        let to_move = |name: &&String| {
            let mut processes = observation.processes.iter();
            processes.any(|process| {
                let state = process.entries.get(*name);
                state.is_some_and(|state| leaves(name, state))
            })
        };
        routing.names().filter(to_move).cloned().collect()
    }

    /// The same while the decision is carried out: also those that only the file leads to the
    /// failed node, as this tool wrote it. PgBouncer would go there when it is started anew, or
    /// reloaded by anybody. One that somebody wrote may be meant. `by_ledger`: what it says of its
    /// own number is nothing but information.
    #[must_use]
    pub fn moves_with_file(
        self,
        decision: &Decision,
        observation: &Observation,
        routing: &Routing,
        by_ledger: bool,
    ) -> BTreeSet<String> {
        let file = &observation.file;
        let mut moves = self.moves(decision, observation, routing);
        let written = file.entries.as_ref().filter(|_| {
            let older = by_ledger || file.generation <= decision.generation;
            file.untouched == Some(true) && older && self == Self::OnFailed
        });
        let leads = |name: &&String| {
            let place = written.and_then(|entries| entries.get(*name));
            place.is_some_and(|(host, port)| {
                let failed = routing.address(name, decision.failed);
                failed.is_some_and(|address| (&address.host, address.port) == (host, *port))
            })
        };
        moves.extend(routing.names().filter(leads).cloned());
        moves
    }

    /// What to tell of entries that point where traffic leaves and are not ours to move.
    #[must_use]
    pub fn notes_foreign(self, status: &Status, decision: &Decision) -> Vec<String> {
        let left = |node: &NodeId| match self {
            Self::OnFailed => *node == decision.failed,
            Self::AllButActive => *node != decision.active,
        };
        let nodes = status.foreign.keys().copied().filter(left);
        nodes
            .filter_map(|node| note_foreign(status, node))
            .collect()
    }
}

/// What to tell of entries that still point at the failed node and are not ours to move.
#[must_use]
pub fn note_foreign(status: &Status, failed: NodeId) -> Option<String> {
    let foreign = status
        .foreign
        .get(&failed)
        .filter(|names| !names.is_empty())?;
    let names: Vec<String> = foreign.iter().map(|name| format!("`{name}`")).collect();
    Some(format!(
        "{} still point at node {failed}; repoint's configuration does not name them",
        names.join(", ")
    ))
}

/// What to tell of a file that somebody edited since it was written; `what` changed in it, if that
/// is known. That it is left alone is a failure, and told as one.
#[must_use]
pub fn note_edited(file: &FileState, edits: Edits, what: Option<&str>) -> Option<String> {
    if file.untouched != Some(false) {
        return None;
    }
    let becomes = match edits {
        Edits::Merge => "the edits stay",
        Edits::Overwrite => "the edited one is kept as .prev",
        Edits::Refuse => return what.map(|what| format!("edited by hand: {what}")),
    };
    let what = what.map(|what| format!(" ({what})")).unwrap_or_default();
    Some(format!(
        "the file was edited by hand since repoint wrote it{what}; {becomes}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NODE1, NODE2, World, at, decision};
    use super::*;

    /// Its RELOAD was lost, and the decision after that one led back to where PgBouncer still is.
    #[test]
    fn a_file_that_this_tool_wrote_and_nobody_loaded_is_moved_with_the_decision() {
        let routing = World::seen(at(NODE1, 1)).worker.routing().clone();
        let moves = |file_at, number, untouched, by_ledger| {
            let mut observation = at(NODE1, number);
            observation.file.entries = at(file_at, number).file.entries;
            observation.file.untouched = Some(untouched);
            let scope = Scope::OnFailed;
            let moves = scope.moves_with_file(&decision(2), &observation, &routing, by_ledger);
            !moves.is_empty()
        };
        assert!(moves(NODE2, 1, true, false));
        assert!(!moves(NODE1, 1, true, false), "it leads where PgBouncer is");
        assert!(!moves(NODE2, 1, false, false), "an operator wrote it");
        assert!(!moves(NODE2, 3, true, false), "a later decision wrote it");
        assert!(moves(NODE2, 3, true, true), "the ledger knows of none");
    }
}
