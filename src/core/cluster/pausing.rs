//! How the cluster honours a pause: what it keeps back, and what goes on.
//!
//! A failure during a pause is kept as an incident that nobody claims. Nothing is decided about it;
//! what was decided before, by this agent or by the other, is brought to its end.

use super::{Action, Cluster, Phase};
use crate::config::NodeId;
use crate::core::node::Health;
use crate::core::pause::{Pause, Pauses};

impl Cluster {
    /// Pauses were read on a node; gives what is news for people.
    pub fn pauses_read(&mut self, copy: &[Pause]) -> Vec<Pause> {
        self.pauses.learn(copy)
    }

    /// The pauses that are known.
    #[must_use]
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// The pause that keeps the present failure from being acted upon.
    pub(super) fn held_back_by(&self) -> Option<&Pause> {
        let incident = self.incident.as_ref()?;
        let acting = matches!(incident.phase, Phase::Acting { .. });
        if acting || incident.announced || self.followed() {
            return None;
        }
        self.pauses.on(incident.failed)
    }

    /// Whether all nodes are down, and that is to be acted upon.
    pub(super) fn none_left(&self) -> bool {
        let down = self.members.down();
        let paused = down.iter().any(|(node, _)| self.pauses.on(*node).is_some());
        self.members.are_all_down() && !paused
    }

    /// A node that was back and fails again in a pause is another failure, which nothing is done
    /// about, even while a decision about the first one was still being seen through.
    pub(super) fn leave_failure_in_pause(&mut self, node: NodeId, health: &Health) {
        let fails = matches!(health, Health::Down { .. }) && self.pauses.on(node).is_some();
        self.incident.take_if(|incident| {
            // The answer to a request for the claim is awaited first.
            let asks = matches!(incident.phase, Phase::Claiming { .. });
            fails && incident.failed == node && incident.returned && !asks
        });
    }

    /// Says once for each pause that a failure is not acted upon.
    pub(super) fn tell_paused(&mut self, pause: Pause) -> Option<Action> {
        let incident = self.incident.as_mut()?;
        let told = std::mem::replace(&mut incident.told_pause, pause.change);
        let failed = incident.failed;
        (told != pause.change).then_some(Action::Paused { failed, pause })
    }
}
