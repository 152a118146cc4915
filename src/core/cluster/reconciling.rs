//! While no node fails: which decision is in force, and which agent puts right what has lost it.
//!
//! What differs, and whether it lasts, each worker says ([`crate::core::worker`]). Here only the
//! claim is seen to: the agent that gets it repairs. It is held for a short time and given back,
//! because the failover of the other agent may need it.

use std::time::{Duration, Instant};

use super::{Action, CLAIM_INTERVAL, ClaimResult, Cluster, Incident, Phase};
use crate::config::{Drift, NodeId, Reconciliation};
use crate::core::worker::{Difference, InForce, Reconciling, Status};
use crate::generation::Generation;

/// A redirect takes milliseconds; one that fails is for a later time.
const HOLD_LIMIT: Duration = Duration::from_secs(10);
/// The time until then.
const REST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Repair {
    /// Nothing is to be put right.
    #[default]
    Idle,
    Unclaimed {
        retry_at: Instant,
    },
    Claiming {
        on: NodeId,
    },
    /// The claim is held, until then.
    Acting {
        until: Instant,
    },
}

impl Cluster {
    /// The same, with PgBouncers kept to what was decided.
    #[must_use]
    pub fn reconciling(mut self, how: Reconciliation) -> Self {
        self.reconciliation = Some(how);
        self
    }

    /// The decision in force is the last one in the file of any PgBouncer that has loaded it. Once
    /// known it is remembered: the PgBouncer that had it may be the one that loses it. Where there
    /// are witnesses, theirs is the word, and what files say proves nothing.
    pub(super) fn learn_in_force(&mut self, status: &Status) {
        if self.agreement.is_some() {
            return;
        }
        let generation = status.generation;
        let known = self.in_force.map_or(Generation::NONE, |it| it.generation);
        if let Some(active) = status.file_active
            && status.loaded
            && generation.number > 0
            && generation > known
        {
            self.in_force = Some(InForce { generation, active });
        }
    }

    /// What workers are told.
    pub(super) fn told_to_reconcile(&self) -> Option<Reconciling> {
        let how = self.reconciliation?;
        Some(Reconciling {
            interval: how.interval,
            drift: how.drift,
            in_force: self.in_force,
            repairs: matches!(self.repair, Repair::Acting { .. }) || self.repairs_beside_incident(),
        })
    }

    /// The node to which something is to be brought back: one that is seen healthy, while nobody
    /// wants to be left alone.
    fn repairs_towards(&self) -> Option<NodeId> {
        let repairs = self
            .reconciliation
            .is_some_and(|how| how.drift == Drift::Repair);
        let paused = self.pauses.in_force().next().is_some();
        if !repairs || self.members.in_doubt() || paused || !self.lost_decision() {
            return None;
        }
        let active = self.in_force?.active;
        self.members.is_healthy(active).then_some(active)
    }

    /// While a PgBouncer is waited for after a failover, the claim is held already. As long as the
    /// node is down, its worker moves what leads there anyway.
    fn repairs_beside_incident(&self) -> bool {
        let acts_for_returned = |incident: &Incident| {
            let acts = matches!(incident.phase, Phase::Acting { .. });
            acts && !self.members.is_down(incident.failed)
        };
        let incident = self.incident.as_ref();
        incident.is_some_and(acts_for_returned) && self.repairs_towards().is_some()
    }

    /// Whether some PgBouncer serves another node than was decided, and did not mean to.
    pub(super) fn lost_decision(&self) -> bool {
        let outdated = |status: &Status| {
            let mut differs = status.differs.iter();
            let outdated = differs.any(|one| one.outdated().is_some());
            let left = status.given_up || status.differs.iter().any(Difference::is_held);
            status.reached && outdated && !left
        };
        self.poolers.values().any(outdated)
    }

    /// The next step towards the claim.
    pub(super) fn seek_repair(&mut self, now: Instant) -> Option<Action> {
        let quiet = self.incident.is_none();
        let Some(on) = self.repairs_towards().filter(|_| quiet) else {
            // An answer that was asked for is awaited.
            if self.incident.is_some() || !matches!(self.repair, Repair::Claiming { .. }) {
                self.repair = Repair::Idle;
            }
            return None;
        };
        match self.repair {
            Repair::Unclaimed { retry_at } if now < retry_at => None,
            Repair::Idle | Repair::Unclaimed { .. } => {
                self.repair = Repair::Claiming { on };
                Some(Action::Claim { on })
            }
            Repair::Acting { until } if now >= until => {
                let retry_at = now + REST;
                self.repair = Repair::Unclaimed { retry_at };
                None
            }
            Repair::Claiming { .. } | Repair::Acting { .. } => None,
        }
    }

    /// The answer to a request of [`Cluster::seek_repair`]; `false`: it was another's.
    pub(super) fn claimed_for_repair(&mut self, result: &ClaimResult, now: Instant) -> bool {
        if self.incident.is_some() || !matches!(self.repair, Repair::Claiming { .. }) {
            return false;
        }
        self.repair = match result {
            ClaimResult::Granted => Repair::Acting {
                until: now + HOLD_LIMIT,
            },
            ClaimResult::Held | ClaimResult::Failed(_) => Repair::Unclaimed {
                retry_at: now + 4 * CLAIM_INTERVAL,
            },
        };
        true
    }

    /// Whether the claim is held, or asked for, for this.
    pub(super) fn repair_needs_claim(&self) -> bool {
        matches!(self.repair, Repair::Claiming { .. } | Repair::Acting { .. })
    }

    /// When [`Cluster::seek_repair`] may have something new.
    pub(super) fn repair_at(&self) -> Option<Instant> {
        match self.repair {
            Repair::Unclaimed { retry_at: at } | Repair::Acting { until: at } => Some(at),
            Repair::Idle | Repair::Claiming { .. } => None,
        }
    }
}
