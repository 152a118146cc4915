//! One failure, from the moment when it is found until everything that follows from it is done.

use std::collections::BTreeSet;
use std::mem::Discriminant;
use std::time::Instant;

use crate::config::NodeId;
use crate::core::agreement::Obstacle;
use crate::core::node::{Fault, Health};
use crate::core::plan::Decision;
use crate::generation::Generation;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Unclaimed {
        retry_at: Instant,
    },
    Claiming {
        on: NodeId,
    },
    /// Witnesses are asked whether traffic is to go there.
    Agreeing {
        on: NodeId,
    },
    Acting {
        decision: Decision,
        reported: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Incident {
    pub(super) failed: NodeId,
    pub(super) fault: Fault,
    /// The highest generation before it began: a higher one is another agent's decision about it.
    pub(super) before: Generation,
    pub(super) begun: Instant,
    /// PgBouncers that were looked at since it began, or were known then. A later decision in the
    /// file of another one may be older than the failure.
    pub(super) known: BTreeSet<String>,
    pub(super) announced: bool,
    /// The failed node has been back since it was announced: its next failure is told again.
    pub(super) returned: bool,
    /// Whether something pointed at the failed node, or may have, or at none, when the claim was
    /// granted. It stays so when the claim is lost and granted again: what was told is seen
    /// through.
    pub(super) news: bool,
    pub(super) held_by_other: bool,
    /// Since when the claim is known to be another agent's.
    pub(super) held_since: Option<Instant>,
    /// Why nothing was agreed, as it was said last.
    pub(super) told_obstacle: Option<Discriminant<Obstacle>>,
    pub(super) told_stand_by: bool,
    /// The change of the pause of which was said that it keeps the failure from being acted upon.
    pub(super) told_pause: i64,
    pub(super) phase: Phase,
}

impl Incident {
    pub(super) fn new(
        failed: NodeId,
        fault: Fault,
        before: Generation,
        known: BTreeSet<String>,
        begun: Instant,
    ) -> Self {
        Self {
            failed,
            fault,
            before,
            begun,
            known,
            announced: false,
            returned: false,
            news: false,
            held_by_other: false,
            held_since: None,
            told_obstacle: None,
            told_stand_by: false,
            told_pause: 0,
            phase: Phase::Unclaimed { retry_at: begun },
        }
    }

    /// A node was probed. One that fails again is announced again, also while what its first
    /// failure asked for is not complete.
    pub(super) fn observed(&mut self, node: NodeId, health: &Health) {
        if node != self.failed {
            return;
        }
        match health {
            Health::Up { .. } => self.returned = true,
            Health::Down { .. } if std::mem::take(&mut self.returned) => {
                self.announced = false;
                if let Phase::Acting { reported, .. } = &mut self.phase {
                    *reported = false;
                }
            }
            Health::Unknown
            | Health::Refusing { .. }
            | Health::Suspect { .. }
            | Health::Down { .. } => {}
        }
    }
}
