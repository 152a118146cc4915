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

/// Entries that an operation on record has disabled.
#[must_use]
pub fn left_disabled(observation: &Observation) -> BTreeSet<String> {
    let operation = observation.file.operation.as_ref();
    operation.map_or(BTreeSet::new(), |operation| operation.debt.disabled.clone())
}
