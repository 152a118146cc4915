//! Which node's clients may be made to wait before anything is decided.

use super::Cluster;
use crate::config::NodeId;

impl Cluster {
    /// A node that is suspect, or down and not dealt with: somebody may decide about it within
    /// moments. Not without a live node to go to, nor while an operator holds failover back.
    pub(super) fn suspect(&self) -> Option<NodeId> {
        let may_be_left = |node: &NodeId| {
            self.is_watched(*node)
                && self.pauses.on(*node).is_none()
                && self.members.candidate(*node).is_some()
                && !self
                    .members
                    .is_dealt_with(*node, || self.serves_again(*node))
        };
        self.members.failing().find(may_be_left)
    }
}
