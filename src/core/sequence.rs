//! Walks through a [`Plan`], step by step, and takes the way back when one fails.
//!
//! Decides which step comes next from what the last one gave, and when to stop waiting. What was
//! begun is always ended: every pause has its RESUME on every path. Carrying a step out is
//! `agent::executor`'s; it makes no choices.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::core::debt::Debt;
use crate::core::outcome::{End, FileAfter, Outcome};
use crate::core::plan::{Plan, Step};

#[cfg(test)]
mod tests;

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
    /// The answer is lost: it may have been done or not.
    Lost(String),
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
                if let StepResult::Failed(why)
                | StepResult::Lost(why)
                | StepResult::Superseded(why) = result
                {
                    self.not_restored(&why);
                }
            }
            Step::ReadBackPrevious => self.read_back_previous(result),
            Step::RecordDebt | Step::Settle => {
                if let StepResult::Failed(why) | StepResult::Lost(why) = result {
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
            StepResult::Failed(why)
            | StepResult::Lost(why)
            | StepResult::Rejected(why)
            | StepResult::NotYet(why) => self.fail(why, FileAfter::Unchanged, now),
            StepResult::Superseded(by) => self.turn_back(End::Superseded(by), now),
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Hastened { .. } => {}
        }
    }

    fn after_pause(&mut self, database: String, result: StepResult) {
        // Whatever the answer: the pause may hold, so it is owed.
        self.paused.insert(database);
        if let StepResult::Failed(why) | StepResult::Lost(why) = result {
            // Clients then see errors for some milliseconds; that is no reason to leave them on a
            // dead node.
            self.warnings.push(why);
        }
    }

    fn after_activate(&mut self, result: StepResult, now: Instant) {
        match result {
            StepResult::Superseded(by) => self.turn_back(End::Superseded(by), now),
            StepResult::Failed(why) | StepResult::Rejected(why) | StepResult::NotYet(why) => {
                self.fail(why, FileAfter::Unchanged, now);
            }
            StepResult::Lost(why) => self.fail(why, FileAfter::Unknown, now),
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Hastened { .. } => {}
        }
    }

    fn after_reload(&mut self, result: StepResult, now: Instant) {
        match result {
            // From 1.25 on RELOAD says that something was wrong, but not what, nor in which file:
            // the state decides.
            StepResult::Passed(why) => self.warnings.push(why),
            StepResult::Failed(why) | StepResult::Lost(why) if self.end == End::Redirected => {
                // It is the file that was decided on, so it stays.
                self.fail(why, FileAfter::Unknown, now);
                return;
            }
            StepResult::Failed(why) | StepResult::Lost(why) => self.not_restored(&why),
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
                    file: FileAfter::Restored,
                };
                let mut way_back = vec![Step::RestoreFile, Step::Reload, Step::ReadBackPrevious];
                way_back.extend(self.owed_resumes());
                way_back.push(Step::Settle);
                self.steps = way_back.into();
            }
            StepResult::Failed(why)
            | StepResult::Lost(why)
            | StepResult::Superseded(why)
            | StepResult::NotYet(why) => self.fail(why, FileAfter::Unknown, now),
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Hastened { .. } => {}
        }
    }

    fn hastened(&mut self, result: StepResult, now: Instant) {
        match result {
            StepResult::Hastened { before } => {
                self.owed = Some(self.owed_at(before, self.reloaded.unwrap_or(now)));
            }
            StepResult::Failed(why) | StepResult::Lost(why) => self.warnings.push(why),
            StepResult::Done(_)
            | StepResult::Passed(_)
            | StepResult::NotYet(_)
            | StepResult::Superseded(_)
            | StepResult::Rejected(_) => {}
        }
    }

    fn after_resume(&mut self, database: String, result: StepResult, now: Instant) {
        let (StepResult::Failed(why) | StepResult::Lost(why)) = result else {
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
            | StepResult::Lost(why)
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
        if let StepResult::Rejected(why) | StepResult::Failed(why) | StepResult::Lost(why) = result
        {
            self.not_restored(&why);
        }
    }

    fn not_restored(&mut self, why: &str) {
        if let End::Failed { file, .. } = &mut self.end {
            *file = FileAfter::NotRestored;
        }
        self.warnings.push(why.to_owned());
    }

    fn fail(&mut self, reason: String, file: FileAfter, now: Instant) {
        self.turn_back(End::Failed { reason, file }, now);
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
