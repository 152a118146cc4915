//! A stand-in for the host of a PgBouncer: its time, its disk, and what its script does. The ledger
//! is the model that real hosts are compared with (`tests/real/ledger.rs`); for the rest of the
//! script, `tests/real/host_model.rs` has both do the same.

use std::collections::BTreeMap;
use std::time::Duration;

use repoint::config::NodeId;
use repoint::core::agreement::{Ask, Move};
use repoint::core::debt::Debt;
use repoint::core::ledger::{Answer, HostTime, Memory, Reading, Until, Verdict, WitnessMemory};
use repoint::core::pooler::{FileState, LOGIN_RETRY, Operation};
use repoint::core::vote::{Sight, Sights, Vote, vote};
use repoint::generation::Generation;

use super::breakage::{self, Breakage};
use super::call::{Activate, File, Op, Refusal, Reply};
use super::clock::Clock;
use super::pgbouncer::{ENTRY, PgBouncer, host};
use super::{NODES, index};

/// As many agents as there may be.
pub(crate) const AGENTS_MAX: usize = 3;
/// PgBouncer's own.
const LOGIN_RETRY_LASTS: Duration = Duration::from_secs(17);

/// An operation on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnRecord {
    pub(crate) token: String,
    boot: u64,
    /// Whole seconds of uptime.
    pub(crate) expires: Duration,
    pub(crate) debt: Debt,
}

/// What survives when the power fails.
#[derive(Debug, Clone, Default)]
struct Disk {
    file: Option<File>,
    operation: Option<OnRecord>,
}

pub(crate) struct Host {
    pub(crate) memory: WitnessMemory,
    /// What it had on its disk some time ago.
    pub(crate) before: WitnessMemory,
    pub(crate) file: File,
    pub(crate) previous: Option<File>,
    /// What somebody else has put there last.
    operators: Option<File>,
    /// The last decision that an agent has put in place here.
    pub(crate) moved: Option<Generation>,
    /// And the operation that did.
    pub(crate) moved_by: String,
    staged: BTreeMap<String, File>,
    pub(crate) operation: Option<OnRecord>,
    synced: Disk,
    pub(crate) pgbouncer: PgBouncer,
    pub(crate) clock: Clock,
    /// What whoever sets the clock has added to it.
    pub(crate) set_forward: u64,
    boot: u64,
    booted: Duration,
    pub(crate) down_until: Duration,
    pub(crate) slow_until: Duration,
    /// Whether its disk is full.
    pub(crate) full: bool,
    pub(crate) reaches: [bool; 2],
    /// When it last reached each node in a look.
    pub(crate) reached_at: [Option<Duration>; 2],
    /// The last vote for a move that it has given.
    voted: Option<Sights>,
    saw: Option<Sights>,
    /// From which agents nothing gets there, and to which nothing gets back.
    pub(crate) deaf_to: [bool; AGENTS_MAX],
    pub(crate) mute_to: [bool; AGENTS_MAX],
}

impl Host {
    pub(crate) fn new(active: NodeId, clock: Clock) -> Self {
        let first = Generation {
            number: 1,
            node_id: NODES[0],
        };
        let file = File::new(first, active, NODES[0]);
        Self {
            memory: WitnessMemory::default(),
            before: WitnessMemory::default(),
            file,
            previous: None,
            operators: None,
            moved: None,
            moved_by: String::new(),
            staged: BTreeMap::new(),
            operation: None,
            synced: Disk {
                file: Some(file),
                operation: None,
            },
            pgbouncer: PgBouncer::new(active, 0),
            clock,
            set_forward: 1_800_000_000,
            boot: 0,
            booted: Duration::ZERO,
            down_until: Duration::ZERO,
            slow_until: Duration::ZERO,
            full: false,
            reaches: [true; 2],
            reached_at: [None; 2],
            voted: None,
            saw: None,
            deaf_to: [false; AGENTS_MAX],
            mute_to: [false; AGENTS_MAX],
        }
    }

    fn uptime(&self, now: Duration) -> Duration {
        self.clock.at(now) - self.clock.at(self.booted)
    }

    pub(crate) fn time(&self, now: Duration) -> HostTime {
        HostTime {
            boot: self.boot.to_string(),
            uptime: self.uptime(now),
            unix_seconds: self.set_forward + self.clock.at(now).as_secs(),
        }
    }

    /// When its uptime will be this.
    pub(crate) fn when(&self, uptime: Duration) -> Duration {
        self.clock.shows(uptime + self.clock.at(self.booted))
    }

    pub(crate) fn reading(&self, now: Duration) -> Reading {
        self.memory.read(&self.time(now))
    }

    /// The decision that its ledger knows to be made.
    pub(crate) fn decided(&self, now: Duration) -> Option<(Generation, NodeId)> {
        match self.reading(now).memory {
            Memory::Known(ledger) if ledger.decided => ledger
                .accepted
                .map(|record| (record.generation, record.active)),
            Memory::Known(_) | Memory::Blank => None,
        }
    }

    /// What its ledger has accepted.
    fn accepted(&self, now: Duration) -> Option<Generation> {
        match self.reading(now).memory {
            Memory::Known(ledger) => ledger.accepted.map(|record| record.generation),
            Memory::Blank => None,
        }
    }

    /// Whoever cuts the power: what was not waited for may be on the disk or not.
    pub(crate) fn lose_power(&mut self, now: Duration, lost: [bool; 2]) {
        let redirected = self.operation.is_some();
        if lost[0]
            && let Some(file) = self.synced.file
        {
            self.file = file;
        }
        if lost[1] {
            self.operation.clone_from(&self.synced.operation);
        }
        self.staged.clear();
        self.boot += 1;
        self.booted = now;
        self.restart_pgbouncer();
        if redirected {
            self.pgbouncer.wished = None;
        }
    }

    /// In the middle of a redirect, an operator's SET may come back although PgBouncer was started
    /// anew since: nothing is promised of it then.
    pub(crate) fn restart_pgbouncer(&mut self) {
        let redirected = self.operation.is_some();
        self.pgbouncer = PgBouncer::new(self.file.leads, self.pgbouncer.life + 1);
        if redirected {
            self.pgbouncer.wished = None;
        }
    }

    pub(crate) fn edit(&mut self, file: File) {
        self.file = file;
        self.operators = Some(file);
        self.synced.file = Some(file);
    }

    /// Whether the file is as somebody else has left it.
    pub(crate) fn has_operators_file(&self) -> bool {
        self.operators == Some(self.file)
    }

    pub(crate) fn is_expired(&self, on_record: &OnRecord, now: Duration) -> bool {
        on_record.boot != self.boot || whole(self.uptime(now)) >= on_record.expires
    }

    fn until(&self, now: Duration) -> Until {
        Until {
            boot: self.boot.to_string(),
            uptime: self.uptime(now),
        }
    }

    fn state(&self, now: Duration) -> FileState {
        let operation = self.operation.as_ref().map(|known| Operation {
            token: known.token.clone(),
            expired: self.is_expired(known, now),
            debt: known.debt.clone(),
        });
        FileState {
            generation: self.file.generation,
            active: Some(self.file.active),
            hash: self.file.hash(),
            untouched: Some(self.file.edit == 0),
            content: None,
            entries: Some([(ENTRY.to_owned(), (host(self.file.leads), 5432))].into()),
            operation,
        }
    }

    fn put_on_record(&mut self, token: &str, lease: Duration, debt: &Debt, now: Duration) {
        self.operation = Some(OnRecord {
            token: token.to_owned(),
            boot: self.boot,
            expires: whole(self.uptime(now)) + lease,
            debt: debt.clone(),
        });
    }

    fn is_ours(&self, token: &str) -> bool {
        let known = self.operation.as_ref();
        known.is_some_and(|known| known.token == token)
    }

    fn may_replace(&self, token: &str, read: Option<&String>) -> bool {
        match &self.operation {
            Some(known) => known.token == token || Some(&known.token) == read,
            None => true,
        }
    }

    fn sync(&mut self) {
        self.synced = Disk {
            file: Some(self.file),
            operation: self.operation.clone(),
        };
    }

    /// Does what its script does.
    pub(crate) fn carry_out(
        &mut self,
        op: &Op,
        until: Option<&Until>,
        broken: Option<Breakage>,
        now: Duration,
    ) -> Reply {
        let late = until.is_some_and(|until| {
            until.boot != self.boot.to_string() || self.uptime(now) >= until.uptime
        });
        if late && !matches!(op, Op::Connect | Op::Inspect) {
            return Reply::Refused(Refusal::TooLate);
        }
        let writes = !matches!(op, Op::Connect | Op::Inspect | Op::Settle { .. });
        if self.full && writes {
            return Reply::Refused(Refusal::NotWritable);
        }
        match op {
            Op::Inspect | Op::Connect => {
                Reply::Inspected(Box::new(self.state(now)), self.until(now))
            }
            Op::Stage(file) => {
                self.staged.insert(file.hash(), *file);
                Reply::Done
            }
            Op::Record {
                replaces,
                token,
                lease,
                debt,
            } => {
                if !self.may_replace(token, replaces.as_ref()) {
                    return Reply::Refused(Refusal::Occupied);
                }
                if broken != Some(Breakage::RecordNotWritten) {
                    self.put_on_record(token, *lease, debt, now);
                }
                Reply::Done
            }
            Op::Activate(activate) => self.activate(activate, broken, now),
            Op::Rollback {
                token: _,
                generation,
                hash,
            } => self.roll_back(*generation, hash, broken),
            Op::Update { token, lease, debt } => {
                self.staged.clear();
                if self.is_ours(token) {
                    self.put_on_record(token, *lease, debt, now);
                }
                self.sync();
                Reply::Done
            }
            Op::Settle { token } => {
                self.staged.clear();
                if self.is_ours(token) {
                    self.operation = None;
                }
                self.sync();
                Reply::Done
            }
            Op::Exchange {
                token,
                lease,
                debt,
                expected,
            } => {
                if !self.is_ours(expected) {
                    return Reply::Refused(Refusal::Occupied);
                }
                self.put_on_record(token, *lease, debt, now);
                Reply::Done
            }
            Op::Stamp { read, file } => self.stamp(read, file),
            Op::Learn(record) => match self.memory.learn(record, &far(until), &self.time(now)) {
                Answer {
                    verdict: Verdict::Done,
                    ..
                } => Reply::Done,
                _ => Reply::Refused(Refusal::Undecided),
            },
            Op::Processes | Op::Pause | Op::Resume | Op::Reload | Op::Set(..) | Op::Query => {
                unreachable!("these are the console's")
            }
        }
    }

    fn activate(&mut self, it: &Activate, broken: Option<Breakage>, now: Duration) -> Reply {
        let by_ledger = it.by_ledger && broken != Some(Breakage::HeaderBelieved);
        if by_ledger && self.accepted(now) != Some(it.generation) {
            return Reply::Refused(Refusal::Undecided);
        }
        if !by_ledger && self.file.generation > it.generation {
            return Reply::Refused(Refusal::Superseded);
        }
        if self.file.hash() != it.read {
            return Reply::Refused(Refusal::Changed);
        }
        let Some(staged) = self.staged.get(&it.hash).copied() else {
            return Reply::Refused(Refusal::NotStaged);
        };
        if !self.may_replace(&it.token, it.replaces.as_ref()) {
            return Reply::Refused(Refusal::Occupied);
        }
        if self.operation.is_some() && !self.is_ours(&it.token) {
            // Nor through two redirects that overlap.
            self.pgbouncer.wished = None;
        }
        self.put_on_record(&it.token, it.lease, &it.debt, now);
        self.staged.remove(&it.hash);
        self.previous = Some(self.file);
        self.file = staged;
        Reply::Done
    }

    fn roll_back(&mut self, generation: Generation, hash: &str, broken: Option<Breakage>) -> Reply {
        let checks = broken != Some(Breakage::RollbackOfAnothers);
        if checks && self.file.generation != generation {
            return Reply::Refused(Refusal::Superseded);
        }
        if checks && self.file.hash() != hash {
            return Reply::Refused(Refusal::Changed);
        }
        if let Some(previous) = self.previous {
            self.file = previous;
        }
        self.sync();
        Reply::Done
    }

    fn stamp(&mut self, read: &str, file: &File) -> Reply {
        if self.operation.is_some() {
            return Reply::Refused(Refusal::Occupied);
        }
        if self.file.generation > file.generation {
            return Reply::Refused(Refusal::Superseded);
        }
        if self.file.hash() != read {
            return Reply::Refused(Refusal::Changed);
        }
        self.file = *file;
        self.sync();
        Reply::Done
    }

    /// The dead-man's switch: what `token` owes when its time is over. Gives when it looks again.
    pub(crate) fn switch(&mut self, token: &str, now: Duration) -> Option<Duration> {
        let known = self
            .operation
            .clone()
            .filter(|known| known.token == token)?;
        if !self.is_expired(&known, now) {
            return Some(self.when(known.expires));
        }
        if !known.debt.paused.is_empty() {
            self.pgbouncer.paused = None;
            let mut debt = known.debt;
            debt.paused.clear();
            let again = self.uptime(now) + LOGIN_RETRY_LASTS;
            self.put_on_record(token, whole(again) - whole(self.uptime(now)), &debt, now);
            return Some(self.when(whole(again)));
        }
        if self.pgbouncer.login_retry == repoint::core::worker::HASTY {
            let settings = known.debt.settings_of(0);
            let (sign, others): (Vec<_>, Vec<_>) =
                settings.iter().partition(|(key, _)| *key == LOGIN_RETRY);
            for (key, value) in others.into_iter().chain(sign) {
                self.pgbouncer.set(key, value);
            }
        }
        self.operation = None;
        None
    }

    /// What its ledger does.
    pub(crate) fn remember(
        &mut self,
        ask: &Ask,
        broken: Option<Breakage>,
        now: Duration,
    ) -> Answer {
        let at = self.time(now);
        let memory = &mut self.memory;
        match ask {
            Ask::Look => {
                let reading = memory.read(&at);
                let verdict = match reading.memory {
                    Memory::Blank => Verdict::Blank,
                    Memory::Known(_) => Verdict::Done,
                };
                Answer { verdict, reading }
            }
            Ask::Promise(ballot, until) => memory.promise(*ballot, until, &at),
            Ask::Accept(record, until) => {
                if broken == Some(Breakage::PromiseNotHonoured) {
                    *memory = breakage::accepting(*record, &at);
                }
                memory.accept(record, until, &at)
            }
            Ask::Learn(record, until) => memory.learn(record, until, &at),
            Ask::Teach(expected, ledger, until) => memory.teach(expected, ledger, until, &at),
        }
    }

    pub(crate) fn votes_for(&self, to: Move) -> bool {
        !self.reaches[index(to.failed)] && self.reaches[index(to.next)]
    }

    pub(crate) fn sights(&mut self, to: Move, broken: Option<Breakage>, now: Duration) -> Sights {
        for (reached, at) in self.reaches.iter().zip(&mut self.reached_at) {
            if *reached {
                *at = Some(now);
            }
        }
        let see = |node: NodeId| match self.reaches[index(node)] {
            true => Sight::Reached { read_only: false },
            false => Sight::NotReached {
                reason: "no answer".to_owned(),
            },
        };
        let sights = Sights {
            failed: see(to.failed),
            next: see(to.next),
        };
        if vote(&sights.failed, &sights.next) == Vote::For {
            self.voted = Some(sights.clone());
        }
        let earlier = self.saw.replace(sights.clone());
        match broken {
            Some(Breakage::OldVotesUsed) => self.voted.clone().unwrap_or(sights),
            Some(Breakage::RoundsAdded) => breakage::added(earlier, sights),
            Some(Breakage::UnreachableTargetAccepted) => breakage::reaching_next(sights),
            _ => sights,
        }
    }
}

fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// A ledger's own expiry is the command's.
fn far(until: Option<&Until>) -> Until {
    until.cloned().unwrap_or(Until {
        boot: String::new(),
        uptime: Duration::ZERO,
    })
}
