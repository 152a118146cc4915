//! The part of a sequence that frees clients which hang in a dead node.
//!
//! Decides how long it is tried, and that what is SET for it is set again whatever happens. New
//! clients wait for none of this, except where nothing but KILL is left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Sequence, StepResult};
use crate::core::plan::{Eviction, Step};

#[cfg(test)]
mod tests;

/// PgBouncer looks at `query_timeout` every third of a second, for what is older than one; and
/// what hangs has been asked before RELOAD.
const EVICT_LIMIT: Duration = Duration::from_millis(1_500);
const EVICT_INTERVAL: Duration = Duration::from_millis(20);

/// What a step of the eviction gave, of all processes together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Clients that hung and do not any more.
    pub freed: usize,
    /// Clients that still hang.
    pub left: usize,
    /// Clients that were dropped, hanging or not, by database.
    pub dropped: BTreeMap<String, usize>,
}

/// The eviction so far.
#[derive(Debug, Default)]
pub(super) struct Evicting {
    since: Option<Instant>,
    so_far: Evicted,
}

impl Sequence {
    /// How long an eviction may put off the moment when what is owed later is on record.
    pub(super) fn evicts_for(&self) -> Duration {
        match self.plan.evict {
            Some(Eviction::QueryTimeout) => EVICT_LIMIT,
            Some(Eviction::KillClients | Eviction::KillDatabase) | None => Duration::ZERO,
        }
    }

    /// Without a record that lasts, clients are not paused: they could stay so.
    pub(super) fn after_renew(&mut self, result: StepResult) {
        if let StepResult::Failed(why) | StepResult::Lost(why) | StepResult::Superseded(why) =
            result
        {
            self.warnings
                .push(format!("clients that hang were not freed: {why}"));
            self.steps.retain(|step| !matches!(step, Step::Evict(_)));
        } else {
            self.hold_from_here();
        }
    }

    pub(super) fn after_evict(&mut self, eviction: Eviction, result: StepResult, now: Instant) {
        if eviction == Eviction::KillDatabase {
            // Whatever the answer: KILL pauses.
            self.paused.extend(self.plan.pauses());
            self.hold_from_here();
        }
        let Some(evicted) = self.evicted(result) else {
            return;
        };
        let so_far = &mut self.evicting.so_far;
        so_far.freed += evicted.freed;
        so_far.left = evicted.left;
        so_far.dropped.extend(evicted.dropped);
        let since = *self.evicting.since.get_or_insert(now);
        match eviction {
            Eviction::KillClients if evicted.left > 0 && now < since + EVICT_LIMIT => {
                if evicted.freed == 0 {
                    self.not_before = now + EVICT_INTERVAL;
                }
                self.steps.push_front(Step::Evict(eviction));
            }
            // Nobody hung, so nothing was SET.
            Eviction::QueryTimeout if evicted.left == 0 => {
                self.steps.retain(|step| !ends(step));
                self.eviction_first();
            }
            Eviction::KillClients | Eviction::KillDatabase | Eviction::QueryTimeout => {}
        }
    }

    pub(super) fn after_freed(&mut self, result: StepResult, now: Instant) {
        let Some(evicted) = self.evicted(result) else {
            return;
        };
        let so_far = &mut self.evicting.so_far;
        so_far.freed += so_far.left.saturating_sub(evicted.left);
        so_far.left = evicted.left;
        let since = *self.evicting.since.get_or_insert(now);
        let waits = !self.plan.only_counts_stuck() && now < since + EVICT_LIMIT;
        if evicted.left > 0 && waits {
            self.not_before = now + EVICT_INTERVAL;
            self.steps.push_front(Step::Freed);
        }
    }

    pub(super) fn after_end_eviction(&mut self, result: StepResult) {
        let (StepResult::Failed(why) | StepResult::Lost(why)) = result else {
            return;
        };
        self.warnings.push(why);
        self.leave_on_record();
    }

    /// What does not get through at once may wait for a place that an eviction is to free; and
    /// what is SET for that must not stay in force meanwhile.
    pub(super) fn eviction_first(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        let (first, rest): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .partition(|step| ends(step) || *step == Step::RecordDebt);
        self.steps = first.into_iter().chain(rest).collect();
    }

    /// What a person should know of it.
    pub(super) fn note_eviction(&self) -> Vec<String> {
        let Some(eviction) = self.plan.evict else {
            return Vec::new();
        };
        let Evicted {
            freed,
            left,
            dropped,
            ..
        } = &self.evicting.so_far;
        let failed = self.plan.decision.failed;
        let how = match eviction {
            Eviction::KillClients => "KILL_CLIENT".to_owned(),
            Eviction::QueryTimeout => "query_timeout".to_owned(),
            Eviction::KillDatabase => {
                let of = dropped.iter();
                let of = of.map(|(name, count)| format!("all {count} of `{name}`"));
                format!("KILL, which dropped {}", of.collect::<Vec<_>>().join(", "))
            }
        };
        let freed = match freed {
            _ if self.plan.only_counts_stuck() => None,
            0 => None,
            1 => Some(format!(
                "1 client that hung in node {failed} was freed ({how})"
            )),
            more => Some(format!(
                "{more} clients that hung in node {failed} were freed ({how})"
            )),
        };
        let left = (*left > 0).then(|| {
            format!(
                "clients still hang in node {failed}: {left}; PgBouncer's KILL and RESUME of the \
                 database free them"
            )
        });
        freed.into_iter().chain(left).collect()
    }

    fn evicted(&mut self, result: StepResult) -> Option<Evicted> {
        match result {
            StepResult::Evicted(evicted) => Some(evicted),
            StepResult::Failed(why) | StepResult::Lost(why) => {
                self.warnings.push(why);
                None
            }
            StepResult::Done(_)
            | StepResult::Passed(_)
            | StepResult::NotYet(_)
            | StepResult::Superseded(_)
            | StepResult::Rejected(_)
            | StepResult::Reset(_) => None,
        }
    }
}

fn ends(step: &Step) -> bool {
    matches!(step, Step::Freed | Step::EndEviction)
}
