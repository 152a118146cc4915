//! A stand-in for `agent::executor`, with the real sequence: each step is one question or two.

use repoint::core::debt::Settings;
use repoint::core::plan::{Plan, Step};
use repoint::core::sequence::{Sequence, StepResult, is_hasty, lost, pause};

use super::call::{Activate, File, Op, Refusal, Reply};
use super::pgbouncer::ENTRY;
use super::task::{hasten, update};
use super::ways::Ways;

pub(crate) struct Execution<'a> {
    ways: &'a Ways,
    pub(crate) sequence: Sequence,
    loaded: Settings,
}

impl<'a> Execution<'a> {
    pub(crate) fn new(ways: &'a Ways, sequence: Sequence) -> Self {
        Self {
            ways,
            sequence,
            loaded: Settings::new(),
        }
    }

    pub(crate) async fn remember(&mut self) {
        if self.plan().moves.is_empty() {
            return;
        }
        match self.ways.ask(Op::Processes).await {
            Reply::Processes(found) => self.sequence.found(vec![found.settings]),
            reply => {
                let result = told(reply);
                self.sequence.handle(result, self.ways.now());
            }
        }
    }

    fn plan(&self) -> &Plan {
        self.sequence.plan()
    }

    /// One step, given up when clients would wait for too long.
    pub(crate) async fn step(&mut self, step: &Step) -> StepResult {
        let limit = self.sequence.give_up_at();
        let result = self.carry_out(step).await;
        match (&result, limit) {
            (StepResult::Lost(_), Some(limit)) if self.ways.now() >= limit => {
                pause::given_up(step, self.plan().pause_limit)
            }
            _ => result,
        }
    }

    async fn ask(&self, op: Op) -> Reply {
        match self.sequence.give_up_at() {
            Some(limit) => self.ways.ask_before(op, limit).await,
            None => self.ways.ask(op).await,
        }
    }

    async fn carry_out(&mut self, step: &Step) -> StepResult {
        let token = self.plan().token.clone();
        match step {
            Step::Stage => told(self.ask(Op::Stage(self.file())).await),
            Step::Record | Step::Renew => told(self.ask(self.record()).await),
            Step::Pause { limit, .. } => {
                self.ways.count("pauses");
                let limit = self.ways.now() + *limit;
                match self.ways.ask_before(Op::Pause, limit).await {
                    Reply::Done => StepResult::Done(String::new()),
                    Reply::Lost => StepResult::Passed("its answer was not waited for".to_owned()),
                    reply => told(reply),
                }
            }
            Step::Activate => self.activate().await,
            Step::Reload => told(self.ask(Op::Reload).await),
            Step::ReadBack => self.read_back(false).await,
            Step::ReadBackPrevious => self.read_back(true).await,
            Step::Hasten => match is_hasty(&self.loaded) {
                true => StepResult::Done(String::new()),
                false => told(self.ask(hasten()).await),
            },
            Step::Resume { .. } => self.resume().await,
            Step::PutBack => self.put_back().await,
            Step::Confirm { .. } => self.confirm().await,
            Step::RecordDebt => match self.sequence.owed() {
                None => told(self.ask(Op::Settle { token }).await),
                Some(owed) => told(self.ask(update(owed, self.ways.now())).await),
            },
            Step::Settle => told(self.ask(Op::Settle { token }).await),
            Step::RestoreFile => {
                self.ways.count("a rejected file was taken back");
                let rollback = Op::Rollback {
                    token,
                    generation: self.plan().decision.generation,
                    hash: self.plan().hash.clone(),
                };
                told(self.ask(rollback).await)
            }
            Step::Enable { .. }
            | Step::Evict(_)
            | Step::Freed
            | Step::EndEviction
            | Step::Calm { .. }
            | Step::Emptied
            | Step::Replayed { .. }
            | Step::CloseSessions
            | Step::Drain { .. }
            | Step::NameLeft
            | Step::KeepSessions => unreachable!("no such thing is planned here"),
        }
    }

    fn file(&self) -> File {
        let plan = self.plan();
        File::new(plan.decision.generation, plan.decision.active, plan.writer)
    }

    fn record(&self) -> Op {
        let plan = self.plan();
        Op::Record {
            replaces: plan.replaces.clone(),
            token: plan.token.clone(),
            lease: pause::lease(plan.pause_limit),
            debt: self.sequence.debt(),
        }
    }

    async fn activate(&self) -> StepResult {
        let plan = self.plan();
        let activate = Op::Activate(Activate {
            token: plan.token.clone(),
            generation: plan.decision.generation,
            active: plan.decision.active,
            read: plan.hash_read.clone(),
            hash: plan.hash.clone(),
            lease: self.sequence.lease(),
            debt: self.sequence.debt(),
            replaces: plan.replaces.clone(),
            by_ledger: plan.by_ledger,
        });
        let mut reply = self.ask(activate.clone()).await;
        if let (Reply::Refused(Refusal::Undecided), Some(record)) = (&reply, plan.agreed) {
            reply = match self.ask(Op::Learn(record)).await {
                Reply::Done => self.ask(activate).await,
                other => other,
            };
        }
        match reply {
            Reply::Refused(Refusal::NotStaged) => StepResult::NotYet("it is not staged".to_owned()),
            reply => told(reply),
        }
    }

    async fn read_back(&mut self, previous: bool) -> StepResult {
        let Reply::Processes(found) = self.ask(Op::Processes).await else {
            return StepResult::Failed("the console does not answer".to_owned());
        };
        let entry = found.entries.get(ENTRY);
        let host = entry.map(|entry| &entry.host);
        let meant = match previous {
            true => self.plan().previous.get(ENTRY).map(|(host, _)| host),
            false => self.plan().expected.get(ENTRY).map(|meant| &meant.host),
        };
        if host != meant {
            return StepResult::Rejected("it is not as meant".to_owned());
        }
        self.loaded = found.settings;
        StepResult::Done(String::new())
    }

    /// Its answer is no proof; and one whose session has broken is sent again through another.
    async fn resume(&self) -> StepResult {
        match self.ways.ask(Op::Resume).await {
            Reply::Lost => {
                if let Reply::Lost = self.ways.connect().await {
                    return told(Reply::Lost);
                }
                told(self.ways.ask(Op::Resume).await)
            }
            reply => told(reply),
        }
    }

    async fn put_back(&self) -> StepResult {
        let Some(before) = self.sequence.before(0) else {
            return StepResult::Done(String::new());
        };
        let Reply::Processes(found) = self.ask(Op::Processes).await else {
            return StepResult::Failed("the console does not answer".to_owned());
        };
        let lost = lost(before, &found.settings, self.sequence.owed());
        for lost in lost.into_iter().filter(|_| is_hasty(&found.settings)) {
            if let Reply::Lost = self.ask(Op::Set(lost.key, lost.was)).await {
                return StepResult::Failed("the console does not answer".to_owned());
            }
        }
        StepResult::Done(String::new())
    }

    async fn confirm(&self) -> StepResult {
        if self.plan().kept_paused.contains(ENTRY) {
            return StepResult::Passed("it stays paused".to_owned());
        }
        match self.ways.ask(Op::Query).await {
            Reply::Landed(node) if node == self.plan().decision.active => {
                StepResult::Done(String::new())
            }
            _ => StepResult::NotYet("no query lands there".to_owned()),
        }
    }
}

fn told(reply: Reply) -> StepResult {
    match reply {
        Reply::Done => StepResult::Done(String::new()),
        Reply::Refused(Refusal::Superseded) => StepResult::Superseded("a newer one".to_owned()),
        Reply::Lost => StepResult::Lost("no answer".to_owned()),
        Reply::Refused(why) => StepResult::Failed(format!("{why:?}")),
        Reply::Inspected(..) | Reply::Processes(_) | Reply::Landed(_) => {
            StepResult::Failed("another answer than was asked for".to_owned())
        }
    }
}
