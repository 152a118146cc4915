//! Carries out the steps of a plan on real hosts and consoles. Makes no choices.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout_at;

use super::links::{Links, record_owed};
use crate::config::PgBouncer;
use crate::core::debt::{Debt, Settings};
use crate::core::outcome::Outcome;
use crate::core::plan::{EVICTING, Plan, Step};
use crate::core::sequence::{Next, Owed, Sequence, StepResult, pause};
use crate::edge::admin_console::{Console, ConsoleError};
use crate::edge::chain;
use crate::edge::remote::{Activation, RemoteError, Switch};

mod clear;
mod confirm;
mod disable;
mod drain;
mod evict;
mod read_back;
mod settings;
mod stamp;

pub use clear::{Cleared, clear};
pub use disable::{Disabled, disable};
pub use drain::{Hooks, Progress, Replayed};
pub use stamp::{Stamped, stamp};

/// A sequence at work.
pub struct Execution<'a> {
    links: &'a Links,
    pgbouncer: &'a PgBouncer,
    /// What `pg_postmaster_start_time()` says on the active node.
    identity: Option<String>,
    hooks: Hooks,
    sequence: Sequence,
    /// What each process had in force when the entries were read back.
    loaded: Vec<Settings>,
}

/// What was done on every console, and is undone on every one.
#[derive(Debug, Clone, Copy)]
enum Undo<'a> {
    Resume(&'a str),
    Enable(&'a str),
    Eviction,
}

impl<'a> Execution<'a> {
    /// Prepares.
    #[must_use]
    pub fn new(
        mut plan: Plan,
        links: &'a Links,
        pgbouncer: &'a PgBouncer,
        identity: Option<String>,
        now: Instant,
    ) -> Self {
        plan.pause_limit = pause::limit(links.switch.is_there()) + plan.way.holds();
        Self {
            links,
            pgbouncer,
            identity,
            hooks: Hooks::default(),
            sequence: Sequence::new(plan, now),
            loaded: Vec::new(),
        }
    }

    /// Runs to the end. Must not be dropped half way: what it began would stay begun until its
    /// record on the host expires.
    pub async fn run(mut self) -> (Outcome, Option<Owed>) {
        self.remember().await;
        loop {
            match self.sequence.next(Instant::now()) {
                Next::Do(step) => {
                    let begun = Instant::now();
                    let result = match self.sequence.give_up_at() {
                        None => self.carry_out(&step).await,
                        Some(at) => timeout_at(at.into(), self.carry_out(&step))
                            .await
                            .unwrap_or_else(|_| pause::given_up(&step, self.plan().pause_limit)),
                    };
                    let took_ms = begun.elapsed().as_micros() as f64 / 1000.0;
                    tracing::debug!(
                        pgbouncer = self.pgbouncer.name,
                        ?step,
                        ?result,
                        took_ms,
                        "step"
                    );
                    self.sequence.handle(result, Instant::now());
                }
                Next::Wait(until) => tokio::time::sleep_until(until.into()).await,
                Next::End => return self.sequence.finish(Instant::now()),
            }
        }
    }

    async fn carry_out(&mut self, step: &Step) -> StepResult {
        match step {
            Step::Stage => self.stage().await,
            Step::Record => self.record().await,
            Step::Renew => self.renew().await,
            Step::Pause { database, limit } => self.pause(database, *limit).await,
            Step::Activate => self.activate().await,
            Step::Reload => self.reload().await,
            Step::ReadBack => self.read_back().await,
            Step::Hasten => self.hasten().await,
            Step::Enable { database } => self.undo(Undo::Enable(database)).await,
            Step::Resume { database } => self.undo(Undo::Resume(database)).await,
            Step::Evict(eviction) => self.evict(*eviction).await,
            Step::Freed => self.freed().await,
            Step::EndEviction => self.undo(Undo::Eviction).await,
            Step::PutBack => self.put_back().await,
            Step::Confirm { database } => self.confirm(database).await,
            Step::RecordDebt => self.record_debt().await,
            Step::RestoreFile => self.restore_file().await,
            Step::ReadBackPrevious => self.read_back_previous().await,
            Step::Settle => done(self.links.host.settle(&self.plan().token).await),
            Step::Calm { .. } => self.calm().await,
            Step::Emptied => self.emptied().await,
            Step::Replayed { limit } => self.replayed(*limit).await,
            Step::CloseSessions => self.close_sessions().await,
            Step::Drain { .. } => self.drained().await,
            Step::NameLeft => self.name_left().await,
            Step::KeepSessions => self.keep_sessions().await,
        }
    }

    fn plan(&self) -> &Plan {
        self.sequence.plan()
    }

    async fn stage(&self) -> StepResult {
        let plan = self.plan();
        let host = &self.links.host;
        done(
            host.stage(plan.writer, &plan.content, &plan.hash, &[])
                .await,
        )
    }

    async fn record(&self) -> StepResult {
        let debt = json(&self.sequence.debt());
        let host = &self.links.host;
        let plan = self.plan();
        let (lease, replaces) = (pause::lease(plan.pause_limit), plan.replaces.as_deref());
        let record = host.record(replaces, &plan.token, lease, &debt, &self.links.switch);
        done(record.await)
    }

    /// The switch of the record is set, and goes by what is on record.
    async fn renew(&self) -> StepResult {
        let (plan, debt) = (self.plan(), json(&self.sequence.debt()));
        let (lease, none) = (pause::lease(plan.pause_limit), Switch::default());
        let host = &self.links.host;
        done(host.record(None, &plan.token, lease, &debt, &none).await)
    }

    async fn pause(&self, database: &str, limit: Duration) -> StepResult {
        let pauses = self
            .links
            .consoles
            .iter()
            .map(|console| console.pause(database, limit));
        let mut result = StepResult::Done(String::new());
        for answer in join_all(pauses).await {
            match answer {
                Ok(true) => {}
                Ok(false) => {
                    result = StepResult::Passed("its answer was not waited for".to_owned())
                }
                Err(error) => return StepResult::Failed(chain(&error)),
            }
        }
        result
    }

    async fn activate(&self) -> StepResult {
        let plan = self.plan();
        let debt = json(&self.sequence.debt());
        let no_switch = Switch::default();
        let activation = Activation {
            token: &plan.token,
            writer: plan.writer,
            generation: plan.decision.generation,
            hash_read: &plan.hash_read,
            hash: &plan.hash,
            lease: self.sequence.lease(),
            debt: &debt,
            replaces: plan.replaces.as_deref(),
            by_ledger: plan.by_ledger,
            // Without a pause, what is owed can wait for an agent.
            switch: match plan.pauses().is_empty() {
                true => &no_switch,
                false => &self.links.switch,
            },
        };
        let host = &self.links.host;
        let activated = match (host.activate(&activation).await, &plan.agreed) {
            // The news has not come there yet.
            (Err(RemoteError::Undecided(_)), Some(record)) => match host.learn(record).await {
                Ok(_) => host.activate(&activation).await,
                Err(error) => Err(error),
            },
            (activated, _) => activated,
        };
        match activated {
            Err(RemoteError::NotStaged(why)) => StepResult::NotYet(why),
            otherwise => done(otherwise),
        }
    }

    /// On all consoles, whatever comes of one: a process that is gone must not keep the others from
    /// it. Gives the first error.
    async fn undo(&self, undo: Undo<'_>) -> StepResult {
        let consoles = self.links.consoles.iter().zip(&self.pgbouncer.consoles);
        let undone = consoles
            .enumerate()
            .map(|(index, (console, conninfo))| async move {
                match self.undo_at(undo, index, console).await {
                    // The session broke; what it did did not.
                    Err(ConsoleError::Lost { .. }) => {
                        let console = Console::open(conninfo, &self.links.host).await?;
                        self.undo_at(undo, index, &console).await
                    }
                    otherwise => otherwise,
                }
            });
        let results: Result<(), ConsoleError> = join_all(undone).await.into_iter().collect();
        match results {
            Ok(()) => StepResult::Done(String::new()),
            Err(error) => StepResult::Failed(chain(&error)),
        }
    }

    async fn undo_at(
        &self,
        undo: Undo<'_>,
        index: usize,
        console: &Console,
    ) -> Result<(), ConsoleError> {
        match (undo, self.sequence.before(index)) {
            (Undo::Resume(database), _) => console.resume(database).await,
            (Undo::Enable(database), _) => console.enable(database).await,
            (Undo::Eviction, Some(values)) => console.set_again(values, &EVICTING).await,
            (Undo::Eviction, None) => Ok(()),
        }
    }

    async fn record_debt(&self) -> StepResult {
        let (host, token) = (&self.links.host, &self.plan().token);
        match self.sequence.owed() {
            None => done(host.settle(token).await),
            Some(owed) => done(record_owed(host, owed).await),
        }
    }

    async fn restore_file(&self) -> StepResult {
        let plan = self.plan();
        done(
            self.links
                .host
                .rollback(&plan.token, plan.decision.generation, &plan.hash)
                .await,
        )
    }
}

fn done(result: Result<(), RemoteError>) -> StepResult {
    match result {
        Ok(()) => StepResult::Done(String::new()),
        Err(RemoteError::Superseded(by)) => StepResult::Superseded(by),
        Err(error @ RemoteError::Lost { .. }) => StepResult::Lost(chain(&error)),
        Err(error) => StepResult::Failed(chain(&error)),
    }
}

fn json(debt: &Debt) -> String {
    serde_json::to_string(debt).expect("a debt holds nothing but text")
}
