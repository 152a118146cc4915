//! A stand-in for `agent::pooler`, with the real worker: it does what that says, and carries out
//! plans as `agent::executor` does, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use repoint::config::NodeId;
use repoint::core::debt::Debt;
use repoint::core::outcome::{End, Outcome};
use repoint::core::plan::{Decision, Plan, Way};
use repoint::core::pooler::{LOGIN_RETRY, Observation};
use repoint::core::sequence::{Clearing, Next, Owed, Sequence, is_hasty, pause};
use repoint::core::worker::{Do, HASTY, Worker, may_be_left_paused};

use super::call::{File, Op, Refusal, Reply};
use super::execution::Execution;
use super::pgbouncer::ENTRY;
use super::ways::Ways;

/// How long after its due time a debt is still its owner's to pay (`agent::links`).
const LEASE_SLACK: Duration = Duration::from_secs(5);
/// As in `agent::executor::clear`.
const CLEAR_LEASE: Duration = Duration::from_secs(3);
/// Between attempts to connect; doubled in the real one.
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// Nobody answers.
pub(crate) struct Away;

pub(crate) struct Task {
    ways: Ways,
    worker: Worker,
    own: NodeId,
    /// Names its operations, together with a count.
    token: String,
    operations: u64,
    pauses: bool,
}

impl Task {
    pub(crate) fn new(
        ways: Ways,
        worker: Worker,
        own: NodeId,
        life: u64,
        name: usize,
        pauses: bool,
    ) -> Self {
        Self {
            ways,
            worker,
            own,
            token: format!("{own}-{life}-{name}"),
            operations: 0,
            pauses,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.take_assignment();
            let done = self.step().await;
            if done.is_err() {
                let now = self.ways.now();
                self.worker
                    .disconnected("no answer".to_owned(), CONNECT_WAIT, now);
            }
            self.ways.0.borrow_mut().status = Some(self.worker.status().clone());
        }
    }

    fn take_assignment(&mut self) {
        let assignment = self.ways.0.borrow_mut().assignment.take();
        if let Some(assignment) = assignment {
            self.worker.assign(assignment, self.ways.now());
        }
    }

    async fn step(&mut self) -> Result<(), Away> {
        match self.worker.next(self.ways.now()) {
            Do::Connect => match self.ways.connect().await {
                Reply::Lost => return Err(Away),
                _ => self.worker.connected(),
            },
            Do::Look { file } => self.look(file).await?,
            Do::Redirect {
                decision,
                moves,
                confirm,
            } => self.redirect(decision, &moves, confirm).await,
            Do::Prepare { decision, moves } => self.prepare(&decision, &moves).await?,
            Do::Resolve { token, debt } => {
                let owed = self.clear(&token, &debt).await?;
                self.worker.resolved(owed);
            }
            Do::Pay(owed) => {
                self.pay(&owed).await?;
                self.worker.paid();
            }
            Do::Stamp(decision) => self.stamp(&decision).await?,
            Do::Wait(until) => self.ways.idle_until(until).await,
            Do::PauseEarly { .. } | Do::EndEarlyPause { .. } | Do::Disable | Do::End => {
                unreachable!("it is not configured")
            }
        }
        Ok(())
    }

    async fn look(&mut self, file: bool) -> Result<(), Away> {
        let Reply::Processes(process) = self.ways.ask(Op::Processes).await else {
            return Err(Away);
        };
        let known = self.worker.observation().map(|it| it.file.clone());
        let whole = file || known.is_none();
        let file_state = match known.filter(|_| !file) {
            Some(known) => known,
            None => match self.ways.ask(Op::Inspect).await {
                Reply::Inspected(state, _) => *state,
                _ => return Err(Away),
            },
        };
        let observation = Observation {
            processes: vec![*process],
            file: file_state,
        };
        self.worker.observed(observation, whole, self.ways.now());
        Ok(())
    }

    fn plan(
        &mut self,
        decision: &Decision,
        moves: &BTreeSet<String>,
        confirm: BTreeSet<String>,
    ) -> Option<Plan> {
        let observation = self.worker.observation()?;
        let routing = self.worker.routing();
        let address = routing.address(ENTRY, decision.active)?.clone();
        let to = BTreeMap::from([(ENTRY.to_owned(), address)]);
        let also_resume = may_be_left_paused(observation, routing);
        let paused = observation.paused(routing);
        let operation = observation.file.operation.as_ref();
        let rows = observation.processes.iter().flat_map(|one| &one.entries);
        let file = File::new(decision.generation, decision.active, self.own);
        self.operations += 1;
        Some(Plan {
            token: format!("{}-{}", self.token, self.operations),
            writer: self.own,
            decision: decision.clone(),
            moves: match moves.is_empty() {
                true => BTreeMap::new(),
                false => to.clone(),
            },
            confirm,
            expected: to,
            previous: rows
                .map(|(name, state)| (name.clone(), (state.host.clone(), state.port)))
                .collect(),
            content: Vec::new(),
            hash: file.hash(),
            hash_read: observation.file.hash.clone(),
            notes: Vec::new(),
            kept_paused: paused.difference(&also_resume).cloned().collect(),
            also_resume,
            inherited: operation.map(|it| it.debt.clone()).unwrap_or_default(),
            replaces: operation.map(|it| it.token.clone()),
            by_ledger: self.worker.goes_by_ledger(),
            agreed: self.worker.agreed(decision),
            prepared: self.worker.has_staged(&file.hash()),
            evict: None,
            enable: BTreeSet::new(),
            pause: self.pauses && self.worker.may_pause(),
            way: Way::Failed,
            pause_limit: pause::limit(true),
        })
    }

    async fn redirect(
        &mut self,
        decision: Decision,
        moves: &BTreeSet<String>,
        confirm: BTreeSet<String>,
    ) {
        let Some(plan) = self.plan(&decision, moves, confirm) else {
            return;
        };
        self.ways.count("redirects");
        let (outcome, owed) = self.carry_out(plan).await;
        self.ways.count(ended(&outcome));
        let (random, now) = (self.ways.fraction(), self.ways.now());
        self.worker.redirected(outcome, owed, random, now);
    }

    async fn carry_out(&self, plan: Plan) -> (Outcome, Option<Owed>) {
        let sequence = Sequence::new(plan, self.ways.now());
        let mut execution = Execution::new(&self.ways, sequence);
        execution.remember().await;
        loop {
            match execution.sequence.next(self.ways.now()) {
                Next::Do(step) => {
                    let result = execution.step(&step).await;
                    execution.sequence.handle(result, self.ways.now());
                }
                Next::Wait(until) => self.ways.sleep_until(until).await,
                Next::End => return execution.sequence.finish(self.ways.now()),
            }
        }
    }

    async fn prepare(
        &mut self,
        decision: &Decision,
        _moves: &BTreeSet<String>,
    ) -> Result<(), Away> {
        let file = File::new(decision.generation, decision.active, self.own);
        match self.ways.ask(Op::Stage(file)).await {
            Reply::Lost => return Err(Away),
            Reply::Refused(_) => drop(self.worker.not_staged(self.ways.now())),
            _ => drop(self.worker.staged(decision, file.hash())),
        }
        Ok(())
    }

    /// As `agent::executor::clear`.
    async fn clear(&self, token: &str, debt: &Debt) -> Result<Option<Owed>, Away> {
        let Reply::Processes(found) = self.ways.ask(Op::Processes).await else {
            return Err(Away);
        };
        let Reply::Inspected(state, _) = self.ways.ask(Op::Inspect).await else {
            return Err(Away);
        };
        let known = state.operation.filter(|it| it.token == token && it.expired);
        let Some(operation) = known else {
            return Ok(None);
        };
        let found = vec![found.settings];
        let clearing = Clearing::new(token, &operation.debt, found, self.ways.now());
        let exchange = Op::Exchange {
            token: token.to_owned(),
            lease: CLEAR_LEASE,
            debt: clearing.on_record.clone(),
            expected: token.to_owned(),
        };
        match self.ways.ask(exchange).await {
            Reply::Done => {}
            Reply::Refused(Refusal::Occupied) => return Ok(None),
            Reply::Refused(Refusal::NotWritable) => {
                let pauses = Debt {
                    paused: debt.paused.clone(),
                    ..Debt::default()
                };
                self.undo(&pauses).await?;
                return Err(Away);
            }
            _ => return Err(Away),
        }
        self.ways.count("an agent paid what a dead one owed");
        self.undo(&clearing.now).await?;
        let last = match &clearing.owed {
            Some(owed) => update(owed, self.ways.now()),
            None => Op::Settle {
                token: token.to_owned(),
            },
        };
        match self.ways.ask(last).await {
            Reply::Done => Ok(clearing.owed),
            _ => Err(Away),
        }
    }

    /// As `agent::links::undo`.
    async fn undo(&self, debt: &Debt) -> Result<(), Away> {
        let Reply::Processes(state) = self.ways.ask(Op::Processes).await else {
            return Err(Away);
        };
        let paused = state.entries.values().any(|entry| entry.paused);
        if !debt.paused.is_empty() && paused && !matches!(self.resume().await, Reply::Done) {
            return Err(Away);
        }
        if !is_hasty(&state.settings) {
            return Ok(());
        }
        for lost in repoint::core::sequence::lost(&debt.settings_of(0), &state.settings, None) {
            if let Reply::Lost = self.ways.ask(Op::Set(lost.key, lost.was)).await {
                return Err(Away);
            }
        }
        Ok(())
    }

    async fn resume(&self) -> Reply {
        self.ways.ask(Op::Resume).await
    }

    /// As `agent::links::pay_own`.
    async fn pay(&self, owed: &Owed) -> Result<(), Away> {
        let Reply::Inspected(state, _) = self.ways.ask(Op::Inspect).await else {
            return Err(Away);
        };
        if state.operation.is_some_and(|it| it.token != owed.token) {
            return Ok(());
        }
        let Reply::Processes(state) = self.ways.ask(Op::Processes).await else {
            return Err(Away);
        };
        if let Some(value) = owed.values.first().filter(|_| is_hasty(&state.settings)) {
            let set = Op::Set(LOGIN_RETRY.to_owned(), value.clone());
            if let Reply::Lost = self.ways.ask(set).await {
                return Err(Away);
            }
        }
        let token = owed.token.clone();
        match self.ways.ask(Op::Settle { token }).await {
            Reply::Done => Ok(()),
            _ => Err(Away),
        }
    }

    /// As `agent::executor::stamp`.
    async fn stamp(&mut self, decision: &Decision) -> Result<(), Away> {
        let Reply::Inspected(state, _) = self.ways.ask(Op::Inspect).await else {
            self.worker
                .stamped(true, self.ways.fraction(), self.ways.now());
            return Err(Away);
        };
        let ours = state.untouched == Some(true) && state.active == Some(decision.active);
        let file = File::new(decision.generation, decision.active, self.own);
        let read = state.hash;
        let again = match state.generation >= decision.generation || !ours {
            true => false,
            false => !matches!(
                self.ways.ask(Op::Stamp { read, file }).await,
                Reply::Done | Reply::Refused(Refusal::Superseded)
            ),
        };
        self.worker
            .stamped(again, self.ways.fraction(), self.ways.now());
        Ok(())
    }
}

/// As `agent::links::record_owed`.
pub(crate) fn update(owed: &Owed, now: std::time::Instant) -> Op {
    Op::Update {
        token: owed.token.clone(),
        lease: Duration::from_secs(owed.due.saturating_duration_since(now).as_secs()) + LEASE_SLACK,
        debt: owed.debt(),
    }
}

/// What makes PgBouncer try again at once.
pub(crate) fn hasten() -> Op {
    Op::Set(LOGIN_RETRY.to_owned(), HASTY.to_owned())
}

fn ended(outcome: &Outcome) -> &'static str {
    match outcome.end {
        End::Redirected => "redirect: done",
        End::Skipped(_) => "redirect: nothing to do",
        End::Superseded(_) => "redirect: superseded",
        End::Failed { .. } => "redirect: failed",
        End::Unconfirmed(_) => "redirect: unconfirmed",
        End::NotDrained(_) => "redirect: not drained",
    }
}
