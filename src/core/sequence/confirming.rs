//! How long the proof that clients reach the new node is waited for.

use std::time::{Duration, Instant};

use super::{Sequence, StepResult};
use crate::core::outcome::End;
use crate::core::plan::Step;

/// How long a query through PgBouncer may fail before the redirect counts as unconfirmed. What is
/// still to be confirmed then is tried once.
pub(super) const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
const CONFIRM_INTERVAL: Duration = Duration::from_millis(10);

impl Sequence {
    pub(super) fn after_confirm(&mut self, database: String, result: StepResult, now: Instant) {
        let why = match result {
            StepResult::Done(how) | StepResult::Passed(how) => {
                if !matches!(self.end, End::Unconfirmed(_)) {
                    self.confirming_since = None;
                }
                self.served_after = now.saturating_duration_since(self.begun);
                self.confirmed.insert(database, how);
                return;
            }
            StepResult::NotYet(why)
            | StepResult::Failed(why)
            | StepResult::Lost(why)
            | StepResult::Superseded(why)
            | StepResult::Rejected(why)
            | StepResult::Reset(why) => why,
            StepResult::Evicted(_) => return,
        };
        let since = *self.confirming_since.get_or_insert(now);
        if now.saturating_duration_since(since) < CONFIRM_LIMIT {
            self.not_before = now + CONFIRM_INTERVAL;
            self.steps.push_front(Step::Confirm { database });
            self.eviction_first();
            return;
        }
        self.end = End::Unconfirmed(format!("`{database}`: {why}"));
    }
}
