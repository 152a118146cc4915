//! Everything, and what happens to it.

use std::time::{Duration, Instant};

use repoint::config::{NodeId, Quorum};
use repoint::core::agreement::{Ask, Request, Word};
use repoint::core::cluster::{Action, ClaimResult, Recovery};
use repoint::core::ledger::{Ledger, Verdict, WitnessMemory};
use repoint::core::worker::Status;
use repoint::generation::Generation;

use super::agent::{self, Agent, COOLDOWN, NODES, ROUND, index};
use super::host::{AGENTS_MAX, Activate, Host};
use crate::agreement::breakage::{self, Breakage};
use crate::agreement::chain::Chain;
use crate::agreement::network::{Network, Random};

/// The time in which things happen, and then the time in which all has to come to rest.
const EVENTS: Duration = Duration::from_secs(40);
const QUIET: Duration = Duration::from_secs(60);
/// How often an agent looks at a PgBouncer.
const LOOK: Duration = Duration::from_millis(300);
/// An agent that asks more often than this asks for ever.
const REQUESTS_MAX: usize = 20_000;
/// For how long a command is good.
const WINDOW: Duration = Duration::from_secs(3);

enum Message {
    /// To a host.
    Asked(Request),
    Looked,
    Activate(Activate),
    /// From it.
    Answered(Word),
    Seen(Status, Activate),
    /// From a node.
    Claimed(NodeId),
    Checked(NodeId),
}

struct Sent {
    agent: usize,
    life: u64,
    host: usize,
    message: Message,
}

pub(crate) struct World {
    start: Instant,
    now: Duration,
    random: Random,
    agents: Vec<Agent>,
    hosts: Vec<Host>,
    /// Who holds the claim of each node.
    claims: [Option<usize>; 2],
    network: Network<Sent>,
    pub(crate) chain: Chain,
    told: Vec<String>,
    /// Whether what happens is written down.
    tells: bool,
    breakage: Option<Breakage>,
}

impl World {
    pub(crate) fn new(seed: u64, tells: bool) -> Self {
        let mut random = Random::new(seed);
        let hosts = usize::try_from(1 + random.below(5)).expect("few");
        let agents = 2 + usize::from(random.one_in(4));
        let mut world = Self {
            start: Instant::now(),
            now: Duration::ZERO,
            random,
            agents: Vec::new(),
            hosts: (0..hosts).map(|_| Host::new(NODES[0])).collect(),
            claims: [None; 2],
            network: Network::default(),
            chain: Chain::new(Quorum::Majority.needed(hosts), COOLDOWN),
            told: Vec::new(),
            tells,
            breakage: None,
        };
        for number in 0..agents {
            world.agents.push(Agent {
                cluster: world.cluster(number),
                reaches: [true; 2],
                asleep_until: Duration::ZERO,
                requests: 0,
                life: 0,
            });
            world.begin(number);
        }
        world
    }

    fn cluster(&self, number: usize) -> repoint::core::cluster::Cluster {
        let quorum = match self.breakage {
            Some(Breakage::MinorityDecides) => Quorum::Any,
            _ => Quorum::Majority,
        };
        agent::cluster(number, self.hosts.len(), quorum, self.instant())
    }

    /// An agent looks at everything for the first time.
    fn begin(&mut self, number: usize) {
        self.probe(number);
        for host in 0..self.hosts.len() {
            let first = self.random.millis(300);
            self.send(number, host, Message::Looked, first);
        }
    }

    pub(crate) fn broken(mut self, breakage: Breakage) -> Self {
        self.breakage = Some(breakage);
        for number in 0..self.agents.len() {
            self.restart(number);
        }
        self
    }

    fn restart(&mut self, number: usize) {
        self.agents[number].life += 1;
        self.agents[number].cluster = self.cluster(number);
        self.release(number);
        self.begin(number);
    }

    fn release(&mut self, number: usize) {
        for claim in &mut self.claims {
            *claim = claim.filter(|holder| *holder != number);
        }
    }

    pub(crate) fn told(&self) -> String {
        self.told.join("\n")
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn note(&mut self, what: impl Fn(&Self) -> String) {
        if self.tells {
            let what = what(self);
            self.told
                .push(format!("{:>9.3} {what}", self.now.as_secs_f64()));
        }
    }

    /// Until everything has come to rest.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let mut next_event = Duration::ZERO;
        while self.now < EVENTS {
            if self.now >= next_event {
                self.happen();
                next_event = self.now + self.random.millis(2000);
            }
            self.step(next_event.min(EVENTS))?;
        }
        let failed = usize::from(self.random.one_in(2));
        self.heal(failed);
        while !self.is_settled(NODES[1 - failed]) {
            if self.now >= EVENTS + QUIET {
                let files: Vec<NodeId> = self.hosts.iter().map(|host| host.file.active).collect();
                let active = self.chain.active();
                return Err(format!(
                    "no rest: {files:?}, and the decision is {active:?}"
                ));
            }
            self.step(EVENTS + QUIET)?;
        }
        Ok(())
    }

    /// Whether every PgBouncer serves the node that is left, by a decision that its ledger knows.
    fn is_settled(&self, active: NodeId) -> bool {
        let knows = |host: &Host| {
            let decided = host.decided(self.now);
            decided.is_some_and(|(_, node)| node == active)
        };
        let settled = |host: &Host| host.file.active == active && knows(host);
        self.chain.active() == Some(active) && self.hosts.iter().all(settled)
    }

    /// Everybody is there, and one node is gone.
    fn heal(&mut self, failed: usize) {
        self.note(|_| format!("all is well but node {}", NODES[failed]));
        let mut reaches = [true; 2];
        reaches[failed] = false;
        for host in &mut self.hosts {
            host.reaches = reaches;
            host.down_until = Duration::ZERO;
            host.cut = [false; AGENTS_MAX];
        }
        if let Some(holder) = self.claims[failed].take() {
            let now = self.instant();
            self.agents[holder].cluster.claim_lost(now);
        }
        for number in 0..self.agents.len() {
            self.agents[number].reaches = reaches;
            self.agents[number].asleep_until = Duration::ZERO;
            self.agents[number].requests = 0;
            self.probe(number);
        }
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).expect("few")
    }

    /// One thing that nobody wanted, or a node that comes and goes.
    fn happen(&mut self) {
        let host = self.below(self.hosts.len());
        let number = self.below(self.agents.len());
        let node = self.below(2);
        if self.random.one_in(4) {
            let known = &mut self.hosts[host];
            known.before = known.memory.clone();
        }
        match self.random.below(16) {
            what @ 0..=4 => self.node_is(node, what > 2),
            5 => {
                let seen = !self.hosts[host].reaches[node];
                self.note(|_| format!("host {host} reaches node {}: {seen}", NODES[node]));
                self.hosts[host].reaches[node] = seen;
            }
            6 => {
                let seen = !self.agents[number].reaches[node];
                self.note(|_| format!("agent {number} reaches node {}: {seen}", NODES[node]));
                self.agents[number].reaches[node] = seen;
                self.probe(number);
            }
            7 => {
                let cut = !self.hosts[host].cut[number];
                self.note(|_| format!("agent {number} cut off from host {host}: {cut}"));
                self.hosts[host].cut[number] = cut;
            }
            8 => self.restart_host(host),
            9 => {
                self.note(|_| format!("agent {number} is started anew"));
                self.restart(number);
            }
            10 => {
                let time = self.random.millis(8000);
                self.note(|_| format!("agent {number} sleeps for {time:?}"));
                self.agents[number].asleep_until = self.now + time;
            }
            11 => self.lose_ledger(host),
            12 => {
                self.note(|_| format!("the file of host {host} is restored from a backup"));
                let file = &mut self.hosts[host].file;
                file.active = NODES[node];
                file.version += 1;
            }
            _ => {}
        }
    }

    fn restart_host(&mut self, number: usize) {
        self.note(|_| format!("host {number} is started anew"));
        let (now, pause) = (self.now, self.random.millis(3000));
        let unsynced = self.breakage == Some(Breakage::LedgerNotSynced);
        let host = &mut self.hosts[number];
        if unsynced {
            host.memory = host.before.clone();
        }
        host.boot += 1;
        host.booted = now;
        host.down_until = now + pause;
    }

    /// A ledger is lost; only while every other one is whole, which is what is promised for.
    fn lose_ledger(&mut self, number: usize) {
        let mut hosts = self.hosts.iter();
        if self.hosts.len() < 3 || hosts.any(|host| host.is_blank(self.now)) {
            return;
        }
        self.note(|_| format!("host {number} loses its ledger"));
        let at = self.hosts[number].time(self.now);
        self.hosts[number].memory = match self.breakage {
            Some(Breakage::BlankLedgerVotes) => {
                breakage::overwritten(&Ledger::NOTHING_DECIDED, &at)
            }
            _ => WitnessMemory::default(),
        };
    }

    fn node_is(&mut self, node: usize, up: bool) {
        self.note(|_| format!("node {} is up: {up}", NODES[node]));
        for host in &mut self.hosts {
            host.reaches[node] = up;
        }
        if let Some(holder) = self.claims[node].filter(|_| !up) {
            self.claims[node] = None;
            let now = self.instant();
            self.agents[holder].cluster.claim_lost(now);
        }
        for number in 0..self.agents.len() {
            self.agents[number].reaches[node] = up;
            self.probe(number);
        }
    }

    fn probe(&mut self, number: usize) {
        let now = self.instant();
        let agent = &mut self.agents[number];
        for (node, reached) in NODES.into_iter().zip(agent.reaches) {
            agent.cluster.node(node, agent::health(reached, now), now);
        }
    }

    /// The next thing that is due, no later than `limit`.
    fn step(&mut self, limit: Duration) -> Result<(), String> {
        let wakes = self.agents.iter().filter_map(|agent| {
            let at = agent.cluster.wake_at()?;
            let at = at.saturating_duration_since(self.start);
            Some(at.max(agent.asleep_until))
        });
        let next = wakes.chain(self.network.next_at()).min().unwrap_or(limit);
        self.now = self.now.max(next).min(limit);
        while let Some(sent) = self.network.take(self.now) {
            self.arrive(sent)?;
        }
        for number in 0..self.agents.len() {
            self.serve(number)?;
        }
        Ok(())
    }

    fn arrive(&mut self, sent: Sent) -> Result<(), String> {
        let Sent { agent, host, .. } = sent;
        if let Message::Looked = sent.message {
            // The next look is due whatever becomes of this one.
            if sent.life == self.agents[agent].life {
                self.send(agent, host, Message::Looked, LOOK);
                self.look(agent, host);
            }
            return Ok(());
        }
        if let Message::Asked(_) | Message::Activate(_) = sent.message {
            return self.at_host(sent);
        }
        if sent.life != self.agents[agent].life {
            return Ok(());
        }
        if self.agents[agent].asleep_until > self.now {
            let later = self.agents[agent].asleep_until;
            self.network.send(sent, later);
            return Ok(());
        }
        self.at_agent(sent);
        Ok(())
    }

    fn at_host(&mut self, sent: Sent) -> Result<(), String> {
        let Sent { agent, host, .. } = sent;
        if self.hosts[host].down_until > self.now {
            return Ok(());
        }
        match sent.message {
            Message::Asked(request) => self.asked(agent, host, sent.life, request),
            Message::Activate(command) => self.activate(agent, host, &command),
            Message::Looked
            | Message::Answered(_)
            | Message::Seen(..)
            | Message::Claimed(_)
            | Message::Checked(_) => Ok(()),
        }
    }

    fn activate(&mut self, agent: usize, host: usize, command: &Activate) -> Result<(), String> {
        let before = self.hosts[host].file;
        if !self.hosts[host].activate(command, self.now) {
            return Ok(());
        }
        let generation = command.generation;
        self.note(|_| format!("agent {agent} moves host {host}: {command:?}"));
        if !self.chain.leads_to(generation, command.active) {
            return Err(format!("{command:?} was not decided"));
        }
        match before.generation > generation {
            true => Err(format!(
                "host {host} is moved back from {before:?} to {generation}"
            )),
            false => Ok(()),
        }
    }

    fn at_agent(&mut self, sent: Sent) {
        let now = self.instant();
        let (number, host) = (sent.agent, sent.host);
        let agent = &mut self.agents[number];
        match sent.message {
            Message::Answered(word) => agent.cluster.heard(word, now),
            Message::Seen(mut status, mut command) => {
                let assignment = agent.cluster.assignment();
                let decision = assignment.decision.filter(|_| assignment.may_act);
                let settled = decision
                    .as_ref()
                    .filter(|it| !status.serves.contains(&it.failed));
                status.settled = settled.map(|decision| decision.generation);
                let repairs = assignment.reconciling.filter(|how| how.repairs);
                let repairs = repairs.and_then(|how| how.in_force);
                let to = match (&decision, repairs) {
                    (Some(it), _) if status.serves.contains(&it.failed) => {
                        Some((it.generation, it.active))
                    }
                    (None, Some(it)) if !status.serves.contains(&it.active) => {
                        Some((it.generation, it.active))
                    }
                    _ => None,
                };
                agent.cluster.pooler(&host.to_string(), status);
                if let Some((generation, active)) = to {
                    (command.generation, command.active) = (generation, active);
                    let delay = self.delay();
                    self.send(number, host, Message::Activate(command), delay);
                }
            }
            Message::Claimed(on) => self.claimed(number, on),
            Message::Checked(node) => {
                let result = match agent.reaches {
                    [true, true] => Recovery::Recovered,
                    _ => Recovery::Pending("no answer".to_owned()),
                };
                agent.cluster.recovery(node, &result, now);
            }
            Message::Asked(_) | Message::Looked | Message::Activate(_) => {}
        }
    }

    fn claimed(&mut self, number: usize, on: NodeId) {
        let now = self.instant();
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
        self.agents[number].cluster.claimed(on, &result, now);
    }

    /// Lets an agent act.
    fn serve(&mut self, number: usize) -> Result<(), String> {
        if self.agents[number].asleep_until > self.now {
            return Ok(());
        }
        let now = self.instant();
        while let Some(action) = self.agents[number].cluster.next(now) {
            self.agents[number].requests += 1;
            if self.agents[number].requests > REQUESTS_MAX {
                return Err(format!("agent {number} acts for ever"));
            }
            self.note(|_| format!("agent {number}: {action:?}"));
            match action {
                Action::Ask(request) => self.ask(number, request),
                Action::Claim { on } => {
                    let delay = self.random.millis(20);
                    self.send(number, 0, Message::Claimed(on), delay);
                }
                Action::Release => self.release(number),
                Action::CheckRecovery { node, .. } => {
                    let delay = self.random.millis(20);
                    self.send(number, 0, Message::Checked(node), delay);
                }
                Action::Announce { .. }
                | Action::Aborted { .. }
                | Action::StandBy { .. }
                | Action::NoCandidate { .. }
                | Action::Paused { .. }
                | Action::Reappeared { .. }
                | Action::Report { .. }
                | Action::Superseded { .. }
                | Action::NotReplicating { .. } => {}
            }
        }
        let decision = self.agents[number].cluster.assignment().decision;
        match decision {
            Some(it) if !self.chain.leads_to(it.generation, it.active) => Err(format!(
                "agent {number} carries out {it:?}, which was not decided"
            )),
            _ => Ok(()),
        }
    }

    fn send(&mut self, agent: usize, host: usize, message: Message, delay: Duration) {
        let life = self.agents[agent].life;
        let sent = Sent {
            agent,
            life,
            host,
            message,
        };
        self.network.send(sent, self.now + delay);
    }

    fn delay(&mut self) -> Duration {
        match self.now < EVENTS && self.random.one_in(15) {
            true => self.random.millis(6000),
            false => self.random.millis(30),
        }
    }

    fn ask(&mut self, agent: usize, request: Request) {
        let host: usize = request.witness.parse().expect("a number");
        let bad = self.now < EVENTS;
        let lost = bad && self.random.one_in(20);
        if lost || self.hosts[host].cut[agent] {
            let word = Word {
                round: request.round,
                witness: request.witness,
                answer: Err("no answer".to_owned()),
                sights: None,
            };
            return self.send(agent, host, Message::Answered(word), ROUND);
        }
        let twice = bad && self.random.one_in(30);
        for _ in 0..1 + usize::from(twice) {
            let delay = self.delay();
            self.send(agent, host, Message::Asked(request.clone()), delay);
        }
    }

    /// What the worker of a PgBouncer sees, and the command that it would send.
    fn look(&mut self, agent: usize, number: usize) {
        let host = &self.hosts[number];
        let asleep = self.agents[agent].asleep_until > self.now;
        if asleep || host.cut[agent] || host.down_until > self.now {
            return;
        }
        let file = host.file;
        let decided = host.decided(self.now);
        let status = Status {
            reached: true,
            loaded: true,
            serves: [file.active].into(),
            generation: decided.map_or(file.generation, |(generation, _)| generation),
            file_active: Some(decided.map_or(file.active, |(_, active)| active)),
            ..Status::default()
        };
        let command = Activate {
            generation: Generation::NONE,
            active: file.active,
            read: file.version,
            until: host.reading(self.now).until(WINDOW),
        };
        let delay = self.delay();
        self.send(agent, number, Message::Seen(status, command), delay);
    }

    fn asked(
        &mut self,
        agent: usize,
        host: usize,
        life: u64,
        request: Request,
    ) -> Result<(), String> {
        let (now, broken) = (self.now, self.breakage);
        let known = &mut self.hosts[host];
        let answer = known.carry_out(&request.ask, broken, now, (host, &mut self.chain))?;
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
        let sights = request.see.map(|to| known.sights(to, broken));
        self.note(|_| format!("host {host} to agent {agent}: {answer:?} {sights:?}"));
        if now < EVENTS && self.random.one_in(20) {
            return Ok(());
        }
        let word = Word {
            round: request.round,
            witness: request.witness,
            answer: Ok(answer),
            sights,
        };
        let arrives = now + self.delay();
        let message = Message::Answered(word);
        let sent = Sent {
            agent,
            life,
            host,
            message,
        };
        self.network.send(sent, arrives);
        Ok(())
    }
}
