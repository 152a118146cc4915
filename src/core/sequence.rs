//! Walks through a [`Plan`], step by step, and takes the way back when one fails.
//!
//! Decides which step comes next from what the last one gave, and when to stop waiting. What was
//! begun is always ended: every pause has its RESUME on every path. Carrying a step out is
//! `agent::executor`'s; it makes no choices.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::core::debt::Debt;
use crate::core::outcome::{End, Outcome};
use crate::core::plan::{Plan, Step};

/// How long a query through PgBouncer may fail before the redirect counts as unconfirmed.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
const CONFIRM_INTERVAL: Duration = Duration::from_millis(10);
/// A RESUME that could not be sent is tried again on a new connection.
const RESUME_TRIES: u32 = 3;
const RESUME_INTERVAL: Duration = Duration::from_millis(100);
/// The value is restored a little after its old length has passed.
const RELOAD_SLACK: Duration = Duration::from_secs(1);

/// What a step gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepResult {
    /// Done; for Confirm: how it was proved.
    Done(String),
    /// Not done, and it does not matter enough to stop.
    Passed(String),
    /// Not yet; try again.
    NotYet(String),
    /// Failed.
    Failed(String),
    /// Someone else decided later.
    Superseded(String),
    /// ReadBack: the file was not taken as meant.
    Rejected(String),
    /// Hasten: this value of `server_login_retry` is owed.
    Hastened {
        /// What it was, as PgBouncer has it from its file.
        before: String,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Carry out this step.
    Do(Step),
    /// Nothing before this moment.
    Wait(Instant),
    /// Ended.
    End,
}

/// `server_login_retry` that must be set again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Names the operation on the host.
    pub token: String,
    /// The value to set.
    pub value: String,
    /// Not before this moment: the failed-connect flag belongs to each (database, user), and a pool
    /// that has not tried since would wait for the old length.
    pub due: Instant,
}

/// A plan being carried out.
#[derive(Debug)]
pub struct Sequence {
    plan: Plan,
    steps: VecDeque<Step>,
    begun: Instant,
    not_before: Instant,
    reloaded: Option<Instant>,
    confirming_since: Option<Instant>,
    resume_tries: u32,
    paused: BTreeSet<String>,
    owed: Option<Owed>,
    end: End,
    warnings: Vec<String>,
    left_paused: Vec<String>,
    confirmed: BTreeMap<String, String>,
    served_after: Duration,
}

impl Sequence {
    /// Begins.
    #[must_use]
    pub fn new(plan: Plan, now: Instant) -> Self {
        Self {
            steps: plan.steps().into(),
            plan,
            begun: now,
            not_before: now,
            reloaded: None,
            confirming_since: None,
            resume_tries: 0,
            paused: BTreeSet::new(),
            owed: None,
            end: End::Redirected,
            warnings: Vec::new(),
            left_paused: Vec::new(),
            confirmed: BTreeMap::new(),
            served_after: Duration::ZERO,
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is owed while it runs: what must be on record on the host before the first pause.
    #[must_use]
    pub fn debt(&self, server_login_retry: &str) -> Debt {
        let mut paused = self.plan.also_resume.clone();
        if self.plan.pause {
            paused.extend(self.plan.moves.keys().cloned());
        }
        Debt {
            paused,
            server_login_retry: Some(server_login_retry.to_owned()),
        }
    }

    /// What is owed of `server_login_retry`, once it was set.
    #[must_use]
    pub fn owed(&self) -> Option<&Owed> {
        self.owed.as_ref()
    }

    /// What to do at `now`. Calling it again without [`Sequence::handle`] gives the same step.
    #[must_use]
    pub fn next(&self, now: Instant) -> Next {
        match self.steps.front() {
            None => Next::End,
            Some(_) if now < self.not_before => Next::Wait(self.not_before),
            Some(step) => Next::Do(step.clone()),
        }
    }

    /// Takes what the step of [`Sequence::next`] gave.
    pub fn handle(&mut self, result: StepResult, now: Instant) {
        let Some(step) = self.steps.pop_front() else {
            return;
        };
        match step {
            Step::Stage => self.staged(result, now),
            Step::Pause { database, .. } => self.after_pause(database, result),
            Step::Activate => self.after_activate(result, now),
            Step::Reload => self.after_reload(result, now),
            Step::ReadBack => self.after_read_back(result, now),
            Step::Hasten => self.hastened(result, now),
            Step::Resume { database } => self.after_resume(database, result, now),
            Step::Confirm { database } => self.after_confirm(database, result, now),
            Step::RestoreFile => {
                if let StepResult::Failed(why) | StepResult::Superseded(why) = result {
                    self.not_restored(&why);
                }
            }
            Step::ReadBackPrevious => self.read_back_previous(result),
            Step::RecordDebt | Step::Settle => {
                if let StepResult::Failed(why) = result {
                    self.warnings.push(why);
                }
            }
        }
    }

    /// What became of it, and what is owed later; after [`Next::End`].
    #[must_use]
    pub fn finish(self, now: Instant) -> (Outcome, Option<Owed>) {
        let took = match self.end {
            End::Redirected => self.served_after,
            End::Skipped(_) | End::Superseded(_) | End::Failed { .. } | End::Unconfirmed(_) => {
                now.saturating_duration_since(self.begun)
            }
        };
        let outcome = Outcome {
            generation: self.plan.decision.generation,
            active: self.plan.decision.active,
            end: self.end,
            warnings: self.warnings,
            left_paused: self.left_paused,
            took,
            entries: self.confirmed,
        };
        (outcome, self.owed)
    }

    fn staged(&mut self, result: StepResult, now: Instant) {
        match result {
            StepResult::Failed(why) | StepResult::Rejected(why) | StepResult::NotYet(why) => {
                self.turn_back(
                    End::Failed {
                        reason: why,
                        restored: None,
                    },
                    now,
                );
            }
            StepResult::Superseded(by) => self.turn_back(End::Superseded(by), now),
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Hastened { .. } => {}
        }
    }

    fn after_pause(&mut self, database: String, result: StepResult) {
        // Whatever the answer: the pause may hold, so it is owed.
        self.paused.insert(database);
        if let StepResult::Failed(why) = result {
            // Clients then see errors for some milliseconds; that is no reason to leave them on a
            // dead node.
            self.warnings.push(why);
        }
    }

    fn after_activate(&mut self, result: StepResult, now: Instant) {
        match result {
            StepResult::Superseded(by) => self.turn_back(End::Superseded(by), now),
            StepResult::Failed(why) | StepResult::Rejected(why) | StepResult::NotYet(why) => {
                self.turn_back(
                    End::Failed {
                        reason: why,
                        restored: None,
                    },
                    now,
                );
            }
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Hastened { .. } => {}
        }
    }

    fn after_reload(&mut self, result: StepResult, now: Instant) {
        match result {
            // From 1.25 on RELOAD says that something was wrong, but not what, nor in which file:
            // the state decides.
            StepResult::Passed(why) => self.warnings.push(why),
            StepResult::Failed(why) if self.end == End::Redirected => {
                // The answer is lost: the file may be in force or not. It is the one that was
                // decided on, so it stays; the next look tells.
                self.turn_back(
                    End::Failed {
                        reason: why,
                        restored: Some(false),
                    },
                    now,
                );
                return;
            }
            StepResult::Failed(why) => self.not_restored(&why),
            StepResult::Done(_)
            | StepResult::NotYet(_)
            | StepResult::Superseded(_)
            | StepResult::Rejected(_)
            | StepResult::Hastened { .. } => {}
        }
        self.reloaded = Some(now);
    }

    fn after_read_back(&mut self, result: StepResult, now: Instant) {
        match result {
            StepResult::Rejected(why) => {
                self.end = End::Failed {
                    reason: why,
                    restored: Some(true),
                };
                let mut way_back = vec![Step::RestoreFile, Step::Reload, Step::ReadBackPrevious];
                way_back.extend(self.owed_resumes());
                way_back.push(Step::Settle);
                self.steps = way_back.into();
            }
            StepResult::Failed(why) | StepResult::Superseded(why) | StepResult::NotYet(why) => {
                self.turn_back(
                    End::Failed {
                        reason: why,
                        restored: Some(false),
                    },
                    now,
                );
            }
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Hastened { .. } => {}
        }
    }

    fn hastened(&mut self, result: StepResult, now: Instant) {
        match result {
            StepResult::Hastened { before } => {
                self.owed = Some(self.owed_at(before, self.reloaded.unwrap_or(now)));
            }
            StepResult::Failed(why) => self.warnings.push(why),
            StepResult::Done(_)
            | StepResult::Passed(_)
            | StepResult::NotYet(_)
            | StepResult::Superseded(_)
            | StepResult::Rejected(_) => {}
        }
    }

    fn after_resume(&mut self, database: String, result: StepResult, now: Instant) {
        let StepResult::Failed(why) = result else {
            self.resume_tries = 0;
            self.paused.remove(&database);
            return;
        };
        self.resume_tries += 1;
        if self.resume_tries < RESUME_TRIES {
            self.not_before = now + RESUME_INTERVAL;
            self.steps.push_front(Step::Resume { database });
            return;
        }
        self.resume_tries = 0;
        self.warnings.push(why);
        self.left_paused.push(database);
        // The record stays on the host: it tells whoever looks next what is owed.
        self.steps
            .retain(|step| !matches!(step, Step::RecordDebt | Step::Settle));
    }

    fn after_confirm(&mut self, database: String, result: StepResult, now: Instant) {
        let why = match result {
            StepResult::Done(how) | StepResult::Passed(how) => {
                self.confirming_since = None;
                self.served_after = now.saturating_duration_since(self.begun);
                self.confirmed.insert(database, how);
                return;
            }
            StepResult::NotYet(why)
            | StepResult::Failed(why)
            | StepResult::Superseded(why)
            | StepResult::Rejected(why) => why,
            StepResult::Hastened { .. } => return,
        };
        let since = *self.confirming_since.get_or_insert(now);
        if now.saturating_duration_since(since) < CONFIRM_LIMIT {
            self.not_before = now + CONFIRM_INTERVAL;
            self.steps.push_front(Step::Confirm { database });
            return;
        }
        self.confirming_since = None;
        self.end = End::Unconfirmed(format!("`{database}`: {why}"));
    }

    fn read_back_previous(&mut self, result: StepResult) {
        if let StepResult::Rejected(why) | StepResult::Failed(why) = result {
            self.not_restored(&why);
        }
    }

    fn not_restored(&mut self, why: &str) {
        if let End::Failed { restored, .. } = &mut self.end {
            *restored = Some(false);
        }
        self.warnings.push(why.to_owned());
    }

    /// Gives up the rest of the plan, but not what is owed.
    fn turn_back(&mut self, end: End, now: Instant) {
        self.end = end;
        let mut steps = self.owed_resumes();
        match &self.plan.inherited {
            // RELOAD would have undone it.
            Some(value) if self.reloaded.is_none() => {
                self.owed = Some(self.owed_at(value.clone(), now));
                steps.push(Step::RecordDebt);
            }
            Some(_) | None => steps.push(Step::Settle),
        }
        self.steps = steps.into();
    }

    /// The debt of a value that has been out of force since `since`.
    fn owed_at(&self, value: String, since: Instant) -> Owed {
        let length = Duration::try_from_secs_f64(value.parse().unwrap_or(15.0));
        let due = since + length.unwrap_or(Duration::from_secs(15)) + RELOAD_SLACK;
        let token = self.plan.token.clone();
        Owed { token, value, due }
    }

    fn owed_resumes(&self) -> Vec<Step> {
        let owed = |step: &Step| match step {
            Step::Resume { database } => {
                self.paused.contains(database) || self.plan.also_resume.contains(database)
            }
            Step::Stage
            | Step::Pause { .. }
            | Step::Activate
            | Step::Reload
            | Step::ReadBack
            | Step::Hasten
            | Step::Confirm { .. }
            | Step::RecordDebt
            | Step::RestoreFile
            | Step::ReadBackPrevious
            | Step::Settle => false,
        };
        self.plan.resumes().into_iter().filter(owed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeId;
    use crate::conninfo::server_address::ServerAddress;
    use crate::core::node::Fault;
    use crate::core::plan::Decision;
    use crate::generation::Generation;

    fn plan() -> Plan {
        let address = ServerAddress {
            host: "10.0.0.11".to_owned(),
            port: 5432,
            dbname: "bdrtest".to_owned(),
        };
        let moves = BTreeMap::from([("app".to_owned(), address)]);
        Plan {
            token: "1-77-1-0".to_owned(),
            decision: Decision {
                generation: Generation::NONE.next(NodeId(1)),
                failed: NodeId(2),
                active: NodeId(1),
                fault: Fault::Crash,
            },
            confirm: moves.keys().cloned().collect(),
            expected: moves.clone(),
            moves,
            previous: BTreeMap::new(),
            content: Vec::new(),
            hash: "new".to_owned(),
            hash_read: "old".to_owned(),
            inherited: None,
            also_resume: BTreeSet::new(),
            pause: true,
        }
    }

    /// Plays a plan: each step gives what `script` says of its name, or is done. Gives the names of
    /// the steps, and what became of it.
    fn play(plan: Plan, script: &[(&str, StepResult)]) -> (String, Outcome, Option<Owed>) {
        let mut now = Instant::now();
        let mut sequence = Sequence::new(plan, now);
        let mut names: Vec<String> = Vec::new();
        for _ in 0..10_000 {
            match sequence.next(now) {
                Next::Do(step) => {
                    let text = format!("{step:?}");
                    let name = text.split(' ').next().unwrap_or_default().to_owned();
                    let told = script
                        .iter()
                        .find(|(of, _)| *of == name)
                        .map(|(_, r)| r.clone());
                    let hastened = StepResult::Hastened {
                        before: "15".to_owned(),
                    };
                    let usual = match name.as_str() {
                        "Hasten" => hastened,
                        _ => StepResult::Done(String::new()),
                    };
                    sequence.handle(told.unwrap_or(usual), now);
                    if names.last() != Some(&name) {
                        names.push(name);
                    }
                    now += Duration::from_millis(1);
                }
                Next::Wait(until) => now = until,
                Next::End => {
                    let (outcome, owed) = sequence.finish(now);
                    return (names.join(" "), outcome, owed);
                }
            }
        }
        panic!("it does not end: {names:?}");
    }

    fn failed(why: &str) -> StepResult {
        StepResult::Failed(why.to_owned())
    }

    #[test]
    fn all_goes_well_and_server_login_retry_is_owed_for_its_old_length_after_reload() {
        let begun = Instant::now();
        let (steps, outcome, owed) = play(plan(), &[]);
        assert_eq!(
            steps,
            "Stage Pause Activate Reload ReadBack Hasten Resume Confirm RecordDebt"
        );
        assert!(outcome.serves());
        let owed = owed.unwrap();
        assert_eq!(owed.value, "15");
        assert!(owed.due >= begun + Duration::from_secs(16));
    }

    #[test]
    fn without_pause_nothing_is_resumed() {
        let without = Plan {
            pause: false,
            ..plan()
        };
        let (steps, ..) = play(without, &[]);
        assert_eq!(
            steps,
            "Stage Activate Reload ReadBack Hasten Confirm RecordDebt"
        );
    }

    #[test]
    fn what_cannot_be_staged_is_not_begun() {
        let (steps, outcome, owed) = play(plan(), &[("Stage", failed("disk full"))]);
        assert_eq!(steps, "Stage Settle");
        assert_eq!(outcome.to_string(), "failed, nothing changed: disk full");
        assert_eq!(owed, None);
    }

    #[test]
    fn a_pause_that_fails_may_hold_all_the_same_and_is_resumed() {
        let (steps, outcome, _) = play(plan(), &[("Pause", failed("no login"))]);
        assert!(steps.contains("Resume"), "{steps}");
        assert!(outcome.serves());
        assert_eq!(outcome.warnings, ["no login"]);
    }

    #[test]
    fn a_newer_decision_on_the_host_ends_it_with_its_pause_resumed() {
        let newer = StepResult::Superseded("generation 9.2".to_owned());
        let (steps, outcome, _) = play(plan(), &[("Activate", newer)]);
        assert_eq!(steps, "Stage Pause Activate Resume Settle");
        assert!(matches!(outcome.end, End::Superseded(_)));
    }

    #[test]
    fn a_file_that_is_not_taken_as_meant_is_taken_back_and_read_back_too() {
        let rejected = StepResult::Rejected("it is not there".to_owned());
        let (steps, outcome, _) = play(plan(), &[("ReadBack", rejected.clone())]);
        assert_eq!(
            steps,
            "Stage Pause Activate Reload ReadBack RestoreFile Reload ReadBackPrevious Resume Settle"
        );
        let text = "failed, previous file restored: it is not there";
        assert_eq!(outcome.to_string(), text);
        let script = [("ReadBack", rejected), ("RestoreFile", failed("disk full"))];
        let (_, outcome, _) = play(plan(), &script);
        assert!(
            outcome.to_string().contains("could not be restored"),
            "{outcome}"
        );
    }

    #[test]
    fn a_resume_that_cannot_be_sent_is_tried_again_and_then_said_and_left_on_record() {
        let (steps, outcome, _) = play(plan(), &[("Resume", failed("connection lost"))]);
        assert!(
            !steps.contains("RecordDebt") && !steps.contains("Settle"),
            "{steps}"
        );
        assert_eq!(outcome.left_paused, ["app"]);
        assert!(!outcome.serves());
        assert!(
            outcome.to_string().contains("STILL PAUSED: app"),
            "{outcome}"
        );
    }

    #[test]
    fn a_query_that_never_gets_through_leaves_the_new_file_and_says_so() {
        let not_yet = StepResult::NotYet("refused".to_owned());
        let (steps, outcome, owed) = play(plan(), &[("Confirm", not_yet)]);
        assert!(steps.ends_with("Confirm RecordDebt"), "{steps}");
        assert!(matches!(outcome.end, End::Unconfirmed(_)));
        assert!(outcome.took >= CONFIRM_LIMIT);
        assert!(owed.is_some());
    }

    #[test]
    fn what_an_operation_before_it_owes_is_still_owed_when_it_turns_back() {
        let inherits = Plan {
            inherited: Some("15".to_owned()),
            ..plan()
        };
        let (steps, _, owed) = play(inherits, &[("Activate", failed("the file was changed"))]);
        assert_eq!(steps, "Stage Pause Activate Resume RecordDebt");
        let owed = owed.unwrap();
        assert_eq!(
            (owed.token.as_str(), owed.value.as_str()),
            ("1-77-1-0", "15")
        );
    }

    #[test]
    fn with_nothing_to_move_only_the_confirmation_is_made_good() {
        let rest = Plan {
            moves: BTreeMap::new(),
            ..plan()
        };
        let (steps, outcome, _) = play(rest, &[]);
        assert_eq!(steps, "Confirm");
        assert!(outcome.serves());
    }
}
