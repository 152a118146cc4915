//! Agents, witnesses, and what happens to them.

use std::time::{Duration, Instant};

use repoint::config::{NodeId, Quorum};
use repoint::core::agreement::{
    Agreed, Agreement, Ask, Move, Request, Rules, Standing, Wanted, Word,
};
use repoint::core::ledger::{Answer, HostTime, Ledger, Memory, Verdict, WitnessMemory};
use repoint::core::vote::{Sight, Sights, Vote, vote};
use repoint::generation::Generation;

use super::breakage::{self, Breakage};
use super::chain::Chain;
use super::network::{Network, Random};

const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];
/// The time in which things happen, and then the time in which all has to come to rest.
const AGENTS_MAX: usize = 3;
const EVENTS: Duration = Duration::from_secs(40);
const QUIET: Duration = Duration::from_secs(40);
const ROUND: Duration = Duration::from_millis(500);
const COOLDOWN: Duration = Duration::from_secs(5);
/// An agent that asks more often than this in a simulated minute asks for ever.
const REQUESTS_MAX: usize = 20_000;

struct Agent {
    agreement: Agreement,
    /// Which nodes it reaches itself.
    reaches: [bool; 2],
    asleep_until: Duration,
    requests: usize,
}

struct Host {
    memory: WitnessMemory,
    boot: u64,
    booted: Duration,
    reaches: [bool; 2],
    down_until: Duration,
    /// What it had on its disk some time ago.
    before: WitnessMemory,
    /// The last vote for a move that it has given.
    voted: Option<Sights>,
    /// Which agents do not get through.
    cut: [bool; AGENTS_MAX],
}

enum Message {
    Asked(usize, usize, u64, Request),
    Answered(usize, u64, Word),
}

/// Everything.
pub(crate) struct World {
    start: Instant,
    now: Duration,
    random: Random,
    agents: Vec<Agent>,
    lives: Vec<u64>,
    hosts: Vec<Host>,
    network: Network<Message>,
    pub(crate) chain: Chain,
    told: Vec<String>,
    /// Whether what happens is written down.
    tells: bool,
    breakage: Option<Breakage>,
}

fn rules(own: usize) -> Rules {
    Rules {
        own: NodeId(u32::try_from(own + 1).expect("few agents")),
        quorum: Quorum::Majority,
        cooldown: COOLDOWN,
        round_limit: ROUND,
        again_after: Duration::from_millis(500),
        interval: Duration::from_secs(2),
    }
}

impl World {
    pub(crate) fn new(seed: u64, tells: bool) -> Self {
        let mut random = Random::new(seed);
        let hosts = usize::try_from(1 + random.below(5)).expect("few");
        let agents = 2 + usize::from(random.one_in(4));
        let start = Instant::now();
        let mut world = Self {
            start,
            now: Duration::ZERO,
            random,
            agents: Vec::new(),
            lives: vec![0; agents],
            hosts: Vec::new(),
            network: Network::default(),
            chain: Chain::new(Quorum::Majority.needed(hosts), COOLDOWN),
            told: Vec::new(),
            tells,
            breakage: None,
        };
        for number in 0..hosts {
            world.hosts.push(Host {
                memory: WitnessMemory::default(),
                boot: 0,
                booted: Duration::ZERO,
                reaches: [true; 2],
                down_until: Duration::ZERO,
                before: WitnessMemory::default(),
                voted: None,
                cut: [false; AGENTS_MAX],
            });
            world.note(|_| format!("host {number}"));
        }
        for number in 0..agents {
            let agreement = world.agreement(number);
            world.agents.push(Agent {
                agreement,
                reaches: [true; 2],
                asleep_until: Duration::ZERO,
                requests: 0,
            });
        }
        world
    }

    pub(crate) fn broken(mut self, breakage: Breakage) -> Self {
        self.breakage = Some(breakage);
        for number in 0..self.agents.len() {
            self.agents[number].agreement = self.agreement(number);
        }
        self
    }

    fn has(&self, breakage: Breakage) -> bool {
        self.breakage == Some(breakage)
    }

    pub(crate) fn told(&self) -> String {
        self.told.join("\n")
    }

    fn note(&mut self, what: impl Fn(&Self) -> String) {
        if !self.tells {
            return;
        }
        let what = what(self);
        self.told
            .push(format!("{:>9.3} {what}", self.now.as_secs_f64()));
    }

    fn agreement(&self, own: usize) -> Agreement {
        let names = (0..self.hosts.len()).map(|host| (host.to_string(), Standing::Voter));
        let mut rules = rules(own);
        if self.has(Breakage::MinorityDecides) {
            rules.quorum = Quorum::Any;
        }
        let mut agreement = Agreement::new(rules, names, self.start + self.now);
        // What files said before there were ledgers.
        let first = Generation {
            number: 1,
            node_id: NODES[0],
        };
        agreement.files_say(first, NODES[0]);
        agreement
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
                let active = self.chain.active();
                return Err(format!(
                    "it does not come to rest; the decision leads to {active:?}"
                ));
            }
            self.step(EVENTS + QUIET)?;
        }
        Ok(())
    }

    /// Whether every ledger holds the latest decision, and that leads to `active`.
    fn is_settled(&self, active: NodeId) -> bool {
        let holds = |number: usize| match self.hosts[number]
            .memory
            .read(&self.host_time(number))
            .memory
        {
            Memory::Known(ledger) => ledger.accepted.filter(|_| ledger.decided),
            Memory::Blank => None,
        };
        let generation = |number| holds(number).map(|record| record.generation);
        self.chain.active() == Some(active)
            && (0..self.hosts.len()).all(|number| {
                holds(number).is_some_and(|record| record.active == active)
                    && generation(number) == generation(0)
            })
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
        for number in 0..self.agents.len() {
            self.agents[number].reaches = reaches;
            self.agents[number].asleep_until = Duration::ZERO;
            self.agents[number].requests = 0;
            self.want(number);
        }
    }

    /// One thing that nobody wanted, or a node that comes and goes.
    fn happen(&mut self) {
        let host = self.below(self.hosts.len());
        let agent = self.below(self.agents.len());
        let node = self.below(2);
        if self.random.one_in(4) {
            let known = &mut self.hosts[host];
            known.before = known.memory.clone();
        }
        match self.random.below(14) {
            0..=2 => self.nodes_seen(node, |_| false),
            3 | 4 => self.nodes_seen(node, |_| true),
            5 => {
                let seen = !self.hosts[host].reaches[node];
                self.note(|_| format!("host {host} reaches node {}: {seen}", NODES[node]));
                self.hosts[host].reaches[node] = seen;
            }
            6 => {
                let seen = !self.agents[agent].reaches[node];
                self.note(|_| format!("agent {agent} reaches node {}: {seen}", NODES[node]));
                self.agents[agent].reaches[node] = seen;
                self.want(agent);
            }
            7 => {
                let cut = !self.hosts[host].cut[agent];
                self.note(|_| format!("agent {agent} cut off from host {host}: {cut}"));
                self.hosts[host].cut[agent] = cut;
            }
            8 => {
                self.note(|_| format!("host {host} is started anew"));
                if self.has(Breakage::LedgerNotSynced) {
                    self.hosts[host].memory = self.hosts[host].before.clone();
                }
                self.hosts[host].boot += 1;
                self.hosts[host].booted = self.now;
                self.hosts[host].down_until = self.now + self.random.millis(3000);
            }
            9 => {
                self.note(|_| format!("agent {agent} is started anew"));
                self.lives[agent] += 1;
                self.agents[agent].agreement = self.agreement(agent);
                self.want(agent);
            }
            10 => {
                let time = self.random.millis(8000);
                self.note(|_| format!("agent {agent} sleeps for {time:?}"));
                self.agents[agent].asleep_until = self.now + time;
            }
            11 => self.lose_disk(host),
            _ => {}
        }
    }

    /// A ledger is lost; only while every other one is whole, which is what is promised for.
    fn lose_disk(&mut self, host: usize) {
        let at = self.host_time(host);
        let blank = |other: &Host| other.memory.read(&at).memory == Memory::Blank;
        if self.hosts.len() < 3 || self.hosts.iter().any(blank) {
            return;
        }
        self.note(|_| format!("host {host} loses its ledger"));
        self.hosts[host].memory = match self.has(Breakage::BlankLedgerVotes) {
            true => breakage::overwritten(&Ledger::NOTHING_DECIDED, &at),
            false => WitnessMemory::default(),
        };
    }

    fn nodes_seen(&mut self, node: usize, seen: impl Fn(usize) -> bool) {
        let is = seen(0);
        self.note(|_| format!("node {} is up: {is}", NODES[node]));
        self.hosts
            .iter_mut()
            .for_each(|host| host.reaches[node] = is);
        for number in 0..self.agents.len() {
            self.agents[number].reaches[node] = is;
            self.want(number);
        }
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).expect("few")
    }

    /// What an agent wants follows from what it sees itself.
    fn want(&mut self, number: usize) {
        let decide = self.now >= EVENTS || !self.random.one_in(3);
        let now = self.start + self.now;
        let agent = &mut self.agents[number];
        let wanted = |failed: usize| Wanted {
            to: Move {
                failed: NODES[failed],
                next: NODES[1 - failed],
            },
            decide,
        };
        let wanted = match agent.reaches {
            [false, true] => Some(wanted(0)),
            [true, false] => Some(wanted(1)),
            [true, true] | [false, false] => None,
        };
        agent.agreement.want(wanted, now);
    }

    /// The next thing that is due, no later than `limit`.
    fn step(&mut self, limit: Duration) -> Result<(), String> {
        let wakes = self.agents.iter().filter_map(|agent| {
            let at = agent.agreement.wake_at()?;
            let at = at.saturating_duration_since(self.start);
            Some(at.max(agent.asleep_until))
        });
        let next = wakes.chain(self.network.next_at()).min().unwrap_or(limit);
        self.now = self.now.max(next).min(limit);
        while let Some(message) = self.network.take(self.now) {
            match message {
                Message::Asked(agent, host, life, request) => {
                    self.asked(agent, host, life, request)?;
                }
                Message::Answered(agent, life, word) => self.answered(agent, life, word),
            }
        }
        for number in 0..self.agents.len() {
            self.serve(number)?;
        }
        Ok(())
    }

    fn answered(&mut self, number: usize, life: u64, word: Word) {
        if self.lives[number] != life {
            return;
        }
        if self.agents[number].asleep_until > self.now {
            let later = self.agents[number].asleep_until;
            self.network
                .send(Message::Answered(number, life, word), later);
            return;
        }
        let now = self.start + self.now;
        self.agents[number].agreement.heard(word, now);
    }

    /// Lets an agent ask, and hear what was agreed.
    fn serve(&mut self, number: usize) -> Result<(), String> {
        if self.agents[number].asleep_until > self.now {
            return Ok(());
        }
        let now = self.start + self.now;
        while let Some(request) = self.agents[number].agreement.next(now) {
            self.agents[number].requests += 1;
            if self.agents[number].requests > REQUESTS_MAX {
                return Err(format!("agent {number} asks for ever"));
            }
            self.note(|_| format!("agent {number} asks {request:?}"));
            self.send(number, request);
        }
        while let Some(agreed) = self.agents[number].agreement.agreed() {
            self.note(|_| format!("agent {number}: {agreed:?}"));
            if let Agreed::Decided(record) = agreed
                && !self.chain.is_decided(&record)
            {
                return Err(format!(
                    "agent {number} believes that {record:?} is decided"
                ));
            }
        }
        Ok(())
    }

    fn send(&mut self, agent: usize, request: Request) {
        let host: usize = request.witness.parse().expect("a number");
        let bad = self.now < EVENTS;
        let lost = bad && self.random.one_in(20);
        let twice = bad && self.random.one_in(30);
        if lost || self.hosts[host].cut[agent] {
            let word = Word {
                round: request.round,
                witness: request.witness,
                answer: Err("no answer".to_owned()),
                sights: None,
            };
            let answer = Message::Answered(agent, self.lives[agent], word);
            return self.network.send(answer, self.now + ROUND);
        }
        let life = self.lives[agent];
        for _ in 0..1 + usize::from(twice) {
            let at = self.now + self.delay();
            let message = Message::Asked(agent, host, life, request.clone());
            self.network.send(message, at);
        }
    }

    fn delay(&mut self) -> Duration {
        match self.now < EVENTS && self.random.one_in(15) {
            true => self.random.millis(6000),
            false => self.random.millis(30),
        }
    }

    fn host_time(&self, host: usize) -> HostTime {
        HostTime {
            boot: self.hosts[host].boot.to_string(),
            uptime: self.now - self.hosts[host].booted,
            unix_seconds: self.now.as_secs(),
        }
    }

    fn asked(
        &mut self,
        agent: usize,
        host: usize,
        life: u64,
        request: Request,
    ) -> Result<(), String> {
        if self.hosts[host].down_until > self.now {
            return Ok(());
        }
        let at = self.host_time(host);
        let answer = self.carry_out(host, &request.ask, &at)?;
        self.note(|_| format!("host {host} of agent {agent}: {answer:?}"));
        let answer = match self.breakage {
            Some(Breakage::AcceptedNotTold) => breakage::without_accepted(answer),
            Some(Breakage::CooldownForgotten) => breakage::moved_long_ago(answer),
            _ => answer,
        };
        let sights = request.see.map(|to| self.sights(host, to));
        if let (Some(to), Ask::Promise(ballot, _), Verdict::Done) =
            (request.see, &request.ask, answer.verdict)
            && self.votes_for(host, to)
        {
            self.chain.voted(*ballot, host, to.next, self.now);
        }
        if self.now < EVENTS && self.random.one_in(20) {
            return Ok(());
        }
        let word = Word {
            round: request.round,
            witness: request.witness,
            answer: Ok(answer),
            sights,
        };
        let arrives = self.now + self.delay();
        self.network
            .send(Message::Answered(agent, life, word), arrives);
        Ok(())
    }

    fn carry_out(&mut self, host: usize, ask: &Ask, at: &HostTime) -> Result<Answer, String> {
        let memory = &mut self.hosts[host].memory;
        let answer = match ask {
            Ask::Look => {
                let reading = memory.read(at);
                let verdict = match reading.memory {
                    Memory::Blank => Verdict::Blank,
                    Memory::Known(_) => Verdict::Done,
                };
                return Ok(Answer { verdict, reading });
            }
            Ask::Promise(ballot, until) => memory.promise(*ballot, until, at),
            Ask::Accept(record, until) => {
                if self.breakage == Some(Breakage::PromiseNotHonoured) {
                    *memory = breakage::accepting(*record, at);
                }
                let answer = memory.accept(record, until, at);
                if answer.verdict == Verdict::Done {
                    self.chain.accepted(record, host, self.now)?;
                }
                answer
            }
            Ask::Learn(record, _) if !self.chain.is_decided(record) => {
                return Err(format!("{record:?} is taught as decided"));
            }
            Ask::Learn(record, until) => memory.learn(record, until, at),
            Ask::Teach(expected, ledger, until) => memory.teach(expected, ledger, until, at),
        };
        Ok(answer)
    }

    fn votes_for(&self, host: usize, to: Move) -> bool {
        let index = |node: NodeId| usize::from(node != NODES[0]);
        let reaches = self.hosts[host].reaches;
        !reaches[index(to.failed)] && reaches[index(to.next)]
    }

    fn sights(&mut self, host: usize, to: Move) -> Sights {
        let sights = self.really_sees(host, to);
        let voted = &mut self.hosts[host].voted;
        if vote(&sights.failed, &sights.next) == Vote::For {
            *voted = Some(sights.clone());
        }
        match self.breakage {
            Some(Breakage::OldVotesUsed) => voted.clone().unwrap_or(sights),
            Some(Breakage::UnreachableTargetAccepted) => breakage::reaching_next(sights),
            _ => sights,
        }
    }

    fn really_sees(&self, host: usize, to: Move) -> Sights {
        let see = |node: NodeId| match self.hosts[host].reaches[usize::from(node != NODES[0])] {
            true => Sight::Reached { read_only: false },
            false => Sight::NotReached {
                reason: "no answer".to_owned(),
            },
        };
        Sights {
            failed: see(to.failed),
            next: see(to.next),
        }
    }
}
