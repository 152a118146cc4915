//! What is remembered of each node: its health, whether its failure was dealt with, whether it is
//! marked active. Decides which node is available, and when a returned one is to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

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
    /// Since when it answers again without having recovered.
    returned_at: Option<Instant>,
    /// Why the last look at its replication did not do.
    pending: Option<String>,
    /// How often it was said that it does not replicate.
    warnings: u32,
}

impl Member {
    fn forget_return(&mut self) {
        self.returned_at = None;
        self.pending = None;
        self.warnings = 0;
    }

    /// When it is to be said (again) that it does not replicate. Without a time-out, once.
    fn warn_at(&self, timeout: Duration) -> Option<Instant> {
        self.pending.as_ref()?;
        if timeout.is_zero() && self.warnings > 0 {
            return None;
        }
        let waited = timeout.saturating_mul(self.warnings.saturating_add(1));
        self.returned_at?.checked_add(waited)
    }
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
            returned_at: None,
            pending: None,
            warnings: 0,
        };
        let nodes = nodes.into_iter();
        Self(nodes.map(|node| (node, unknown.clone())).collect())
    }

    /// A node was probed at `now`; when it has come back, its replication is looked at `grace`
    /// later.
    pub(super) fn observed(&mut self, node: NodeId, health: Health, now: Instant, grace: Duration) {
        let Some(member) = self.0.get_mut(&node) else {
            return;
        };
        let was_down = matches!(member.health, Health::Down { .. });
        let came_up = is_up(&health) && !is_up(&member.health);
        match &health {
            Health::Down { .. } => {
                member.inactive = true;
                member.forget_return();
            }
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
            member.check_at = Some(now + grace);
            member.returned_at = Some(now);
        }
        member.health = health;
    }

    /// The row of `node`, read on the node `on`, says that it is not active. `true`: that is news.
    /// A node that was away itself does not know how the other fared meanwhile.
    pub(super) fn found_inactive(&mut self, node: NodeId, on: NodeId, now: Instant) -> bool {
        if node != on && self.is_inactive(on) {
            return false;
        }
        let Some(member) = self.0.get_mut(&node) else {
            return false;
        };
        let news = !std::mem::replace(&mut member.inactive, true);
        if member.returned_at.is_none() {
            member.check_at.get_or_insert(now);
        }
        if is_up(&member.health) {
            member.returned_at.get_or_insert(now);
        }
        news
    }

    /// Traffic goes there: whatever its row says, it is active.
    pub(super) fn used(&mut self, node: NodeId) {
        if let Some(member) = self.0.get_mut(&node) {
            member.inactive = false;
            member.check_at = None;
            member.forget_return();
        }
    }

    pub(super) fn is_inactive(&self, node: NodeId) -> bool {
        self.0.get(&node).is_some_and(|member| member.inactive)
    }

    /// Since when a node answers again without having recovered.
    pub(super) fn returned_at(&self, node: NodeId) -> Option<Instant> {
        self.0.get(&node)?.returned_at
    }

    /// Nodes that are not as they should be: down, or not marked active.
    pub(super) fn degraded(&self) -> Vec<NodeId> {
        let degraded = self.0.iter().filter(|(_, member)| member.inactive);
        degraded.map(|(id, _)| *id).collect()
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
        match result {
            Recovery::Recovered => {
                member.inactive = matches!(member.health, Health::Down { .. });
                member.forget_return();
            }
            Recovery::Pending(why) => member.pending = Some(why.clone()),
        }
    }

    /// When there may be something to do about a returned node.
    pub(super) fn checks(&self, timeout: Duration) -> impl Iterator<Item = Instant> + '_ {
        // A look that cannot be taken yet waits for a probe of one of the nodes, not for a time.
        let times = move |(id, member): (&NodeId, &Member)| {
            let check_at = member.check_at.filter(|_| self.can_look(*id, member));
            [check_at, member.warn_at(timeout)]
        };
        self.0.iter().flat_map(times).flatten()
    }

    /// Whether a node's replication is to be looked at, and can be: it takes both nodes.
    fn can_look(&self, node: NodeId, member: &Member) -> bool {
        member.inactive && is_up(&member.health) && self.candidate(node).is_some()
    }

    /// A node that has been back for one more `timeout` and does not replicate.
    pub(super) fn late(&mut self, timeout: Duration, now: Instant) -> Option<Action> {
        for (node, member) in &mut self.0 {
            let due = member.warn_at(timeout).is_some_and(|at| now >= at);
            if let (true, Some(since), Some(why)) = (due, member.returned_at, &member.pending) {
                member.warnings = member.warnings.saturating_add(1);
                return Some(Action::NotReplicating {
                    node: *node,
                    waited: now.saturating_duration_since(since),
                    why: why.clone(),
                });
            }
        }
        None
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

    pub(super) fn are_all_down(&self) -> bool {
        !self.0.is_empty() && self.down().len() == self.0.len()
    }

    /// Nodes whose last probe was answered, if only with a refusal.
    pub(super) fn alive(&self) -> BTreeSet<NodeId> {
        let answers =
            |health: &Health| matches!(health, Health::Up { .. } | Health::Refusing { .. });
        let alive = self.0.iter().filter(|(_, member)| answers(&member.health));
        alive.map(|(id, _)| *id).collect()
    }

    /// Whether nothing is known yet of some other node.
    pub(super) fn is_other_unknown(&self, node: NodeId) -> bool {
        let unknown = |member: &Member| matches!(member.health, Health::Unknown);
        let mut others = self.0.iter().filter(|(id, _)| **id != node);
        others.any(|(_, member)| unknown(member))
    }

    /// Nodes that are suspect or down.
    pub(super) fn failing(&self) -> impl Iterator<Item = NodeId> {
        let ids = self.0.keys().copied();
        ids.filter(|node| self.is_failing(*node))
    }

    /// Whether a node is suspect or down.
    pub(super) fn is_failing(&self, node: NodeId) -> bool {
        let failing =
            |health: &Health| matches!(health, Health::Suspect { .. } | Health::Down { .. });
        self.0
            .get(&node)
            .is_some_and(|member| failing(&member.health))
    }

    /// Whether the last probe was answered.
    pub(super) fn is_healthy(&self, node: NodeId) -> bool {
        self.0
            .get(&node)
            .is_some_and(|member| is_up(&member.health))
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

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.keys().copied()
    }

    /// The node that would be next, were `failed` to fail: as [`Members::candidate`], but one that
    /// is not in trouble will do, because it is probed before anybody is sent there.
    pub(super) fn heir(&self, failed: NodeId) -> Option<NodeId> {
        let others = self.0.iter();
        let others = others.filter(|(id, _)| **id != failed && !self.is_failing(**id));
        others
            .min_by_key(|(id, member)| (!is_up(&member.health), member.inactive, **id))
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
        let due = |(id, member): &(&NodeId, &Member)| {
            member.check_at.is_some_and(|at| now >= at) && self.can_look(**id, member)
        };
        let node = *self.0.iter().find(due)?.0;
        let on = self.candidate(node)?;
        // Asked again when the answer is there.
        self.0.get_mut(&node)?.check_at = None;
        Some(Action::CheckRecovery { node, on })
    }
}

fn is_up(health: &Health) -> bool {
    matches!(health, Health::Up { .. })
}
