//! What is remembered of each node: its health, whether its failure was dealt with, whether it is
//! marked active. Decides which node is available, and when a returned one is to be looked at.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Action, Recovery};
use crate::config::NodeId;
use crate::core::node::{Fault, Health};

#[derive(Debug, Clone)]
struct Member {
    health: Health,
    /// Its failure was dealt with.
    handled: bool,
    /// Another agent decided later that traffic goes there: until it answers again, not our affair.
    stood_back: bool,
    told_no_candidate: bool,
    /// Not marked active: it was down, or its row says so.
    inactive: bool,
    check_at: Option<Instant>,
}

/// Both nodes.
#[derive(Debug, Clone)]
pub(super) struct Members(BTreeMap<NodeId, Member>);

impl Members {
    pub(super) fn new(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let unknown = Member {
            health: Health::Unknown,
            handled: false,
            stood_back: false,
            told_no_candidate: false,
            inactive: false,
            check_at: None,
        };
        let nodes = nodes.into_iter();
        Self(nodes.map(|node| (node, unknown.clone())).collect())
    }

    /// A node was probed; when it has come back, its replication is looked at from `check_at` on.
    pub(super) fn observed(&mut self, node: NodeId, health: Health, check_at: Instant) {
        let Some(member) = self.0.get_mut(&node) else {
            return;
        };
        let was_down = matches!(member.health, Health::Down { .. });
        let came_up = is_up(&health) && !is_up(&member.health);
        match &health {
            Health::Down { .. } => member.inactive = true,
            Health::Up { .. } | Health::Refusing { .. } if was_down => {
                member.handled = false;
                member.stood_back = false;
                member.told_no_candidate = false;
            }
            Health::Unknown
            | Health::Up { .. }
            | Health::Refusing { .. }
            | Health::Suspect { .. } => {}
        }
        if came_up && member.inactive {
            member.check_at = Some(check_at);
        }
        member.health = health;
    }

    pub(super) fn found_inactive(&mut self, node: NodeId, now: Instant) {
        if let Some(member) = self.0.get_mut(&node) {
            member.inactive = true;
            member.check_at.get_or_insert(now);
        }
    }

    /// A look at a returned node's replication ended; if it does not run, the next is at `again`.
    pub(super) fn checked(&mut self, node: NodeId, result: &Recovery, again: Instant) {
        let Some(member) = self.0.get_mut(&node) else {
            return;
        };
        member.check_at = match result {
            Recovery::Recovered => None,
            Recovery::Pending(_) => Some(again),
        };
        if *result == Recovery::Recovered {
            member.inactive = matches!(member.health, Health::Down { .. });
        }
    }

    pub(super) fn checks(&self) -> impl Iterator<Item = Instant> {
        self.0.values().filter_map(|member| member.check_at)
    }

    pub(super) fn in_doubt(&self) -> bool {
        let suspect = |member: &Member| matches!(member.health, Health::Suspect { .. });
        self.0.values().any(suspect)
    }

    pub(super) fn down(&self) -> Vec<(NodeId, Fault)> {
        let down = |(id, member): (&NodeId, &Member)| match member.health {
            Health::Down { fault, .. } => Some((*id, fault)),
            Health::Unknown
            | Health::Up { .. }
            | Health::Refusing { .. }
            | Health::Suspect { .. } => None,
        };
        self.0.iter().filter_map(down).collect()
    }

    pub(super) fn is_down(&self, node: NodeId) -> bool {
        self.down().iter().any(|(id, _)| *id == node)
    }

    /// The next available node: one whose last probe was answered, rather one that is active.
    pub(super) fn candidate(&self, failed: NodeId) -> Option<NodeId> {
        let up = self.0.iter();
        let up = up.filter(|(id, member)| **id != failed && is_up(&member.health));
        up.min_by_key(|(id, member)| (member.inactive, **id))
            .map(|(id, _)| *id)
    }

    /// Whether nothing is to be done about the failure of a node, unless PgBouncers serve it again.
    pub(super) fn is_dealt_with(&self, node: NodeId, serves_again: impl Fn() -> bool) -> bool {
        self.0
            .get(&node)
            .is_none_or(|member| member.stood_back || (member.handled && !serves_again()))
    }

    pub(super) fn deal_with(&mut self, node: NodeId) {
        if let Some(member) = self.0.get_mut(&node) {
            member.handled = true;
        }
    }

    pub(super) fn stand_back(&mut self, node: NodeId) {
        if let Some(member) = self.0.get_mut(&node) {
            member.stood_back = true;
        }
    }

    /// Whether it is still to be said that there is no other node; it is then said.
    pub(super) fn tell_no_candidate(&mut self, node: NodeId) -> bool {
        let member = self.0.get_mut(&node);
        member.is_some_and(|member| !std::mem::replace(&mut member.told_no_candidate, true))
    }

    /// A returned node whose replication is to be looked at now.
    pub(super) fn due_recovery(&mut self, now: Instant) -> Option<Action> {
        let due = |member: &Member| member.inactive && member.check_at.is_some_and(|at| now >= at);
        let returned = |(_, member): &(&NodeId, &Member)| due(member) && is_up(&member.health);
        let node = *self.0.iter().find(returned)?.0;
        let other = |(id, member): &(&NodeId, &Member)| **id != node && is_up(&member.health);
        let on = *self.0.iter().find(other)?.0;
        // Asked again when the answer is there.
        self.0.get_mut(&node)?.check_at = None;
        Some(Action::CheckRecovery { node, on })
    }
}

fn is_up(health: &Health) -> bool {
    matches!(health, Health::Up { .. })
}
