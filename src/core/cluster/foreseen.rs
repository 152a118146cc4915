//! The decisions that would be made if a node failed now, so that workers can prepare for them.

use super::Cluster;
use crate::core::node::Fault;
use crate::core::plan::Decision;

impl Cluster {
    /// One for each node whose failure is this agent's affair, with the number that the decision
    /// would really get. Nothing before every PgBouncer was looked at or tried: the number is above
    /// all that their files carry, and what is prepared for a lower one is of no use.
    ///
    /// How the node fails is not known, and a file does not depend on it.
    pub(super) fn foreseen(&self) -> Vec<Decision> {
        if self.has_unseen() {
            return Vec::new();
        }
        let nodes = self.members.ids().filter(|node| self.is_watched(*node));
        let decision = |failed| {
            let active = self.members.heir(failed)?;
            Some(Decision {
                generation: self.next_generation(active),
                failed,
                active,
                fault: Fault::Crash,
            })
        };
        nodes.filter_map(decision).collect()
    }
}
