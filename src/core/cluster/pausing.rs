//! How the cluster honours a pause: what it keeps back, and what goes on.
//!
//! A failure during a pause is kept as an incident that nobody claims. Nothing is decided about it;
//! what was decided before, by this agent or by the other, is brought to its end.

use super::{Action, Cluster, Phase};
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

    /// Says once for each pause that a failure is not acted upon.
    pub(super) fn tell_paused(&mut self, pause: Pause) -> Option<Action> {
        let incident = self.incident.as_mut()?;
        let told = std::mem::replace(&mut incident.told_pause, pause.change);
        let failed = incident.failed;
        (told != pause.change).then_some(Action::Paused { failed, pause })
    }
}
