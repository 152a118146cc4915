//! No node is left: entries are disabled, if the configuration says so, so that new clients get an
//! error at once. They are enabled again by the next redirect, or here, when a node that they lead
//! to is back.
//!
//! Every agent does it for itself: without a node there is no claim to be had. What was disabled is
//! on record on the host, so that any agent can undo it.

use std::time::{Duration, Instant};

use super::Worker;
use crate::config::WithoutNode;
use crate::core::debt::Debt;
use crate::core::pooler::Observation;

/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(1);

/// What is remembered of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Disabling {
    policy: WithoutNode,
    /// It was done since no node is left, and PgBouncer has not been restarted since: an entry that
    /// is enabled all the same was enabled by somebody else, and stays so.
    done: bool,
    not_before: Option<Instant>,
}

impl Disabling {
    pub(super) fn assigned(&mut self, none_left: bool) {
        if !none_left {
            self.forget();
        }
    }

    /// Also after every connection: PgBouncer may have been restarted, which forgets what was
    /// disabled.
    pub(super) fn forget(&mut self) {
        self.done = false;
        self.not_before = None;
    }
}

impl Worker {
    /// What clients meet while no node is left.
    #[must_use]
    pub fn without_node(mut self, policy: WithoutNode) -> Self {
        self.disabling.policy = policy;
        self
    }

    /// An attempt to disable the entries ended; `done`: it need not be repeated.
    pub fn disabled(&mut self, done: bool, now: Instant) {
        self.disabling.done = done;
        self.disabling.not_before = Some(now + AGAIN);
        // What is on record now, and what is disabled, is told by a fresh look.
        self.observation = None;
    }

    pub(super) fn disables(&self, observation: &Observation, now: Instant) -> bool {
        let Disabling {
            policy,
            done,
            not_before,
        } = self.disabling;
        policy == WithoutNode::Disable
            && self.assignment.none_left
            && !done
            && not_before.is_none_or(|at| now >= at)
            && self.routing.names().any(|name| {
                let mut processes = observation.processes.iter();
                processes.any(|process| process.entries.contains_key(name))
            })
    }

    /// Whether what an operation owes can be paid now: an entry that was disabled is enabled when
    /// the node that it leads to is there.
    pub(super) fn may_enable(&self, debt: &Debt, observation: &Observation) -> bool {
        let alive = &self.assignment.alive;
        debt.disabled.iter().all(|name| {
            let nodes = observation.nodes_of(name, &self.routing);
            match nodes.is_empty() {
                true => !alive.is_empty(),
                false => !nodes.is_disjoint(alive),
            }
        })
    }

    /// Whether an entry of ours is disabled, and the record on the host is older than that.
    pub(super) fn is_record_needed(&self, observation: &Observation) -> bool {
        let entries = observation.processes.iter().flat_map(|p| &p.entries);
        let mut ours = entries.filter(|(name, _)| self.routing.has(name));
        ours.any(|(_, entry)| entry.disabled) && self.file_looked != self.looked
    }

    /// When there is something to do although nothing was seen.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let waits = self.assignment.none_left && !self.disabling.done;
        let disabling = self.disabling.not_before.filter(|_| waits);
        let times = [disabling, self.stamping.not_before()];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::{NODE1, NODE2, World, acting, at, decision};
    use super::super::{Assignment, Do};
    use super::*;
    use crate::core::pooler::Operation;

    fn none_left() -> Assignment {
        Assignment {
            none_left: true,
            ..Assignment::default()
        }
    }

    fn alive(node: crate::config::NodeId) -> Assignment {
        Assignment {
            alive: [node].into(),
            ..Assignment::default()
        }
    }

    fn world(policy: WithoutNode, observation: Observation) -> World {
        let mut world = World::seen(observation);
        world.worker = world.worker.without_node(policy);
        world
    }

    fn disabled(mut observation: Observation, on_record: bool) -> Observation {
        for process in &mut observation.processes {
            let entries = process.entries.values_mut();
            entries.for_each(|entry| entry.disabled = true);
        }
        observation.file.operation = on_record.then(|| Operation {
            token: "2-77-1-0".to_owned(),
            expired: true,
            debt: Debt {
                disabled: ["app".to_owned()].into(),
                ..Debt::default()
            },
        });
        observation
    }

    #[test]
    fn entries_are_disabled_while_no_node_is_left_if_the_configuration_says_so() {
        for (policy, expected) in [(WithoutNode::Disable, true), (WithoutNode::Leave, false)] {
            let mut world = world(policy, at(NODE2, 0));
            assert_ne!(world.next(), Do::Disable);
            world.worker.assign(none_left(), world.now);
            assert_eq!(world.next() == Do::Disable, expected, "{policy:?}");
        }
    }

    #[test]
    fn it_is_done_once_and_again_after_every_connection_and_every_return_of_a_node() {
        let mut world = world(WithoutNode::Disable, at(NODE2, 0));
        world.worker.assign(none_left(), world.now);
        world.worker.disabled(true, world.now);
        // Somebody has enabled it: that is respected.
        world.worker.observed(at(NODE2, 0), true, world.now);
        assert!(matches!(world.next(), Do::Wait(_)));
        world
            .worker
            .disconnected("x".into(), Duration::ZERO, world.now);
        world.worker.connected();
        world.worker.observed(at(NODE2, 0), true, world.now);
        assert_eq!(world.next(), Do::Disable);
        world.worker.disabled(true, world.now);
        world.worker.assign(alive(NODE2), world.now);
        world.worker.assign(none_left(), world.now);
        world.worker.observed(at(NODE2, 0), true, world.now);
        assert_eq!(world.next(), Do::Disable);
    }

    #[test]
    fn what_cannot_be_done_now_is_tried_again_later() {
        let mut world = world(WithoutNode::Disable, at(NODE2, 0));
        world.worker.assign(none_left(), world.now);
        world.worker.disabled(false, world.now);
        world.worker.observed(at(NODE2, 0), true, world.now);
        assert_eq!(world.next(), Do::Wait(world.now + AGAIN));
        world.now += AGAIN;
        assert_eq!(world.next(), Do::Disable);
    }

    #[test]
    fn what_is_on_record_is_enabled_when_the_node_is_alive_that_it_leads_to_and_not_before() {
        let observation = disabled(at(NODE2, 0), true);
        let mut world = world(WithoutNode::Disable, observation.clone());
        let resolves = |world: &World| matches!(world.next(), Do::Resolve { .. });
        assert!(!resolves(&world), "nothing is known of any node");
        for (assignment, expected) in [
            (none_left(), false),
            (alive(NODE1), false),
            (alive(NODE2), true),
        ] {
            world.worker.assign(assignment, world.now);
            world.worker.disabled(true, world.now);
            world.worker.observed(observation.clone(), true, world.now);
            assert_eq!(resolves(&world), expected);
        }
    }

    #[test]
    fn what_is_not_on_record_is_an_operators() {
        let mut world = world(WithoutNode::Disable, disabled(at(NODE2, 0), false));
        world.worker.assign(alive(NODE2), world.now);
        assert!(matches!(world.next(), Do::Wait(_)));
    }

    #[test]
    fn a_redirect_of_a_disabled_entry_reads_the_record_first() {
        let mut world = world(WithoutNode::Disable, at(NODE2, 0));
        world.worker.assign(acting(decision(1)), world.now);
        world.now += Duration::from_millis(1);
        let observation = disabled(at(NODE2, 0), false);
        world.worker.observed(observation, false, world.now);
        assert_eq!(world.next(), Do::Look { file: true });
        let observation = disabled(at(NODE2, 0), true);
        world.worker.observed(observation.clone(), true, world.now);
        assert!(matches!(world.next(), Do::Redirect { .. }));
        let names = super::super::left_disabled(&observation);
        assert_eq!(names, BTreeSet::from(["app".to_owned()]));
    }
}
