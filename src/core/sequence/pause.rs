//! How long a sequence may keep clients waiting, and when it gives up what would take longer.
//!
//! A pause is to last milliseconds. What makes it last is a way to a host or console that falls
//! silent in the middle; then waiting is worse for clients than errors, and the console is another
//! connection than the host's. Giving a step up is the executor's; what follows from it
//! [`super::Sequence`]'s.

use std::time::{Duration, Instant};

use super::{Sequence, StepResult};
use crate::core::plan::{Eviction, Step};

/// While something on the host ends the pause if this agent vanishes.
const LIMIT: Duration = Duration::from_secs(2);
/// While only an agent can end it.
const LIMIT_WITHOUT_SWITCH: Duration = Duration::from_secs(1);
/// The host counts whole seconds, and cuts the first one off.
const WHOLE_SECOND: Duration = Duration::from_secs(1);
/// While nobody is held up, no step is given up early: the slow answers of a host and its consoles,
/// until it is on record what is owed later.
const LASTS_WITHOUT_PAUSE: Duration = Duration::from_secs(9);

/// The longest pause of one sequence. `has_switch`: whether a dead-man's switch can be set.
#[must_use]
pub fn limit(has_switch: bool) -> Duration {
    match has_switch {
        true => LIMIT,
        false => LIMIT_WITHOUT_SWITCH,
    }
}

/// How long what a pause of `limit` owes is left to its owner, in whole seconds: never less than
/// `limit`.
#[must_use]
pub fn lease(limit: Duration) -> Duration {
    let whole = if limit.subsec_nanos() > 0 { 1 } else { 0 };
    Duration::from_secs(limit.as_secs() + whole) + WHOLE_SECOND
}

/// What a step gives that was given up because clients have been paused for `limit`.
#[must_use]
pub fn given_up(step: &Step, limit: Duration) -> StepResult {
    let who = match step {
        Step::Stage
        | Step::Record
        | Step::Renew
        | Step::Activate
        | Step::RestoreFile
        | Step::RecordDebt
        | Step::Settle => "the host",
        Step::Pause { .. }
        | Step::Reload
        | Step::ReadBack
        | Step::Hasten
        | Step::Enable { .. }
        | Step::Resume { .. }
        | Step::Evict(_)
        | Step::Freed
        | Step::EndEviction
        | Step::PutBack
        | Step::Confirm { .. }
        | Step::ReadBackPrevious
        | Step::Calm { .. }
        | Step::Emptied
        | Step::CloseSessions
        | Step::Drain { .. }
        | Step::NameLeft
        | Step::KeepSessions => "the console",
        Step::Replayed { .. } => "the new node",
    };
    StepResult::Lost(format!(
        "{who} did not answer within the {} s that clients may be paused",
        limit.as_secs_f64()
    ))
}

/// When a pause that is recorded, or was found, at `since` has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    since: Instant,
    limit: Duration,
}

impl Hold {
    pub(super) fn new(since: Instant, limit: Duration) -> Self {
        Self { since, limit }
    }

    pub(super) fn deadline(self) -> Instant {
        self.since + self.limit
    }

    /// Whether so much of the time went by before the pause began that the rest would hardly do.
    pub(super) fn is_half_over(self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) * 2 > self.limit
    }
}

impl Sequence {
    /// How long what is owed from Activate on is left to us: until it is on record what is owed
    /// later.
    #[must_use]
    pub fn lease(&self) -> Duration {
        let holds_up = self.hold.is_some() || self.plan.evict == Some(Eviction::KillDatabase);
        let lasts = match holds_up {
            true => self.plan.pause_limit,
            false => LASTS_WITHOUT_PAUSE,
        };
        lease(lasts + self.evicts_for()) + self.plan.way.lasts()
    }

    /// When the step of [`Sequence::next`] is to be given up, as [`given_up`]: clients may
    /// be paused, and would be for too long. Ending the pause itself is not given up.
    #[must_use]
    pub fn give_up_at(&self) -> Option<Instant> {
        let deadline = self.hold?.deadline();
        match self.steps.front()? {
            Step::Record | Step::Resume { .. } | Step::EndEviction | Step::KeepSessions => None,
            Step::Stage
            | Step::Renew
            | Step::Pause { .. }
            | Step::Activate
            | Step::Reload
            | Step::ReadBack
            | Step::Hasten
            | Step::Enable { .. }
            | Step::Evict(_)
            | Step::Freed
            | Step::PutBack
            | Step::Confirm { .. }
            | Step::RecordDebt
            | Step::RestoreFile
            | Step::ReadBackPrevious
            | Step::Calm { .. }
            | Step::Emptied
            | Step::Replayed { .. }
            | Step::CloseSessions
            | Step::Drain { .. }
            | Step::NameLeft
            | Step::Settle => Some(deadline),
        }
    }

    /// The time of a pause runs from the moment when its record was begun.
    pub(super) fn recorded(&mut self, now: Instant) {
        let hold = Hold::new(self.step_begun, self.plan.pause_limit);
        let hold = *self.hold.get_or_insert(hold);
        if hold.is_half_over(now) {
            let kills = self.plan.evict == Some(Eviction::KillDatabase);
            let earlier = &self.plan.also_resume;
            // What KILL pauses is resumed all the same.
            let goes = |name: &String| !kills && !earlier.contains(name);
            let of_this = |step: &Step| {
                let resumes = matches!(step, Step::Resume { database } if goes(database));
                resumes || matches!(step, Step::Pause { .. })
            };
            self.steps.retain(|step| !of_this(step));
            let why = "clients were not paused: the host took too long for its record of it";
            self.warnings.push(why.to_owned());
            self.hold = self.hold.filter(|_| !self.plan.also_resume.is_empty());
        }
    }

    /// A step pauses without a record of its own.
    pub(super) fn hold_from_here(&mut self) {
        let hold = Hold::new(self.step_begun, self.plan.pause_limit);
        self.hold.get_or_insert(hold);
    }

    /// Once the limit is over, ending the pause comes first.
    pub(super) fn keep_to_the_limit(&mut self, now: Instant) {
        let is_resume = |step: &Step| matches!(step, Step::Resume { .. });
        if self.hold.is_some_and(|hold| now >= hold.deadline()) {
            // Whatever else is left to do is done with clients that are served.
            let (resumes, rest): (Vec<_>, Vec<_>) = self.steps.drain(..).partition(is_resume);
            self.steps = resumes.into_iter().chain(rest).collect();
        }
        if !self.steps.iter().any(is_resume) {
            self.hold = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_record_lasts_longer_than_the_pause_however_the_host_counts() {
        for (limit_ms, lease_s) in [(1000, 2), (2000, 3), (500, 2), (2500, 4)] {
            let lease = lease(Duration::from_millis(limit_ms));
            assert_eq!(lease, Duration::from_secs(lease_s), "{limit_ms}");
        }
    }
}
