//! The task of one node: probes it when its monitor ([`crate::core::node`]) says so, and says in
//! the log what it finds, as repmgrd does.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::config::{Monitoring, Node, NodeId};
use crate::core::node::{Health, Monitor, Transition};
use crate::edge::postgres::probe;

/// What a probe changed.
#[derive(Debug)]
pub(super) struct Probed {
    /// Which node.
    pub(super) node: NodeId,
    /// What is believed of it now.
    pub(super) health: Health,
    /// It answers again and had not counted as down: since its first failed probe.
    pub(super) reconnected: Option<Duration>,
}

/// Watches a node until nobody listens any more. While `wanted` says no, it is not probed, and
/// nothing is believed of it.
pub(super) async fn watch(
    node: Node,
    settings: Monitoring,
    mut wanted: watch::Receiver<bool>,
    probes: mpsc::Sender<Probed>,
) {
    let mut monitor = Monitor::new(settings, Instant::now());
    let mut session = None;
    while !probes.is_closed() {
        tokio::time::sleep_until(monitor.next_probe().into()).await;
        if !*wanted.borrow_and_update() {
            session = None;
            let unknown = Probed {
                node: node.node_id,
                health: Health::Unknown,
                reconnected: None,
            };
            if probes.send(unknown).await.is_err() || wanted.changed().await.is_err() {
                return;
            }
            monitor = Monitor::new(settings, Instant::now());
            continue;
        }
        say_attempt(&node, monitor.health(), settings);
        let started = Instant::now();
        let found = probe(&node.conninfo, &mut session).await;
        tracing::trace!(node = node.node_name, ?found, "probe");
        let transition = monitor.handle(found, started, Instant::now());
        if let Some(transition) = &transition {
            say(&node, monitor.health(), transition, settings);
        }
        let mut reconnected = None;
        if let Some(Transition::CameUp { was_down, after }) = transition {
            reconnected = after.filter(|_| !was_down);
        }
        let probed = Probed {
            node: node.node_id,
            health: monitor.health().clone(),
            reconnected,
        };
        if probes.send(probed).await.is_err() {
            return;
        }
    }
}

/// The probe that follows is one of the tries.
fn say_attempt(node: &Node, health: &Health, settings: Monitoring) {
    if let Health::Suspect { attempt, .. } = health {
        let (id, of) = (node.node_id, settings.reconnect_attempts);
        let attempt = attempt + 1;
        tracing::info!("checking state of node {id}, {attempt} of {of} attempts");
    }
}

fn say(node: &Node, health: &Health, transition: &Transition, settings: Monitoring) {
    let (name, id) = (&node.node_name, node.node_id);
    let of = settings.reconnect_attempts;
    match (transition, health) {
        (
            Transition::CameUp {
                was_down: false,
                after: None,
            },
            _,
        ) => {
            tracing::info!("monitoring node {name:?} (ID: {id})");
        }
        (Transition::CameUp { after, .. }, _) => {
            let seconds = after.unwrap_or_default().as_secs_f64();
            tracing::info!("node {name:?} (ID: {id}) answers again after {seconds:.1} s");
        }
        (Transition::BecameSuspect, Health::Suspect { reason, .. }) => {
            tracing::warn!(reason, "unable to connect to node {name:?} (ID {id})");
        }
        (Transition::StillSuspect, Health::Suspect { reason, .. }) => {
            let seconds = settings.reconnect_interval.as_secs_f64();
            tracing::info!(
                reason,
                "sleeping {seconds} seconds until next reconnection attempt"
            );
        }
        (Transition::WentDown, Health::Down { reason, fault, .. }) => {
            tracing::warn!(reason, %fault, "unable to reconnect to node {id} after {of} attempts");
        }
        (Transition::BeganToRefuse, Health::Refusing { reason }) => {
            tracing::warn!(
                reason,
                "node {name:?} (ID: {id}) is alive but refuses repoint; nothing is moved for that, \
                 and nothing is moved there"
            );
        }
        (
            Transition::BecameSuspect
            | Transition::StillSuspect
            | Transition::WentDown
            | Transition::BeganToRefuse,
            _,
        ) => {}
    }
}
