//! Two agents and whatever may happen to them, in an order that chance gives: nodes fail and
//! return, sessions are lost, agents are killed and started again, failover is paused. A simulation
//! with the real [`Cluster`]; databases and PgBouncers are stand-ins. What must hold in every order
//! is asserted at every step.

use std::time::{Duration, Instant};

use repoint::config::{Monitoring, NodeId};
use repoint::core::cluster::{Action, ClaimResult, Cluster, Recovery};
use repoint::core::node::{Fault, Health};
use repoint::core::pause::{Pause, Scope};
use repoint::core::worker::Status;
use repoint::generation::Generation;

const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];
const STEP: Duration = Duration::from_millis(100);
/// Steps in which things happen, and then those in which all has to come to rest.
const EVENTS: usize = 150;
const QUIET: usize = 150;
/// More actions than any state has.
const ACTIONS_MAX: usize = 20;

/// A PgBouncer's managed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    generation: Generation,
    active: NodeId,
}

struct Agent {
    cluster: Cluster,
    /// The node that a request for the claim goes to, until it is answered.
    asks: Option<NodeId>,
    /// A look at replication that was asked for.
    looks_at: Option<NodeId>,
    runs: bool,
}

struct World {
    now: Instant,
    random: u64,
    up: [bool; 2],
    /// How often each node has failed.
    failures: [usize; 2],
    /// Who holds the claim of each node.
    claims: [Option<usize>; 2],
    files: Vec<File>,
    agents: [Agent; 2],
    paused: Option<Pause>,
    change: i64,
    what: String,
}

fn index(node: NodeId) -> usize {
    usize::from(node != NODES[0])
}

impl Agent {
    fn new(own: NodeId, poolers: usize) -> Self {
        let names = (0..poolers).map(|number| number.to_string());
        let second = Duration::from_secs(1);
        let monitoring = Monitoring {
            monitor_interval: second,
            reconnect_attempts: 1,
            reconnect_interval: second,
            recovery_timeout: 30 * second,
            local_only: false,
        };
        Self {
            cluster: Cluster::new(own, NODES, names, monitoring),
            asks: None,
            looks_at: None,
            runs: true,
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            now: Instant::now(),
            random: seed,
            up: [true; 2],
            failures: [0; 2],
            claims: [None; 2],
            files: Vec::new(),
            agents: NODES.map(|own| Agent::new(own, 0)),
            paused: None,
            change: 0,
            what: String::new(),
        };
        let begin = File {
            generation: Generation::NONE,
            active: NODES[world.below(2)],
        };
        world.files = vec![begin; 1 + world.below(3)];
        for number in 0..2 {
            world.restart(number);
        }
        world
    }

    /// Numbers that look random and are the same for the same seed.
    fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = self.random.wrapping_add(1);
        usize::try_from(self.random >> 33).expect("31 bits") % end
    }

    fn note(&mut self, what: &str) {
        self.what += what;
        self.what.push('\n');
    }

    fn restart(&mut self, number: usize) {
        self.release(number);
        self.agents[number] = Agent::new(NODES[number], self.files.len());
    }

    fn release(&mut self, number: usize) {
        for claim in &mut self.claims {
            *claim = claim.filter(|holder| *holder != number);
        }
    }

    fn happen(&mut self) {
        let one = self.below(2);
        match self.below(40) {
            0 if self.up[one] => {
                self.note(&format!("node {} fails", NODES[one]));
                self.up[one] = false;
                self.failures[one] += 1;
                if let Some(holder) = self.claims[one].take() {
                    self.agents[holder].cluster.claim_lost(self.now);
                }
            }
            1 | 2 => {
                self.note(&format!("node {} is up", NODES[one]));
                self.up[one] = true;
            }
            3 => {
                self.note(&format!("agent {} restarts", NODES[one]));
                self.restart(one);
            }
            4 => {
                self.note(&format!("agent {} stops", NODES[one]));
                self.release(one);
                self.agents[one].runs = false;
            }
            5 => {
                self.change += 1;
                let pauses = self.paused.as_ref().is_none_or(|pause| !pause.paused);
                self.note(&format!("paused: {pauses}"));
                self.paused = Some(self.pause(pauses));
            }
            6 => {
                let lost = self.claims.iter_mut().find_map(Option::take);
                if let Some(holder) = lost {
                    self.note("a session is lost");
                    self.agents[holder].cluster.claim_lost(self.now);
                }
            }
            _ => {}
        }
        if !self.agents[one].runs && self.below(10) == 0 {
            self.restart(one);
        }
    }

    fn pause(&self, paused: bool) -> Pause {
        Pause {
            scope: Scope::Cluster,
            paused,
            change: self.change,
            changed_at: String::new(),
            changed_by: String::new(),
            reason: None,
        }
    }

    /// One thing that an agent hears, or none.
    fn hear(&mut self, number: usize) {
        let now = self.now;
        match self.below(6) {
            0 | 1 => {
                let node = self.below(2);
                let health = self.health(node);
                self.agents[number].cluster.node(NODES[node], health, now);
            }
            2 | 3 => self.work(number),
            4 => {
                if let Some(pause) = self.paused.clone() {
                    self.agents[number].cluster.pauses_read(&[pause]);
                }
            }
            _ => {
                if let Some(node) = self.agents[number].looks_at.take() {
                    let runs = self.up == [true; 2];
                    let result = match runs {
                        true => Recovery::Recovered,
                        false => Recovery::Pending("no answer".to_owned()),
                    };
                    self.agents[number].cluster.recovery(node, &result, now);
                }
            }
        }
        self.answer(number);
    }

    fn health(&self, node: usize) -> Health {
        match self.up[node] {
            true => Health::Up {
                identity: self.failures[node].to_string(),
            },
            false => Health::Down {
                fault: Fault::Crash,
                reason: String::new(),
                since: self.now,
            },
        }
    }

    /// A request for the claim is answered; with what was granted come the pauses.
    fn answer(&mut self, number: usize) {
        if self.below(3) == 0 {
            return;
        }
        let Some(on) = self.agents[number].asks.take() else {
            return;
        };
        let claim = &mut self.claims[index(on)];
        let result = match *claim {
            _ if !self.up[index(on)] => ClaimResult::Failed("no answer".to_owned()),
            Some(holder) if holder != number => ClaimResult::Held,
            Some(_) | None => {
                *claim = Some(number);
                ClaimResult::Granted
            }
        };
        let cluster = &mut self.agents[number].cluster;
        if result == ClaimResult::Granted {
            cluster.pauses_read(self.paused.as_slice());
        }
        let before = cluster.assignment().decision;
        cluster.claimed(on, &result, self.now);
        let after = cluster.assignment().decision;
        let decides = before.is_none() && after.is_some();
        let holds = self.claims[index(on)] == Some(number);
        assert!(!decides || holds, "without the claim: {}", self.what);
    }

    fn act(&mut self, number: usize) {
        for count in 0.. {
            assert!(count < ACTIONS_MAX, "it does not end: {}", self.what);
            let Some(action) = self.agents[number].cluster.next(self.now) else {
                break;
            };
            self.note(&format!("agent {}: {action:?}", NODES[number]));
            match action {
                Action::Claim { on } => self.agents[number].asks = Some(on),
                Action::Release => {
                    let asked = self.agents[number].asks.take();
                    assert_eq!(asked, None, "nobody would answer: {}", self.what);
                    self.release(number);
                }
                Action::CheckRecovery { node, .. } => {
                    self.agents[number].looks_at = Some(node);
                }
                Action::Announce { .. }
                | Action::Ask(_)
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
        let wake_at = self.agents[number].cluster.wake_at();
        assert!(
            wake_at.is_none_or(|at| at > self.now),
            "awake for nothing: {}",
            self.what
        );
    }

    /// Looks at a PgBouncer, and moves it if the decision in force allows.
    fn work(&mut self, number: usize) {
        let pooler = self.below(self.files.len());
        let file = &mut self.files[pooler];
        let assignment = self.agents[number].cluster.assignment();
        let decision = assignment.decision.filter(|_| assignment.may_act);
        let moves = decision.as_ref().filter(|decision| {
            file.active == decision.failed && decision.generation > file.generation
        });
        if let Some(decision) = moves {
            *file = File {
                generation: decision.generation,
                active: decision.active,
            };
        }
        let settled = decision.filter(|decision| file.active != decision.failed);
        let status = Status {
            reached: true,
            serves: [file.active].into(),
            generation: file.generation,
            file_active: Some(file.active),
            settled: settled.map(|decision| decision.generation),
            ..Status::default()
        };
        let name = pooler.to_string();
        self.agents[number].cluster.pooler(&name, status);
    }

    fn step(&mut self) {
        self.now += STEP;
        for number in 0..2 {
            if self.agents[number].runs {
                self.hear(number);
                self.act(number);
            }
        }
    }
}

#[test]
fn whatever_happens_to_two_agents_every_pgbouncer_ends_on_a_node_that_lives() {
    for seed in 1..=3_000 {
        let mut world = World::new(seed);
        for _ in 0..EVENTS {
            world.happen();
            world.step();
        }
        world.note("quiet");
        world.change += 1;
        world.paused = Some(world.pause(false));
        for number in 0..2 {
            if !world.agents[number].runs {
                world.restart(number);
            }
        }
        if world.up == [false; 2] {
            world.up[0] = true;
        }
        for _ in 0..QUIET {
            world.step();
        }
        let lives = |file: &File| world.up[index(file.active)];
        assert!(
            world.files.iter().all(lives),
            "seed {seed}: {:?} {:?}\n{}",
            world.up,
            world.files,
            world.what
        );
        assert_eq!(world.claims, [None; 2], "seed {seed}: {}", world.what);
    }
}
