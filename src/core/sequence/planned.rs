//! What follows from each step of a planned move. Nothing is urgent: whatever does not go as meant
//! before the file is in place ends it, with everything as it was.

use std::time::{Duration, Instant};

use super::{Sequence, StepResult};
use crate::core::outcome::{End, FileAfter};
use crate::core::plan::{EMPTY_LIMIT, Step};

/// Between two looks at the connections that are left.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// There is a moment without a login even where connections come and go all the time.
const CALM_INTERVAL: Duration = Duration::from_millis(1);

impl Sequence {
    /// A login that is cut off costs a client an error, no more: `server_login_retry` is set low.
    pub(super) fn after_calm(&mut self, limit: Duration, result: StepResult, now: Instant) {
        let step = Step::Calm { limit };
        let waits = matches!(result, StepResult::NotYet(_));
        if !(waits && self.again(&step, limit, CALM_INTERVAL, now)) {
            self.waiting_since = None;
        }
    }

    /// While clients are held up, before the file is in place.
    pub(super) fn after_hold(&mut self, step: Step, result: StepResult, now: Instant) {
        match result {
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Evicted(_) => {
                self.waiting_since = None;
            }
            StepResult::NotYet(_) if self.again(&step, EMPTY_LIMIT, LOOK_INTERVAL, now) => {}
            StepResult::NotYet(why)
            | StepResult::Failed(why)
            | StepResult::Lost(why)
            | StepResult::Superseded(why)
            | StepResult::Rejected(why)
            | StepResult::Reset(why) => self.give_up(&why, now),
        }
    }

    /// A PAUSE that has not answered is not waited for any longer: no transaction is cut off.
    pub(super) fn after_planned_pause(
        &mut self,
        database: String,
        result: StepResult,
        now: Instant,
    ) {
        let text = format!("`{database}` could not be paused");
        // Whatever the answer: the pause may hold, so it is owed.
        self.paused.insert(database);
        match result {
            StepResult::Done(_) | StepResult::Evicted(_) => {}
            StepResult::Passed(_) | StepResult::NotYet(_) => {
                self.give_up(&format!("{text} in time: a transaction is still open"), now);
            }
            StepResult::Failed(why)
            | StepResult::Lost(why)
            | StepResult::Superseded(why)
            | StepResult::Rejected(why)
            | StepResult::Reset(why) => self.give_up(&format!("{text}: {why}"), now),
        }
    }

    pub(super) fn after_drain(&mut self, limit: Duration, result: StepResult, now: Instant) {
        match result {
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Evicted(_) => {
                self.waiting_since = None;
                self.served_after = now.saturating_duration_since(self.begun);
            }
            StepResult::NotYet(_)
                if self.again(&Step::Drain { limit }, limit, LOOK_INTERVAL, now) => {}
            StepResult::NotYet(_) => self.steps.push_front(Step::NameLeft),
            StepResult::Failed(why)
            | StepResult::Lost(why)
            | StepResult::Superseded(why)
            | StepResult::Rejected(why)
            | StepResult::Reset(why) => self.not_drained(why),
        }
    }

    pub(super) fn after_name_left(&mut self, result: StepResult, now: Instant) {
        match result {
            // They have left just now.
            StepResult::Passed(_) | StepResult::Evicted(_) => {
                self.served_after = now.saturating_duration_since(self.begun);
            }
            StepResult::Done(who)
            | StepResult::NotYet(who)
            | StepResult::Failed(who)
            | StepResult::Lost(who)
            | StepResult::Superseded(who)
            | StepResult::Rejected(who)
            | StepResult::Reset(who) => self.not_drained(who),
        }
    }

    /// A value that could not be set again stays on record, for whoever looks next.
    pub(super) fn after_keep_sessions(&mut self, result: StepResult) {
        if let StepResult::Failed(why) | StepResult::Lost(why) = result {
            self.warnings.push(why);
            self.leave_on_record();
        }
    }

    fn give_up(&mut self, why: &str, now: Instant) {
        self.waiting_since = None;
        self.fail(format!("given up: {why}"), FileAfter::Unchanged, now);
    }

    fn not_drained(&mut self, why: String) {
        match self.end {
            End::Redirected => self.end = End::NotDrained(why),
            // That no query gets through is what matters more.
            End::Skipped(_)
            | End::Superseded(_)
            | End::Failed { .. }
            | End::Unconfirmed(_)
            | End::NotDrained(_) => self.warnings.push(why),
        }
    }

    /// Puts a step back that is not through yet; `false`: its time is over.
    fn again(&mut self, step: &Step, limit: Duration, interval: Duration, now: Instant) -> bool {
        let since = *self.waiting_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= limit {
            self.waiting_since = None;
            return false;
        }
        self.not_before = now + interval;
        self.steps.push_front(step.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{failed, plan, play};
    use super::*;
    use crate::core::plan::{Plan, Way};

    fn drain(fast_close: Option<&str>) -> Plan {
        Plan {
            pause: false,
            way: Way::Drain {
                limit: Duration::from_secs(2),
                fast_close: fast_close.map(str::to_owned),
            },
            ..plan()
        }
    }

    fn pause() -> Plan {
        Plan {
            way: Way::Pause {
                limit: Duration::from_secs(2),
                replayed: Duration::from_secs(3),
            },
            ..plan()
        }
    }

    fn not_yet() -> StepResult {
        StepResult::NotYet("1 connection".to_owned())
    }

    #[test]
    fn a_drain_pauses_nobody_and_counts_who_is_left_when_a_query_gets_through() {
        let (steps, outcome, owed) = play(drain(None), &[]);
        assert_eq!(
            steps,
            "Stage Activate Calm Reload Hasten ReadBack PutBack Confirm Drain RecordDebt"
        );
        assert_eq!(outcome.end, End::Redirected);
        assert!(owed.is_some());
    }

    #[test]
    fn in_session_pooling_sessions_are_closed_in_between_and_the_setting_is_owed_from_the_start() {
        let (steps, ..) = play(drain(Some("0")), &[]);
        assert_eq!(
            steps,
            "Stage Activate Calm Reload Hasten ReadBack PutBack CloseSessions Confirm Drain \
             KeepSessions RecordDebt"
        );
        let mut sequence = Sequence::new(drain(Some("0")), Instant::now());
        let before = [("server_fast_close".to_owned(), "0".to_owned())];
        sequence.found(vec![before.clone().into()]);
        assert_eq!(sequence.debt().settings_of(0), before.into());
        let (steps, ..) = play(drain(Some("0")), &[("KeepSessions", failed("lost"))]);
        assert!(
            steps.ends_with("KeepSessions"),
            "it stays on record: {steps}"
        );
    }

    #[test]
    fn what_was_set_before_the_read_back_stays_on_record_when_that_fails() {
        let (steps, outcome, owed) = play(drain(None), &[("ReadBack", failed("lost"))]);
        assert!(steps.ends_with(" RecordDebt"), "{steps}");
        assert!(!outcome.serves() && owed.is_some());
        let rejected = StepResult::Rejected("not as meant".to_owned());
        let (steps, outcome, owed) = play(drain(None), &[("ReadBack", rejected)]);
        assert!(steps.ends_with(" PutBack Settle"), "{steps}");
        assert!(!outcome.serves() && owed.is_none());
    }

    #[test]
    fn who_is_left_at_the_deadline_is_named_once_and_the_rest_is_done_all_the_same() {
        let who = StepResult::Done("1 connection: app".to_owned());
        let script = [("Drain", not_yet()), ("NameLeft", who)];
        let (steps, outcome, _) = play(drain(Some("0")), &script);
        assert!(
            steps.ends_with("Confirm Drain NameLeft KeepSessions RecordDebt"),
            "{steps}"
        );
        assert_eq!(
            outcome.to_string(),
            "redirected, but not everybody has left the old node: 1 connection: app"
        );
        assert!(outcome.took >= Duration::from_secs(2) && !outcome.serves());
    }

    #[test]
    fn a_pause_waits_until_nothing_is_left_and_all_has_arrived_before_the_file_is_replaced() {
        let (steps, outcome, _) = play(pause(), &[]);
        assert_eq!(
            steps,
            "Stage Record Calm Pause Emptied Replayed Activate Reload ReadBack Hasten Resume \
             PutBack Confirm RecordDebt"
        );
        assert_eq!(outcome.end, End::Redirected);
    }

    #[test]
    fn whatever_is_not_as_meant_before_the_file_is_replaced_ends_a_pause_with_nothing_changed() {
        let passed = StepResult::Passed("its answer was not waited for".to_owned());
        let open = "given up: `app` could not be paused in time: a transaction is still open";
        let cases = [
            ("Pause", passed, open),
            (
                "Pause",
                failed("no"),
                "given up: `app` could not be paused: no",
            ),
            ("Emptied", not_yet(), "given up: 1 connection"),
            ("Emptied", failed("lost"), "given up: lost"),
            ("Replayed", failed("too slow"), "given up: too slow"),
        ];
        for (step, result, reason) in cases {
            let (steps, outcome, owed) = play(pause(), &[(step, result)]);
            assert!(steps.ends_with(&format!("{step} Resume Settle")), "{steps}");
            assert_eq!(
                outcome.to_string(),
                format!("failed, nothing changed: {reason}")
            );
            assert_eq!(owed, None);
        }
    }

    #[test]
    fn logins_that_never_cease_are_no_reason_to_give_up() {
        for plan in [drain(None), pause()] {
            let (steps, outcome, _) = play(plan, &[("Calm", not_yet())]);
            assert!(steps.ends_with("RecordDebt"), "{steps}");
            assert_eq!(outcome.end, End::Redirected);
        }
    }

    #[test]
    fn what_is_owed_is_ours_for_as_long_as_clients_may_be_held_up() {
        assert!(pause().way.holds() >= Duration::from_secs(5));
        assert!(pause().way.lasts() > pause().way.holds());
        assert!(drain(None).way.lasts() > Duration::from_secs(2));
        assert_eq!(plan().way.lasts(), Duration::ZERO);
    }
}
