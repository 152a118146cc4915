//! How far a redirect has come, in words: for the log, for `repoint_redirect`, and shorter for
//! `bdr_failover`.

use std::collections::BTreeMap;

use crate::core::plan::Decision;
use crate::core::worker::Status;

/// How far a redirect has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many PgBouncers serve the node, and what became of each.
    pub details: String,
    /// How many do, and why the others do not.
    pub summary: String,
    /// Whether something is still to be done about one of them.
    pub open: bool,
}

/// Puts the status of each PgBouncer into words.
#[must_use]
pub fn report(poolers: &BTreeMap<String, Status>, decision: &Decision) -> Report {
    let settled = |status: &Status| status.settled == Some(decision.generation);
    let serves = |status: &Status| status.serves_by(decision.generation);
    let there = poolers.values().filter(|status| serves(status)).count();
    let count = format!(
        "{there} of {} PgBouncers serve node {}",
        poolers.len(),
        decision.active
    );
    let sentence = |(name, status): (&String, &Status)| match (&status.outcome, &status.trouble) {
        (Some(outcome), Some(trouble)) if serves(status) => {
            format!("; {name}: {outcome}; not reached since ({trouble})")
        }
        (_, Some(trouble)) => format!("; {name}: not reached ({trouble})"),
        (Some(outcome), None) => {
            let (outcome, serving) = (outcome.to_string(), status.serving());
            let untold = settled(status) && !serves(status) && !outcome.contains(&serving);
            match untold {
                true => format!("; {name}: {outcome}; {serving}"),
                false => format!("; {name}: {outcome}"),
            }
        }
        (None, None) => format!("; {name}: not reached yet"),
    };
    let all: String = poolers.iter().map(sentence).collect();
    let missing = poolers.iter().filter(|(_, status)| !serves(status));
    let missing: String = missing.map(sentence).collect();
    Report {
        details: format!("{count}{all}"),
        summary: format!("{count}{missing}"),
        open: !poolers.values().all(settled),
    }
}
