//! An agent: the real cluster, a task for each PgBouncer, and what it sees of the nodes.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use repoint::config::{Drift, Monitoring, NodeId, Quorum, Reconciliation};
use repoint::core::agreement::{Agreement, Rules, Standing};
use repoint::core::cluster::Cluster;
use repoint::core::node::{Fault, Health};
use repoint::core::routing::Routing;
use repoint::core::worker::{Assignment, Worker};

use super::NODES;
use super::clock::Clock;
use super::random::Random;
use super::task::Task;
use super::ways::Ways;

pub(crate) const ROUND: Duration = Duration::from_millis(500);
pub(crate) const COOLDOWN: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Agent {
    pub(crate) cluster: Cluster,
    pub(crate) tasks: Vec<Polled>,
    /// What the tasks were told last.
    pub(crate) assignment: Assignment,
    /// Which nodes it reaches itself.
    pub(crate) reaches: [bool; 2],
    pub(crate) asleep_until: Duration,
    pub(crate) acts: usize,
    /// Counts its lives: what was sent to one before is not for it.
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    /// When it has something to do although nothing comes.
    pub(crate) wake: Duration,
}

/// What all agents of a world have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) quorum: Quorum,
    pub(crate) hosts: usize,
    pub(crate) pauses: bool,
}

/// A task, as far as the world has to do with it.
pub(crate) struct Polled {
    pub(crate) ways: Ways,
    future: Pin<Box<dyn Future<Output = ()>>>,
    /// Whether there is something new for it.
    pub(crate) dirty: bool,
}

impl Polled {
    fn new(ways: Ways, task: Task) -> Self {
        Self {
            ways,
            future: Box::pin(task.run()),
            dirty: true,
        }
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        self.dirty = false;
        {
            let mut mailbox = self.ways.0.borrow_mut();
            mailbox.now = now;
            mailbox.wake = None;
        }
        let mut context = Context::from_waker(Waker::noop());
        let ended = self.future.as_mut().poll(&mut context).is_ready();
        assert!(!ended, "a task has no end");
    }

    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        self.ways.0.borrow().wake
    }
}

/// Its own node's number among agents; a third agent is one of another kind.
fn own(number: usize) -> NodeId {
    NodeId(u32::try_from(number + 1).expect("few agents"))
}

fn cluster(number: usize, setting: Setting, now: Instant) -> Cluster {
    let names = || (0..setting.hosts).map(|host| host.to_string());
    let monitoring = Monitoring {
        monitor_interval: SECOND,
        reconnect_attempts: 1,
        reconnect_interval: SECOND,
        recovery_timeout: 30 * SECOND,
        local_only: false,
    };
    let rules = Rules {
        own: own(number),
        quorum: setting.quorum,
        cooldown: COOLDOWN,
        round_limit: ROUND,
        again_after: Duration::from_millis(500),
        interval: 2 * SECOND,
    };
    let voters = names().map(|name| (name, Standing::Voter));
    Cluster::new(NODES[number % 2], NODES, names(), monitoring)
        .reconciling(Reconciliation {
            interval: 2 * SECOND,
            drift: Drift::Repair,
        })
        .agreeing(Agreement::new(rules, voters, now))
}

impl Agent {
    pub(crate) fn new(
        number: usize,
        life: u64,
        setting: Setting,
        routing: &Routing,
        (start, now): (Instant, Duration),
        random: &mut Random,
    ) -> Self {
        let clock = Clock::new(random);
        let local = start + clock.at(now);
        let votes = setting.quorum != Quorum::None;
        let tasks = (0..setting.hosts).map(|host| {
            let ways = Ways::new(local, Random::new(random.below(1 << 30)));
            let worker = Worker::new(routing.clone(), local).with_ledger(votes);
            let own = own(number);
            let task = Task::new(ways.clone(), worker, own, life, host, setting.pauses);
            Polled::new(ways, task)
        });
        Self {
            tasks: tasks.collect(),
            cluster: cluster(number, setting, local),
            assignment: Assignment::default(),
            reaches: [true; 2],
            asleep_until: Duration::ZERO,
            acts: 0,
            life,
            clock,
            wake: now,
        }
    }

    /// Tells the tasks what is to be reached, if that is news.
    pub(crate) fn assign(&mut self) {
        let assignment = self.cluster.assignment();
        if assignment == self.assignment {
            return;
        }
        for task in &mut self.tasks {
            task.ways.0.borrow_mut().assignment = Some(assignment.clone());
            task.dirty = true;
        }
        self.assignment = assignment;
    }

    pub(crate) fn wakes_at(&self, start: Instant) -> Duration {
        let tasks = self.tasks.iter().filter_map(Polled::wakes_at);
        let next = tasks.chain(self.cluster.wake_at()).min();
        let at = next.map(|at| self.clock.shows(at.saturating_duration_since(start)));
        at.unwrap_or(Duration::MAX).max(self.asleep_until)
    }
}

pub(crate) fn health(reached: bool, failures: usize, since: Instant) -> Health {
    match reached {
        true => Health::Up {
            identity: failures.to_string(),
        },
        false => Health::Down {
            fault: Fault::Crash,
            reason: "no answer".to_owned(),
            since,
        },
    }
}
