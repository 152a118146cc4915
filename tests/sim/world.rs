//! Everything, and how one thing leads to another. What nobody wanted is in `faults`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use repoint::config::{NodeId, Quorum};
use repoint::core::agreement::{Ask, Request, Word};
use repoint::core::cluster::{Action, ClaimResult, Recovery};
use repoint::core::ledger::Verdict;
use repoint::core::pause::Pause;
use repoint::core::routing::Routing;

use super::agent::{Agent, COOLDOWN, ROUND, Setting, health};
use super::breakage::{self, Breakage};
use super::call::{Activate, Op, Refusal, Reply};
use super::chain::Chain;
use super::clock::Clock;
use super::coverage::Coverage;
use super::databases::{Databases, SHIPS, WRITES};
use super::host::Host;
use super::random::Random;
use super::ways::Asked;
use super::{NODES, index};

/// The time in which things happen, and then the time in which all has to come to rest.
pub(crate) const EVENTS: Duration = Duration::from_secs(40);
pub(crate) const QUIET: Duration = Duration::from_secs(90);
/// An agent that does more than this does it for ever.
const ACTS_MAX: usize = 30_000;
/// How long clients may be held up by a pause of a redirect, whatever becomes of its owner: the
/// pause, its record's time on the host, a command on its way, and the next second of the switch.
const HELD_MAX: Duration = Duration::from_secs(10);

/// A command that takes so long is given up, and may come in time on a host whose clock is slow.
const LATE: Duration = Duration::from_millis(500);

/// Agent, its life, host, and the number of the session.
type Session = (usize, u64, usize, u64);

/// Something on its way, and where to.
pub(crate) enum Event {
    ToHost {
        agent: usize,
        life: u64,
        host: usize,
        what: ToHost,
    },
    ToAgent {
        agent: usize,
        life: u64,
        what: ToAgent,
    },
    /// The dead-man's switch of an operation.
    Switch {
        host: usize,
        token: String,
    },
    Write {
        host: usize,
    },
    Ship,
}

pub(crate) enum ToHost {
    Request(Request),
    Op(Asked),
}

pub(crate) enum ToAgent {
    Word(Word),
    Reply { host: usize, id: u64, reply: Reply },
    Claimed(NodeId),
    Checked(NodeId),
}

pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) now: Duration,
    pub(crate) random: Random,
    pub(crate) setting: Setting,
    routing: Routing,
    pub(crate) agents: Vec<Agent>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) up: [bool; 2],
    /// How often each node has failed.
    pub(crate) failures: [usize; 2],
    /// Whether the nodes reach each other.
    pub(crate) linked: bool,
    /// Who holds the claim of each node.
    pub(crate) claims: [Option<usize>; 2],
    /// Whether an operator holds failover back.
    pub(crate) paused: Option<Pause>,
    queue: BTreeMap<(Duration, u64), Event>,
    sent: u64,
    /// What goes through one session arrives in its order.
    arrived: BTreeMap<Session, Duration>,
    /// The life of PgBouncer with which each session was opened, and ends.
    sessions: BTreeMap<Session, u64>,
    /// Through which session the operation on record on each host was put there.
    owners: BTreeMap<usize, Session>,
    pub(crate) chain: Chain,
    pub(crate) databases: Databases,
    pub(crate) coverage: Coverage,
    told: Vec<String>,
    /// Whether what happens is written down.
    tells: bool,
    pub(crate) breakage: Option<Breakage>,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        routing: &Routing,
        breakage: Option<Breakage>,
        tells: bool,
    ) -> Self {
        let mut random = Random::new(seed);
        let hosts = 1 + random.index(5);
        let quorum = match random.below(10) {
            0..=6 => Quorum::Majority,
            7 => Quorum::Any,
            _ => Quorum::None,
        };
        let setting = Setting {
            quorum,
            hosts,
            pauses: random.one_in(2),
        };
        let agents = 2 + usize::from(random.one_in(4));
        let mut world = Self {
            start: Instant::now(),
            now: Duration::ZERO,
            setting,
            routing: routing.clone(),
            agents: Vec::new(),
            hosts: Vec::new(),
            up: [true; 2],
            failures: [0; 2],
            linked: true,
            claims: [None; 2],
            paused: None,
            queue: BTreeMap::new(),
            sent: 0,
            arrived: BTreeMap::new(),
            sessions: BTreeMap::new(),
            owners: BTreeMap::new(),
            chain: Chain::new(quorum.needed(hosts), COOLDOWN),
            databases: Databases::default(),
            coverage: Coverage::default(),
            told: Vec::new(),
            tells,
            breakage,
            random,
        };
        for host in 0..hosts {
            let clock = Clock::new(&mut world.random);
            world.hosts.push(Host::new(NODES[0], clock));
            world.send(Event::Write { host }, WRITES);
        }
        world.send(Event::Ship, SHIPS);
        for number in 0..agents {
            let agent = world.agent(number, 0);
            world.agents.push(agent);
            world.probe(number);
        }
        world
    }

    fn agent(&mut self, number: usize, life: u64) -> Agent {
        let mut setting = self.setting;
        if self.breakage == Some(Breakage::MinorityDecides) {
            setting.quorum = Quorum::Any;
        }
        let (times, random) = ((self.start, self.now), &mut self.random);
        Agent::new(number, life, setting, &self.routing, times, random)
    }

    pub(crate) fn restart(&mut self, number: usize) {
        let (life, reaches) = (self.agents[number].life + 1, self.agents[number].reaches);
        self.release(number);
        self.agents[number] = self.agent(number, life);
        self.agents[number].reaches = reaches;
        self.probe(number);
    }

    fn release(&mut self, number: usize) {
        for claim in &mut self.claims {
            *claim = claim.filter(|holder| *holder != number);
        }
    }

    pub(crate) fn told(&self) -> String {
        self.told.join("\n")
    }

    /// The time as an agent has it.
    pub(crate) fn instant(&self, agent: usize) -> Instant {
        self.start + self.agents[agent].clock.at(self.now)
    }

    pub(crate) fn note(&mut self, what: impl Fn(&Self) -> String) {
        if self.tells {
            let what = what(self);
            self.told
                .push(format!("{:>9.3} {what}", self.now.as_secs_f64()));
        }
    }

    pub(crate) fn send(&mut self, event: Event, delay: Duration) {
        self.sent += 1;
        self.queue.insert((self.now + delay, self.sent), event);
    }

    pub(crate) fn probe(&mut self, number: usize) {
        let now = self.instant(number);
        let agent = &mut self.agents[number];
        for (node, reached) in agent.reaches.into_iter().enumerate() {
            let health = health(reached, self.failures[node], now);
            agent.cluster.node(NODES[node], health, now);
        }
        agent.wake = self.now;
    }

    /// The next thing that is due, no later than `limit`.
    pub(crate) fn step(&mut self, limit: Duration) -> Result<(), String> {
        let wakes = self.agents.iter().map(|agent| agent.wake);
        let arrives = self.queue.keys().next().map(|(at, _)| *at);
        let next = wakes.chain(arrives).min().unwrap_or(limit);
        self.now = self.now.max(next).min(limit);
        while let Some(first) = self.queue.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            let event = first.remove();
            self.arrive(event)?;
        }
        for number in 0..self.agents.len() {
            if self.agents[number].wake <= self.now {
                self.serve(number)?;
            }
        }
        Ok(())
    }

    fn arrive(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ToHost {
                agent,
                life,
                host,
                what,
            } => {
                let known = &self.hosts[host];
                if known.down_until > self.now || known.deaf_to[agent] {
                    return Ok(());
                }
                match what {
                    ToHost::Request(request) => self.requested(agent, life, host, request),
                    ToHost::Op(asked) => self.asked(agent, life, host, asked),
                }
            }
            Event::ToAgent { agent, life, what } => self.at_agent(agent, life, what),
            Event::Switch { host, token } => {
                self.switch(host, token);
                Ok(())
            }
            Event::Write { host } => {
                let (known, up, now) = (&self.hosts[host], self.up, self.now);
                self.databases.write(known, up, now);
                self.send(Event::Write { host }, WRITES);
                self.check_held(host)
            }
            Event::Ship => {
                if self.linked && self.up == [true; 2] {
                    self.databases.ship();
                }
                self.send(Event::Ship, SHIPS);
                Ok(())
            }
        }
    }

    /// Nobody's clients are held up for longer than a pause may last.
    fn check_held(&self, host: usize) -> Result<(), String> {
        match self.hosts[host].pgbouncer.paused {
            Some((since, false)) if self.now > since + HELD_MAX => Err(format!(
                "clients of host {host} are held up since {since:?}"
            )),
            _ => Ok(()),
        }
    }

    fn at_agent(&mut self, agent: usize, life: u64, what: ToAgent) -> Result<(), String> {
        let known = &self.agents[agent];
        if life != known.life {
            return Ok(());
        }
        if known.asleep_until > self.now {
            let later = known.asleep_until - self.now;
            self.send(Event::ToAgent { agent, life, what }, later);
            return Ok(());
        }
        let now = self.instant(agent);
        let known = &mut self.agents[agent];
        known.wake = self.now;
        match what {
            ToAgent::Word(word) => known.cluster.heard(word, now),
            ToAgent::Reply { host, id, reply } => {
                let task = &mut known.tasks[host];
                task.dirty |= task.ways.answered(id, reply);
            }
            ToAgent::Claimed(on) => return self.claimed(agent, on),
            ToAgent::Checked(node) => {
                let result = match known.reaches == [true; 2] && self.linked {
                    true => Recovery::Recovered,
                    false => Recovery::Pending("no answer".to_owned()),
                };
                known.cluster.recovery(node, &result, now);
            }
        }
        Ok(())
    }

    fn claimed(&mut self, number: usize, on: NodeId) -> Result<(), String> {
        let now = self.instant(number);
        let reached = self.agents[number].reaches[index(on)];
        let claim = &mut self.claims[index(on)];
        let result = match *claim {
            _ if !reached => ClaimResult::Failed("no answer".to_owned()),
            Some(holder) if holder != number => ClaimResult::Held,
            Some(_) | None => {
                *claim = Some(number);
                ClaimResult::Granted
            }
        };
        self.coverage.add(match result {
            ClaimResult::Granted => "claims granted",
            ClaimResult::Held => "claims held by another agent",
            ClaimResult::Failed(_) => "claims not answered",
        });
        let cluster = &mut self.agents[number].cluster;
        if result == ClaimResult::Granted {
            cluster.pauses_read(self.paused.as_slice());
        }
        let before = cluster.assignment().decision;
        cluster.claimed(on, &result, now);
        let decides = before.is_none() && cluster.assignment().decision.is_some();
        let alone = self.setting.quorum == Quorum::None;
        match decides && alone && result != ClaimResult::Granted {
            true => Err(format!("agent {number} decides without the claim")),
            false => Ok(()),
        }
    }

    /// Lets an agent act.
    fn serve(&mut self, number: usize) -> Result<(), String> {
        if self.agents[number].asleep_until > self.now {
            self.agents[number].wake = self.agents[number].asleep_until;
            return Ok(());
        }
        let now = self.instant(number);
        loop {
            while let Some(action) = self.agents[number].cluster.next(now) {
                self.act(number, action)?;
            }
            self.agents[number].assign();
            if !self.poll(number, now) {
                break;
            }
        }
        let agent = &mut self.agents[number];
        if agent.cluster.wake_at().is_some_and(|at| at <= now) {
            return Err(format!("agent {number} is awake for nothing"));
        }
        agent.wake = agent.wakes_at(self.start);
        let decision = self.agents[number].assignment.decision.as_ref();
        let (mut decided, majority) = (true, self.setting.quorum == Quorum::Majority);
        if let Some(it) = decision {
            decided = self.chain.leads_to(it.generation, it.active);
        }
        match decided || !majority {
            true => Ok(()),
            false => Err(format!(
                "agent {number} carries out {decision:?}, which was not decided"
            )),
        }
    }

    /// Lets the tasks work that have something to do; gives whether one had.
    fn poll(&mut self, number: usize, now: Instant) -> bool {
        let mut any = false;
        for host in 0..self.agents[number].tasks.len() {
            let agent = &mut self.agents[number];
            let task = &mut agent.tasks[host];
            if !task.dirty && task.wakes_at().is_none_or(|at| at > now) {
                continue;
            }
            any = true;
            task.poll(now);
            let mut mailbox = task.ways.0.borrow_mut();
            let (asked, status) = (mailbox.asked.take(), mailbox.status.take());
            let counted = std::mem::take(&mut mailbox.counted);
            drop(mailbox);
            if let Some(status) = status {
                agent.cluster.pooler(&host.to_string(), status);
            }
            for what in counted {
                self.coverage.add(what);
            }
            if let Some(asked) = asked {
                self.ask(number, host, asked);
            }
        }
        any
    }

    fn act(&mut self, number: usize, action: Action) -> Result<(), String> {
        self.agents[number].acts += 1;
        if self.agents[number].acts > ACTS_MAX {
            return Err(format!("agent {number} acts for ever"));
        }
        if !matches!(action, Action::Ask(_)) {
            self.note(|_| format!("agent {number}: {action:?}"));
        }
        let life = self.agents[number].life;
        let agent = number;
        match action {
            Action::Ask(request) => self.request(number, request),
            Action::Claim { on } => {
                let delay = self.random.millis(20);
                let what = ToAgent::Claimed(on);
                self.send(Event::ToAgent { agent, life, what }, delay);
            }
            Action::Release => self.release(number),
            Action::CheckRecovery { node, .. } => {
                let delay = self.random.millis(20);
                let what = ToAgent::Checked(node);
                self.send(Event::ToAgent { agent, life, what }, delay);
            }
            Action::Announce { decision, news } => {
                let missing = self.databases.missing(index(decision.failed));
                if news && missing > 0 {
                    self.coverage.add("failovers that leave commits behind");
                }
                self.coverage.add("failovers announced");
            }
            Action::Aborted { obstacle, .. } => self.coverage.add(obstacle_name(&obstacle)),
            Action::StandBy { .. } => self.coverage.add("agents that stood by"),
            Action::NoCandidate { .. } => self.coverage.add("failures with no node left"),
            Action::Paused { .. } => self.coverage.add("failovers held back by an operator"),
            Action::Superseded { .. } => self.coverage.add("decisions overtaken by another"),
            Action::Reappeared { .. } => self.coverage.add("false alarms"),
            Action::Report { .. } => self.coverage.add("reports"),
            Action::NotReplicating { .. } => self.coverage.add("nodes that do not replicate"),
        }
        Ok(())
    }

    fn delay(&mut self) -> Duration {
        match self.now < EVENTS && self.random.one_in(15) {
            true => self.random.millis(6000),
            false => self.random.millis(30),
        }
    }

    fn delay_to(&mut self, host: usize) -> Duration {
        let slow = self.hosts[host].slow_until > self.now;
        self.delay()
            + if slow {
                self.random.millis(800)
            } else {
                Duration::ZERO
            }
    }

    fn request(&mut self, agent: usize, request: Request) {
        let host: usize = request.witness.parse().expect("a number");
        let life = self.agents[agent].life;
        let bad = self.now < EVENTS;
        let lost = bad && self.random.one_in(20);
        if lost || self.hosts[host].deaf_to[agent] {
            let what = ToAgent::Word(Word {
                round: request.round,
                witness: request.witness,
                answer: Err("no answer".to_owned()),
                sights: None,
            });
            return self.send(Event::ToAgent { agent, life, what }, ROUND);
        }
        let twice = bad && self.random.one_in(30);
        for _ in 0..1 + usize::from(twice) {
            let delay = self.delay_to(host);
            let what = ToHost::Request(request.clone());
            let event = Event::ToHost {
                agent,
                life,
                host,
                what,
            };
            self.send(event, delay);
        }
    }

    fn requested(
        &mut self,
        agent: usize,
        life: u64,
        host: usize,
        request: Request,
    ) -> Result<(), String> {
        let (now, broken) = (self.now, self.breakage);
        let answer = self.remember(host, &request.ask)?;
        let known = &mut self.hosts[host];
        if let (Some(to), Ask::Promise(ballot, _), Verdict::Done) =
            (request.see, &request.ask, answer.verdict)
            && known.votes_for(to)
        {
            self.chain.voted(*ballot, host, to.next, now);
        }
        let answer = match broken {
            Some(Breakage::AcceptedNotTold) => breakage::without_accepted(answer),
            Some(Breakage::CooldownForgotten) => breakage::moved_long_ago(answer),
            _ => answer,
        };
        let sights = request.see.map(|to| known.sights(to, broken, now));
        let ask = &request.ask;
        self.note(|_| format!("host {host} to agent {agent}: {ask:?}: {answer:?} {sights:?}"));
        self.coverage
            .add(verdict_name(&request.ask, answer.verdict));
        let what = ToAgent::Word(Word {
            round: request.round,
            witness: request.witness,
            answer: Ok(answer),
            sights,
        });
        self.send_back(agent, life, host, what);
        Ok(())
    }

    /// What the ledger of a host does, which is compared with what was really decided.
    fn remember(
        &mut self,
        host: usize,
        ask: &Ask,
    ) -> Result<repoint::core::ledger::Answer, String> {
        let (now, broken) = (self.now, self.breakage);
        let majority = self.setting.quorum == Quorum::Majority;
        if let Ask::Learn(record, _) = ask
            && majority
            && !self.chain.is_decided(record)
        {
            return Err(format!("{record:?} is taught as decided"));
        }
        let answer = self.hosts[host].remember(ask, broken, now);
        if let (Ask::Accept(record, _), Verdict::Done, true) = (ask, answer.verdict, majority) {
            self.chain.accepted(record, host, now)?;
        }
        Ok(answer)
    }

    fn send_back(&mut self, agent: usize, life: u64, host: usize, what: ToAgent) {
        let lost = self.now < EVENTS && self.random.one_in(30);
        if lost || self.hosts[host].mute_to[agent] {
            return;
        }
        let delay = self.delay_to(host);
        self.send(Event::ToAgent { agent, life, what }, delay);
    }

    fn ask(&mut self, agent: usize, host: usize, asked: Asked) {
        let life = self.agents[agent].life;
        if self.now < EVENTS && self.random.one_in(40) {
            return;
        }
        let delay = self.delay_to(host);
        // What was sent through one session arrives in its order.
        let key = (agent, life, host, asked.session);
        let after = self.arrived.get(&key).copied().unwrap_or_default();
        let arrives = after.max(self.now + delay);
        self.arrived.insert(key, arrives);
        let what = ToHost::Op(asked);
        let event = Event::ToHost {
            agent,
            life,
            host,
            what,
        };
        self.send(event, arrives - self.now);
    }

    fn asked(&mut self, agent: usize, life: u64, host: usize, asked: Asked) -> Result<(), String> {
        let Asked {
            id,
            op,
            until,
            session,
            limit,
        } = asked;
        let session = (agent, life, host, session);
        let served = self.hosts[host].pgbouncer.life;
        if op == Op::Connect {
            self.sessions.insert(session, served);
        } else if self.sessions.get(&session) != Some(&served) {
            return Ok(());
        }
        let reply = match op.is_console() {
            true => self.at_console(host, &op),
            false => self.at_script(agent, host, &op, until)?,
        };
        if let Reply::Done = reply {
            self.owned(host, &op, session);
            self.check_in_time(agent, &op, limit)?;
        }
        if !matches!(op, Op::Inspect | Op::Connect | Op::Processes) {
            self.note(|_| format!("agent {agent} at host {host}: {op:?}: {reply:?}"));
        }
        self.send_back(agent, life, host, ToAgent::Reply { host, id, reply });
        Ok(())
    }

    fn at_console(&mut self, host: usize, op: &Op) -> Reply {
        let (now, up) = (self.now, self.up);
        let known = &mut self.hosts[host];
        let pgbouncer = &mut known.pgbouncer;
        match op {
            Op::Pause => {
                pgbouncer.paused.get_or_insert((now, false));
            }
            Op::Resume if self.breakage == Some(Breakage::ResumeForgotten) => {}
            Op::Resume => pgbouncer.paused = None,
            Op::Reload => pgbouncer.reload(known.file.leads, now),
            Op::Set(key, value) => pgbouncer.set(key, value),
            Op::Query => {
                let node = index(pgbouncer.loaded);
                let through = pgbouncer.paused.is_none() && up[node] && known.reaches[node];
                return match through {
                    true => Reply::Landed(pgbouncer.loaded),
                    false => Reply::Refused(Refusal::NoServer),
                };
            }
            _ => return Reply::Processes(Box::new(pgbouncer.state())),
        }
        Reply::Done
    }

    fn at_script(
        &mut self,
        agent: usize,
        host: usize,
        op: &Op,
        until: Option<repoint::core::ledger::Until>,
    ) -> Result<Reply, String> {
        let (now, broken) = (self.now, self.breakage);
        if let Op::Learn(record) = op {
            let until = self.hosts[host].reading(now).until(ROUND);
            let answer = self.remember(host, &Ask::Learn(*record, until))?;
            return Ok(match answer.verdict {
                Verdict::Done => Reply::Done,
                _ => Reply::Refused(Refusal::Undecided),
            });
        }
        let until = match broken {
            Some(Breakage::CommandsDoNotExpire) => None,
            _ => until,
        };
        let before = self.hosts[host].file.generation;
        let reply = self.hosts[host].carry_out(op, until.as_ref(), broken, now);
        match (op, &reply) {
            (Op::Activate(activate), Reply::Done) => {
                self.check_moved(agent, host, activate, before)?;
            }
            (Op::Rollback { token, .. }, Reply::Done) if *token != self.hosts[host].moved_by => {
                return Err(format!(
                    "agent {agent} takes back what it did not put there"
                ));
            }
            _ => {}
        }
        let token = match (op, &reply) {
            (Op::Record { token, .. }, Reply::Done) => Some(token),
            (Op::Activate(activate), Reply::Done) => {
                (!activate.debt.paused.is_empty()).then_some(&activate.token)
            }
            _ => None,
        };
        if let Some(token) = token {
            self.switch(host, token.clone());
        }
        Ok(reply)
    }

    /// Whoever puts an operation on record, or takes one over, ends the session of the one before:
    /// nothing that is on its way through that arrives.
    fn owned(&mut self, host: usize, op: &Op, session: Session) {
        let token = match op {
            Op::Record { token, .. } | Op::Exchange { token, .. } | Op::Update { token, .. } => {
                token
            }
            Op::Activate(activate) => &activate.token,
            _ => "",
        };
        let on_record = self.hosts[host].operation.as_ref();
        if on_record.is_some_and(|known| known.token == *token) {
            let before = self.owners.insert(host, session);
            if let Some(before) = before.filter(|before| *before != session) {
                self.end_session(before);
            }
        } else if on_record.is_none() {
            self.owners.remove(&host);
        }
    }

    /// Whoever asked for it may have gone on to something else.
    fn check_in_time(&self, agent: usize, op: &Op, limit: Instant) -> Result<(), String> {
        let late = self.instant(agent) > limit + LATE;
        match late && !op.is_console() && !matches!(op, Op::Inspect | Op::Connect | Op::Learn(_)) {
            true => Err(format!(
                "{op:?} of agent {agent} is done after it was given up"
            )),
            false => Ok(()),
        }
    }

    fn end_session(&mut self, session: Session) {
        if self.breakage != Some(Breakage::LeaseNotChecked) {
            self.sessions.remove(&session);
        }
    }

    /// A switch looks at what is on record, and again when that is over.
    fn switch(&mut self, host: usize, token: String) {
        let now = self.now;
        let was = self.hosts[host].pgbouncer.paused.is_some();
        let known = self.hosts[host].operation.clone();
        let over = known
            .is_some_and(|known| known.token == token && self.hosts[host].is_expired(&known, now));
        if over && let Some(session) = self.owners.remove(&host) {
            self.end_session(session);
        }
        if let Some(again) = self.hosts[host].switch(&token, now) {
            let wait = again.saturating_sub(now) + Duration::from_millis(1);
            self.send(Event::Switch { host, token }, wait);
        }
        if was && self.hosts[host].pgbouncer.paused.is_none() {
            self.note(|_| format!("the switch on host {host} ends a pause"));
            self.coverage.add("pauses ended by the switch on the host");
        }
    }

    fn check_moved(
        &mut self,
        agent: usize,
        host: usize,
        activate: &Activate,
        before: repoint::generation::Generation,
    ) -> Result<(), String> {
        self.coverage.add("files put in place");
        let (generation, active) = (activate.generation, activate.active);
        self.note(|_| format!("agent {agent} moves host {host} to node {active} by {generation}"));
        let majority = self.setting.quorum == Quorum::Majority;
        if majority && !self.chain.leads_to(generation, active) {
            return Err(format!("{activate:?} was not decided"));
        }
        let last = self.hosts[host].moved.replace(generation);
        self.hosts[host].moved_by.clone_from(&activate.token);
        // Where there are no ledgers, the file says what was decided: with the file, that is lost.
        let last = match self.setting.quorum {
            Quorum::Majority => last,
            Quorum::None => Some(before),
            Quorum::Any => None,
        };
        match last.filter(|last| *last > generation) {
            Some(last) => Err(format!(
                "host {host} is moved back from {last} to {generation}"
            )),
            None => Ok(()),
        }
    }
}

fn obstacle_name(obstacle: &repoint::core::agreement::Obstacle) -> &'static str {
    use repoint::core::agreement::Obstacle;
    match obstacle {
        Obstacle::Votes(_) => "failovers aborted: votes",
        Obstacle::Ledgers(_) => "failovers aborted: ledgers",
        Obstacle::Cooldown(_) => "failovers aborted: cooldown",
        Obstacle::Contest => "failovers aborted: contest",
    }
}

fn verdict_name(ask: &Ask, verdict: Verdict) -> &'static str {
    match (ask, verdict) {
        (Ask::Look, _) => "ledgers read",
        (Ask::Promise(..), Verdict::Done) => "ballots promised",
        (Ask::Accept(..), Verdict::Done) => "decisions accepted",
        (Ask::Learn(..), Verdict::Done) => "decisions learned",
        (Ask::Teach(..), Verdict::Done) => "ledgers taught",
        (_, Verdict::Late) => "ledgers: too late",
        (_, Verdict::Blank) => "ledgers: blank",
        (_, Verdict::Refused) => "ledgers: refused",
    }
}
