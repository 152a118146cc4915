//! What an operation that is on record has left behind, as far as it can be seen.

use std::collections::BTreeSet;

use crate::core::pooler::Observation;
use crate::core::routing::Routing;

/// Entries that are paused and that an operation on record has paused; the others are an
/// operator's.
#[must_use]
pub fn left_paused(observation: &Observation, routing: &Routing) -> BTreeSet<String> {
    let Some(operation) = &observation.file.operation else {
        return BTreeSet::new();
    };
    observation
        .paused(routing)
        .intersection(&operation.debt.paused)
        .cloned()
        .collect()
}

/// Entries of ours that an operation on record may have paused, or may be pausing just now, whether
/// or not a look that came before has seen it. Whoever takes its place owes them a RESUME.
#[must_use]
pub fn may_be_left_paused(observation: &Observation, routing: &Routing) -> BTreeSet<String> {
    let operation = observation.file.operation.iter();
    let paused = operation.flat_map(|operation| &operation.debt.paused);
    paused.filter(|name| routing.has(name)).cloned().collect()
}

/// Entries that an operation on record has disabled.
#[must_use]
pub fn left_disabled(observation: &Observation) -> BTreeSet<String> {
    let operation = observation.file.operation.as_ref();
    operation.map_or(BTreeSet::new(), |operation| operation.debt.disabled.clone())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NODE1, World, at};
    use super::*;
    use crate::core::debt::Debt;
    use crate::core::pooler::Operation;

    #[test]
    fn whoever_replaces_an_operation_owes_its_pause_also_before_it_is_seen() {
        let mut observation = at(NODE1, 1);
        let routing = World::seen(observation.clone()).worker.routing().clone();
        assert!(may_be_left_paused(&observation, &routing).is_empty());
        let paused = ["app".to_owned(), "others".to_owned()].into();
        observation.file.operation = Some(Operation {
            token: "2-77-1-0".to_owned(),
            expired: false,
            debt: Debt {
                paused,
                ..Debt::default()
            },
        });
        assert!(left_paused(&observation, &routing).is_empty());
        let owed = may_be_left_paused(&observation, &routing);
        assert_eq!(owed, ["app".to_owned()].into());
    }
}
