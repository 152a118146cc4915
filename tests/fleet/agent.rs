//! An agent: the real cluster, what it sees of the nodes, and what it waits for.

use std::time::{Duration, Instant};

use repoint::config::{Monitoring, NodeId, Quorum, Reconciliation};
use repoint::core::agreement::{Agreement, Rules, Standing};
use repoint::core::cluster::Cluster;
use repoint::core::node::{Fault, Health};

pub(crate) const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];
pub(crate) const ROUND: Duration = Duration::from_millis(500);
pub(crate) const COOLDOWN: Duration = Duration::from_secs(5);

pub(crate) fn index(node: NodeId) -> usize {
    usize::from(node != NODES[0])
}

pub(crate) struct Agent {
    pub(crate) cluster: Cluster,
    /// Which nodes it reaches itself.
    pub(crate) reaches: [bool; 2],
    pub(crate) asleep_until: Duration,
    pub(crate) requests: usize,
    /// Counts its lives: what was sent to one before is not for it.
    pub(crate) life: u64,
}

/// Its own node; a third agent is one of another kind that shares node 1's view.
pub(crate) fn own(number: usize) -> NodeId {
    NodeId(u32::try_from(number + 1).expect("few agents"))
}

pub(crate) fn cluster(number: usize, hosts: usize, quorum: Quorum, now: Instant) -> Cluster {
    let names = || (0..hosts).map(|host| host.to_string());
    let second = Duration::from_secs(1);
    let monitoring = Monitoring {
        monitor_interval: second,
        reconnect_attempts: 1,
        reconnect_interval: second,
        recovery_timeout: 30 * second,
        local_only: false,
    };
    let rules = Rules {
        own: own(number),
        quorum,
        cooldown: COOLDOWN,
        round_limit: ROUND,
        again_after: Duration::from_millis(500),
        interval: Duration::from_secs(2),
    };
    let voters = names().map(|name| (name, Standing::Voter));
    Cluster::new(NODES[number % 2], NODES, names(), monitoring)
        .reconciling(Reconciliation {
            interval: 2 * second,
            drift: repoint::config::Drift::Repair,
        })
        .agreeing(Agreement::new(rules, voters, now))
}

pub(crate) fn health(reached: bool, since: Instant) -> Health {
    match reached {
        true => Health::Up {
            identity: String::new(),
        },
        false => Health::Down {
            fault: Fault::Crash,
            reason: "no answer".to_owned(),
            since,
        },
    }
}
