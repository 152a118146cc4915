//! The link between the two nodes breaks while both live, so that each agent takes the other node
//! for dead. A simulation of two agents with the real [`Cluster`]; the PgBouncers are stand-ins
//! that do what the host's lock and the order of generations make of two writers. In the original,
//! the last writer wins and nobody is told.

use std::time::{Duration, Instant};

use repoint::config::{Monitoring, NodeId};
use repoint::core::cluster::{Action, ClaimResult, Cluster};
use repoint::core::node::{Fault, Health};
use repoint::core::worker::Status;
use repoint::generation::Generation;

const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];
/// Of 100 ms each; what is not quiet after half of them does not come to rest.
const ROUNDS: usize = 400;

/// A PgBouncer's managed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    generation: Generation,
    active: NodeId,
}

struct Agent {
    own: NodeId,
    cluster: Cluster,
    stood_back: usize,
}

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }
}

impl Agent {
    /// Sees its own node alive and the other one dead.
    fn new(own: NodeId, poolers: usize, now: Instant) -> Self {
        let names = (0..poolers).map(|number| number.to_string());
        let monitoring = Monitoring {
            monitor_interval: Duration::from_secs(1),
            reconnect_attempts: 3,
            reconnect_interval: Duration::from_secs(1),
            recovery_timeout: Duration::from_secs(30),
            local_only: false,
        };
        let mut cluster = Cluster::new(own, NODES, names, monitoring);
        let up = Health::Up {
            identity: "x".to_owned(),
        };
        for node in NODES {
            cluster.node(node, up.clone(), now);
        }
        Self {
            own,
            cluster,
            stood_back: 0,
        }
    }

    fn lose_the_other(&mut self, now: Instant) {
        let down = Health::Down {
            fault: Fault::Blackhole,
            reason: "no answer".to_owned(),
            since: now,
        };
        let other = NODES.into_iter().find(|node| *node != self.own);
        self.cluster.node(other.expect("two nodes"), down, now);
    }

    /// Everything that is due; the claim on its own node is always free for it.
    fn act(&mut self, now: Instant) {
        while let Some(action) = self.cluster.next(now) {
            if let Action::Claim { on } = action {
                self.cluster.claimed(on, &ClaimResult::Granted, now);
            } else if matches!(action, Action::Superseded { .. }) {
                self.stood_back += 1;
            }
        }
    }

    /// Looks at a PgBouncer, and moves it if the decision in force allows; `true`: it was moved.
    fn work(&mut self, number: usize, file: &mut File) -> bool {
        let assignment = self.cluster.assignment();
        let decision = assignment.decision.filter(|_| assignment.may_act);
        let moves = decision.as_ref().is_some_and(|decision| {
            file.active == decision.failed && decision.generation > file.generation
        });
        if let Some(decision) = decision.as_ref().filter(|_| moves) {
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
        self.cluster.pooler(&number.to_string(), status);
        moves
    }
}

/// Runs one order of events; gives the files in the end, the round of the last move, and how often
/// an agent stood back.
fn run(seed: u64) -> (Vec<File>, usize, usize) {
    let mut random = Random(seed);
    let mut now = Instant::now();
    let begin = File {
        generation: Generation::NONE,
        active: NODES[random.below(2)],
    };
    let mut files = vec![begin; 1 + random.below(5)];
    let mut agents = NODES.map(|own| Agent::new(own, files.len(), now));
    for agent in &mut agents {
        for (number, file) in files.iter_mut().enumerate() {
            agent.work(number, file);
        }
    }
    // The link breaks for both, but they find out one after the other.
    let first = random.below(2);
    agents[first].lose_the_other(now);
    let lag = random.below(30);
    let mut last_move = 0;
    for round in 0..ROUNDS {
        if round == lag {
            agents[1 - first].lose_the_other(now);
        }
        now += Duration::from_millis(100);
        let agent = random.below(2);
        let number = random.below(files.len());
        agents[agent].act(now);
        if agents[agent].work(number, &mut files[number]) {
            last_move = round;
        }
    }
    let stood_back = agents.iter().map(|agent| agent.stood_back).sum();
    (files, last_move, stood_back)
}

#[test]
fn fault_8_when_the_nodes_are_cut_off_the_fleet_ends_on_one_of_them_and_stays_there() {
    let mut contested = 0;
    for seed in 1..=2_000 {
        let (files, last_move, stood_back) = run(seed);
        assert!(
            files.iter().all(|file| file.active == files[0].active),
            "seed {seed}: {files:?}"
        );
        assert!(
            last_move < ROUNDS / 2,
            "seed {seed}: still moved in {last_move}"
        );
        contested += usize::from(stood_back > 0);
    }
    assert!(contested > 100, "the agents met in {contested} orders only");
}
