//! Walks through a [`Plan`], step by step, and takes the way back when one fails.
//!
//! Decides which step comes next from what the last one gave, and when to stop waiting. What was
//! begun is always ended: every pause has its RESUME on every path. Carrying a step out is
//! `agent::executor`'s; it makes no choices.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::core::debt::Settings;
use crate::core::outcome::{End, FileAfter, Outcome};
use crate::core::plan::{Plan, Step, Way};
use pause::Hold;

mod confirming;
mod eviction;
pub mod pause;
mod planned;
mod settings;
#[cfg(test)]
mod tests;

pub use eviction::Evicted;
use eviction::Evicting;
pub use settings::{Clearing, Lost, Owed, before_reload, is_hasty, lost, reset};

/// A RESUME that could not be sent is tried again on a new connection.
const RESUME_TRIES: u32 = 3;
const RESUME_INTERVAL: Duration = Duration::from_millis(100);

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
    /// ReadBack: all entries are as meant, but settings were reset, as by a file that was rejected
    /// further on.
    Reset(String),
    /// Evict, Freed: how far it came.
    Evicted(Evicted),
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

/// A plan being carried out.
#[derive(Debug)]
pub struct Sequence {
    plan: Plan,
    steps: VecDeque<Step>,
    begun: Instant,
    not_before: Instant,
    reloaded: Option<Instant>,
    /// What PgBouncer said of the last RELOAD, if it did not like it.
    doubts: Option<String>,
    confirming_since: Option<Instant>,
    /// Since when a step of a planned move has been waited for.
    waiting_since: Option<Instant>,
    resume_tries: u32,
    paused: BTreeSet<String>,
    /// What each process had in force just before.
    before: Vec<Settings>,
    /// Some process had been through a RELOAD of an operation before this one, which is not paid.
    undone_before: bool,
    /// When the step in front began.
    step_begun: Instant,
    /// A pause that is on record, or may hold.
    hold: Option<Hold>,
    owed: Option<Owed>,
    /// The settings that the new file has reset, until the previous one has shown whether it is
    /// better.
    suspected: bool,
    /// It is not: what is wrong is not what was changed.
    acquitted: bool,
    evicting: Evicting,
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
            step_begun: now,
            // An operation before this one has begun it.
            hold: (!plan.also_resume.is_empty()).then(|| Hold::new(now, plan.pause_limit)),
            plan,
            begun: now,
            not_before: now,
            reloaded: None,
            doubts: None,
            confirming_since: None,
            waiting_since: None,
            resume_tries: 0,
            paused: BTreeSet::new(),
            before: Vec::new(),
            undone_before: false,
            owed: None,
            suspected: false,
            acquitted: false,
            evicting: Evicting::default(),
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
        self.carried_out(result, now);
        self.step_begun = now;
        self.keep_to_the_limit(now);
    }

    fn carried_out(&mut self, result: StepResult, now: Instant) {
        let Some(step) = self.steps.pop_front() else {
            return;
        };
        match step {
            Step::Stage => self.staged(result, now),
            Step::Record => {
                self.recorded(now);
                self.staged(result, now);
            }
            Step::Pause { database, .. } if matches!(self.plan.way, Way::Pause { .. }) => {
                self.after_planned_pause(database, result, now);
            }
            Step::Pause { database, .. } => self.after_pause(database, result),
            Step::Activate => self.after_activate(result, now),
            Step::Reload => self.after_reload(result, now),
            Step::ReadBack => self.after_read_back(result, now),
            Step::Hasten => self.after_set(result),
            Step::PutBack => self.after_put_back(result),
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
            Step::Renew => self.after_renew(result),
            Step::Evict(eviction) => self.after_evict(eviction, result, now),
            Step::Freed => self.after_freed(result, now),
            Step::EndEviction => self.after_end_eviction(result),
            Step::Calm { limit } => self.after_calm(limit, result, now),
            Step::Emptied | Step::Replayed { .. } => {
                self.after_hold(step, result, now);
            }
            Step::Drain { limit } => self.after_drain(limit, result, now),
            Step::NameLeft => self.after_name_left(result, now),
            Step::KeepSessions => self.after_keep_sessions(result),
            Step::Enable { database } => self.after_enable(&database, result),
            Step::CloseSessions | Step::RecordDebt | Step::Settle => {
                if let StepResult::Failed(why) | StepResult::Lost(why) = result {
                    self.warnings.push(why);
                }
            }
        }
    }

    /// What became of it, and what is owed later; after [`Next::End`].
    #[must_use]
    pub fn finish(mut self, now: Instant) -> (Outcome, Option<Owed>) {
        let took = match self.end {
            End::Redirected => self.served_after,
            End::Skipped(_)
            | End::Superseded(_)
            | End::Failed { .. }
            | End::Unconfirmed(_)
            | End::NotDrained(_) => now.saturating_duration_since(self.begun),
        };
        self.warnings.extend(self.note_eviction());
        let outcome = Outcome {
            generation: self.plan.decision.generation,
            active: self.plan.decision.active,
            end: self.end,
            warnings: self.warnings.into_iter().chain(self.doubts).collect(),
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
            StepResult::Done(_)
            | StepResult::Passed(_)
            | StepResult::Reset(_)
            | StepResult::Evicted(_) => {}
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
            // What was staged ahead of time went with the end of somebody's operation.
            StepResult::NotYet(_) if self.plan.prepared => {
                self.plan.prepared = false;
                self.steps.push_front(Step::Activate);
                self.steps.push_front(Step::Stage);
            }
            StepResult::Failed(why) | StepResult::Rejected(why) | StepResult::NotYet(why) => {
                self.fail(why, FileAfter::Unchanged, now);
            }
            StepResult::Lost(why) => self.fail(why, FileAfter::Unknown, now),
            StepResult::Done(_)
            | StepResult::Passed(_)
            | StepResult::Reset(_)
            | StepResult::Evicted(_) => {}
        }
    }

    fn after_reload(&mut self, result: StepResult, now: Instant) {
        self.reloaded = Some(now);
        self.doubts = None;
        if self.end == End::Redirected {
            self.owe_login_retry(now);
        }
        match result {
            // From 1.25 on RELOAD says that something was wrong, but not what, nor in which file:
            // the state decides.
            StepResult::Passed(why) => self.doubts = Some(why),
            StepResult::Failed(why) | StepResult::Lost(why) if self.end == End::Redirected => {
                // It is the file that was decided on, so it stays.
                self.fail(why, FileAfter::Unknown, now);
            }
            StepResult::Failed(why) | StepResult::Lost(why) => self.not_restored(&why),
            StepResult::Done(_)
            | StepResult::NotYet(_)
            | StepResult::Superseded(_)
            | StepResult::Rejected(_)
            | StepResult::Reset(_)
            | StepResult::Evicted(_) => {}
        }
    }

    fn after_read_back(&mut self, result: StepResult, now: Instant) {
        match result {
            StepResult::Rejected(why) => self.take_back(why),
            // Which of both files is wrong is told by the previous one.
            StepResult::Reset(why) if !self.acquitted => {
                self.suspected = true;
                self.take_back(why);
            }
            StepResult::Reset(why) => self.warnings.push(format!(
                "{why}; it was no better with the previous file: its other files are wrong"
            )),
            StepResult::Failed(why)
            | StepResult::Lost(why)
            | StepResult::Superseded(why)
            | StepResult::NotYet(why) => self.fail(why, FileAfter::Unknown, now),
            StepResult::Done(_) | StepResult::Passed(_) | StepResult::Evicted(_) => {}
        }
    }

    /// The previous file goes back.
    fn take_back(&mut self, reason: String) {
        self.end = End::Failed {
            reason,
            file: FileAfter::Restored,
        };
        // RELOAD undoes it, and the pools that it is for are those of the new node.
        self.owed = None;
        let mut way_back = vec![Step::RestoreFile, Step::Reload, Step::ReadBackPrevious];
        way_back.extend(self.owed_enables());
        way_back.extend(self.owed_resumes());
        way_back.extend([Step::PutBack, Step::Settle]);
        self.steps = way_back.into();
    }

    fn after_set(&mut self, result: StepResult) {
        if let StepResult::Failed(why) | StepResult::Lost(why) = result {
            self.warnings.push(why);
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
        self.leave_on_record();
    }

    /// The record stays on the host: it tells whoever looks next what is owed. It is nobody's own,
    /// so that it is paid as soon as its time is over.
    fn leave_on_record(&mut self) {
        self.owed = None;
        self.steps
            .retain(|step| !matches!(step, Step::RecordDebt | Step::Settle));
    }

    /// An entry that stays disabled must stay on record.
    fn after_enable(&mut self, database: &str, result: StepResult) {
        if let StepResult::Failed(why) | StepResult::Lost(why) = result {
            self.warnings
                .push(format!("`{database}` is still disabled: {why}"));
            self.leave_on_record();
        }
    }

    fn read_back_previous(&mut self, result: StepResult) {
        match result {
            StepResult::Rejected(why) | StepResult::Failed(why) | StepResult::Lost(why) => {
                self.not_restored(&why);
            }
            StepResult::Reset(_) if self.suspected => self.go_on_again(),
            StepResult::Reset(why) => self.warnings.push(format!(
                "{why}, with the previous file too: its other files are wrong"
            )),
            StepResult::Done(_)
            | StepResult::Passed(_)
            | StepResult::NotYet(_)
            | StepResult::Superseded(_)
            | StepResult::Evicted(_) => {}
        }
    }

    /// The previous file fares no better, so what is wrong is not what was changed: clients go to
    /// the live node, and what was reset is set again.
    fn go_on_again(&mut self) {
        self.suspected = false;
        self.acquitted = true;
        self.end = End::Redirected;
        let done = |step: &Step| matches!(step, Step::Stage | Step::Record | Step::Pause { .. });
        let steps = self.plan.steps().into_iter().filter(|step| !done(step));
        self.steps = std::iter::once(Step::Stage).chain(steps).collect();
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
        let mut steps = self.owed_enables();
        steps.extend(self.owed_resumes());
        // The owner of an operation that is replaced may have had PgBouncer reloaded since its
        // settings were read here; it cannot put that on record any more.
        let others = self.undone_before || self.plan.replaces.is_some();
        if self.reloaded.is_none() && others {
            self.owe_login_retry(now);
        }
        if self.reloaded.is_some() || others {
            steps.push(Step::PutBack);
        }
        steps.push(match self.owed {
            Some(_) => Step::RecordDebt,
            None => Step::Settle,
        });
        self.steps = steps.into();
    }

    /// What was disabled is enabled whatever happens: there is a node again.
    fn owed_enables(&self) -> Vec<Step> {
        let enable = |database: &String| Step::Enable {
            database: database.clone(),
        };
        self.plan.enable.iter().map(enable).collect()
    }

    fn owed_resumes(&self) -> Vec<Step> {
        let owed = |step: &Step| match step {
            Step::Resume { database } => {
                self.paused.contains(database) || self.plan.also_resume.contains(database)
            }
            Step::Stage
            | Step::Record
            | Step::Renew
            | Step::Pause { .. }
            | Step::Activate
            | Step::Reload
            | Step::ReadBack
            | Step::Hasten
            | Step::Enable { .. }
            | Step::Evict(_)
            | Step::Freed
            | Step::EndEviction
            | Step::PutBack
            | Step::Confirm { .. }
            | Step::RecordDebt
            | Step::RestoreFile
            | Step::ReadBackPrevious
            | Step::Settle
            | Step::Calm { .. }
            | Step::Emptied
            | Step::Replayed { .. }
            | Step::CloseSessions
            | Step::Drain { .. }
            | Step::NameLeft
            | Step::KeepSessions => false,
        };
        self.plan.resumes().into_iter().filter(owed).collect()
    }
}
