//! The task of one PgBouncer: does what its worker ([`crate::core::worker`]) says, and tells what
//! came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backoff::backoff::Backoff as _;
use tokio::sync::{mpsc, watch};

use super::edits::Edits;
use super::executor::{self, Disabled, Execution, Stamped};
use super::links::{LinkError, Links};
use super::planning::Planner;
use crate::config::{NodeId, PgBouncer};
use crate::core::debt::Debt;
use crate::core::outcome::{End, FileAfter, Outcome};
use crate::core::plan::Decision;
use crate::core::sequence::Owed;
use crate::core::worker::{Assignment, Do, Status, Worker, note_edited};
use crate::edge::remote::Turns;

mod early;
mod staging;
mod words;

/// The first wait after a failed connection; doubled up to [`CONNECT_WAIT_MAX`].
const CONNECT_WAIT: Duration = Duration::from_millis(200);
/// A host that is back is found within this time.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(3);

/// `pg_postmaster_start_time()` of each node, as the monitors saw it last.
pub type Identities = BTreeMap<NodeId, String>;

/// What a worker's task needs.
#[derive(Debug)]
pub struct PoolerTask {
    /// Which PgBouncer.
    pub pgbouncer: PgBouncer,
    /// Makes its plans.
    pub planner: Planner,
    /// Whether its host has a vote, for which it speaks.
    pub votes: bool,
    /// A directory for its sockets alone.
    pub sockets: PathBuf,
    /// When it may connect to its host, which others may be on as well.
    pub turns: Turns,
    /// What is to be reached.
    pub assignments: watch::Receiver<Assignment>,
    /// How nodes are told apart.
    pub identities: watch::Receiver<Identities>,
    /// Whom to tell.
    pub statuses: mpsc::Sender<(String, Status)>,
}

struct Running {
    task: PoolerTask,
    worker: Worker,
    links: Option<Links>,
    backoff: backoff::ExponentialBackoff,
    /// Whether the log knows that it is reached.
    told_reached: bool,
    /// Whether the log knows that it is away.
    told_away: bool,
    /// Whether the log knows that nothing on the host would end a pause.
    told_no_switch: bool,
    told: Status,
    /// What others did to the file.
    edits: Edits,
}

impl PoolerTask {
    /// Runs until stopped by its assignment.
    pub async fn run(self) {
        let backoff = backoff::ExponentialBackoffBuilder::new()
            .with_initial_interval(CONNECT_WAIT)
            .with_max_interval(CONNECT_WAIT_MAX)
            .with_multiplier(2.0)
            .with_max_elapsed_time(None)
            .build();
        let mut worker = Worker::new(self.planner.routing().clone(), Instant::now())
            .without_node(self.pgbouncer.without_node)
            .with_ledger(self.votes);
        worker.assign(self.assignments.borrow().clone(), Instant::now());
        let mut running = Running {
            task: self,
            worker,
            links: None,
            backoff,
            told_reached: false,
            told_away: false,
            told_no_switch: false,
            told: Status::default(),
            edits: Edits::default(),
        };
        while running.step().await {
            running.tell().await;
        }
        if let Some(links) = running.links.take() {
            links.host.close().await;
        }
    }
}

impl Running {
    /// One thing; `false`: ended.
    async fn step(&mut self) -> bool {
        match self.worker.next(Instant::now()) {
            Do::Connect => self.connect().await,
            Do::Look { file } => self.look(file).await,
            Do::Redirect {
                decision,
                moves,
                confirm,
            } => {
                self.redirect(decision, moves, confirm).await;
            }
            Do::Prepare { decision, moves } => self.prepare(&decision, &moves).await,
            Do::Resolve { token, debt } => self.resolve(&token, &debt).await,
            Do::PauseEarly {
                node,
                databases,
                limit,
            } => self.pause_early(node, databases, limit).await,
            Do::EndEarlyPause {
                token,
                databases,
                why,
            } => self.end_early_pause(&token, databases, why).await,
            Do::Pay(owed) => self.pay(&owed).await,
            Do::Stamp(decision) => self.stamp(&decision).await,
            Do::Disable => self.disable().await,
            Do::Wait(until) => {
                tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => {}
                    () = self.reassigned() => {}
                }
            }
            Do::End => return false,
        }
        if self.task.assignments.has_changed().unwrap_or(false) {
            self.take_assignment();
        }
        true
    }

    async fn reassigned(&mut self) {
        if self.task.assignments.changed().await.is_err() {
            // The coordinator is gone: as if it had said to stop.
            let stop = Assignment {
                stopping: true,
                ..Assignment::default()
            };
            self.worker.assign(stop, Instant::now());
            return;
        }
        self.take_assignment();
    }

    fn take_assignment(&mut self) {
        let assignment = self.task.assignments.borrow_and_update().clone();
        self.worker.assign(assignment, Instant::now());
    }

    async fn connect(&mut self) {
        // A connection that breaks while a session half exists must not leave the session behind.
        if let Some(links) = self.links.take() {
            links.host.close().await;
        }
        let task = &self.task;
        let open = Links::open(&task.pgbouncer, &task.sockets, &task.turns);
        let opened = tokio::select! {
            opened = open => opened,
            () = stopping(self.task.assignments.clone()) => return self.take_assignment(),
        };
        match opened {
            Ok(links) => {
                self.found_switch(&links);
                self.links = Some(links);
                self.worker.connected();
            }
            Err(error) => self.away(&error),
        }
    }

    async fn look(&mut self, file: bool) {
        let Some(links) = &self.links else { return };
        let depth = self.worker.depth(file);
        let looked = links.look(depth, self.worker.observation()).await;
        match looked {
            Ok(observation) => {
                self.backoff.reset();
                self.told_away = false;
                let (before, first) = (self.worker.status().clone(), !self.told_reached);
                self.worker.observed(observation, file, Instant::now());
                if first {
                    self.told_reached = true;
                    self.say_reached();
                }
                self.say_edited();
                self.say_differences(&before);
            }
            Err(error) => self.away(&error),
        }
    }

    fn say_edited(&mut self) {
        let file = self
            .worker
            .observation()
            .map(|observation| &observation.file);
        if let Some(what) = file.and_then(|file| self.edits.seen(file)) {
            tracing::warn!(
                pgbouncer = self.name(),
                "the file was edited by hand since repoint wrote it: {what}"
            );
        }
    }

    async fn redirect(
        &mut self,
        decision: Decision,
        moves: BTreeSet<String>,
        confirm: BTreeSet<String>,
    ) {
        let (Some(links), Some(observation)) = (&self.links, self.worker.observation()) else {
            return;
        };
        let version = links.consoles.iter().map(|console| console.version).min();
        let plan = self
            .task
            .planner
            .plan(&decision, &moves, confirm, observation, version);
        let scope = self.task.assignments.borrow().scope;
        let notes = scope
            .notes_foreign(self.worker.status(), &decision)
            .into_iter()
            .chain(note_edited(
                &observation.file,
                self.task.planner.edits(),
                self.edits.of(&observation.file),
            ))
            .chain(plan.iter().flat_map(|plan| plan.notes.clone()))
            .collect::<Vec<_>>();
        let (mut outcome, owed) = match plan {
            Ok(mut plan) => {
                plan.prepared = self.worker.has_staged(&plan.hash);
                plan.pause &= self.worker.may_pause();
                plan.by_ledger = self.worker.goes_by_ledger();
                plan.agreed = self.worker.agreed(&decision);
                let identity = self.task.identities.borrow().get(&decision.active).cloned();
                let begun = Instant::now();
                let bouncer = &self.task.pgbouncer;
                Execution::new(plan, links, bouncer, identity, begun)
                    .run()
                    .await
            }
            Err(error) => (not_planned(&decision, error.to_string()), None),
        };
        outcome.warnings.extend(notes);
        if outcome.serves() {
            tracing::info!(pgbouncer = self.name(), node = %decision.active, "{outcome}");
        } else {
            tracing::warn!(pgbouncer = self.name(), node = %decision.active, "{outcome}");
        }
        self.worker
            .redirected(outcome, owed, random(), Instant::now());
    }

    /// Its owner is gone.
    async fn resolve(&mut self, token: &str, debt: &Debt) {
        let Some(links) = &self.links else { return };
        match executor::clear(links, token, debt).await {
            Ok(cleared) => {
                if let Some(cleared) = &cleared {
                    self.say_cleared(token, cleared);
                }
                self.worker
                    .resolved(cleared.and_then(|cleared| cleared.owed));
            }
            Err(error) => self.away(&error),
        }
    }

    async fn pay(&mut self, owed: &Owed) {
        let Some(links) = &self.links else { return };
        match links.pay_own(owed).await {
            Ok(()) => self.worker.paid(),
            Err(error) => self.away(&error),
        }
    }

    /// No node is left.
    async fn disable(&mut self) {
        let Some(links) = &self.links else { return };
        let token = self.task.planner.token();
        let (pgbouncer, routing) = (&self.task.pgbouncer, self.worker.routing());
        match executor::disable(links, pgbouncer, routing, token).await {
            Ok(Disabled::Done(names)) => {
                if !names.is_empty() {
                    let names: Vec<String> = names.into_iter().collect();
                    tracing::warn!(
                        pgbouncer = self.name(),
                        disabled = names.join(","),
                        "no node is left: new clients get an error at once, until one is back"
                    );
                }
                self.worker.disabled(true, Instant::now());
            }
            Ok(Disabled::Later(why)) => {
                tracing::debug!(pgbouncer = self.name(), why, "not disabled for now");
                self.worker.disabled(false, Instant::now());
            }
            Err(error) => self.away(&error),
        }
    }

    /// It serves the node already.
    async fn stamp(&mut self, decision: &Decision) {
        let (Some(links), Some(observation)) = (&self.links, self.worker.observation()) else {
            return;
        };
        let (pgbouncer, writer) = (&self.task.pgbouncer, self.task.planner.writer());
        let (again, why) =
            match executor::stamp(links, pgbouncer, writer, decision, observation).await {
                Ok(Stamped::Done) => (false, None),
                Ok(Stamped::Not(why)) => (false, Some(why)),
                Ok(Stamped::Later(why)) => (true, Some(why)),
                Err(error) => {
                    self.worker.stamped(true, random(), Instant::now());
                    return self.away(&error);
                }
            };
        let again = self.worker.stamped(again, random(), Instant::now());
        match why {
            None => tracing::debug!(
                pgbouncer = self.name(),
                generation = %decision.generation,
                "left alone; the number of the decision is in its file"
            ),
            Some(why) if again => {
                tracing::debug!(pgbouncer = self.name(), why, "its file is written later");
            }
            Some(why) => tracing::warn!(
                pgbouncer = self.name(),
                generation = %decision.generation,
                "it serves node {} already, but its file does not get the number of the \
                 decision: {why}",
                decision.active
            ),
        }
    }

    fn away(&mut self, error: &LinkError) {
        let trouble = error.line();
        let wait = self.backoff.next_backoff().unwrap_or(CONNECT_WAIT_MAX);
        self.told_reached = false;
        if std::mem::replace(&mut self.told_away, true) {
            tracing::debug!(pgbouncer = self.name(), trouble, "PgBouncer is not reached");
        } else {
            tracing::warn!(
                pgbouncer = self.name(),
                trouble,
                "PgBouncer is not reached; trying again until it is"
            );
        }
        self.worker.disconnected(trouble, wait, Instant::now());
    }

    async fn tell(&mut self) {
        if *self.worker.status() != self.told {
            self.told = self.worker.status().clone();
            let message = (self.name().to_owned(), self.told.clone());
            // Nobody listens any more only when everything ends.
            let _ = self.task.statuses.send(message).await;
        }
    }

    fn name(&self) -> &str {
        &self.task.pgbouncer.name
    }
}

async fn stopping(mut assignments: watch::Receiver<Assignment>) {
    let _ = assignments.wait_for(|assignment| assignment.stopping).await;
}

fn not_planned(decision: &Decision, reason: String) -> Outcome {
    Outcome {
        generation: decision.generation,
        active: decision.active,
        end: End::Failed {
            reason,
            file: FileAfter::Unchanged,
        },
        warnings: Vec::new(),
        left_paused: Vec::new(),
        took: Duration::ZERO,
        entries: BTreeMap::new(),
    }
}

/// 0 up to 1, to spread retries; nothing depends on its quality.
fn random() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let hash = std::hash::RandomState::new().build_hasher().finish();
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}
