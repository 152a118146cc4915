//! What becomes of a difference: told when it lasts, put right when it is an outdated file and this
//! agent has the claim, and left when somebody undoes that again and again.

use std::time::{Duration, Instant};

use super::drift::{Difference, InForce, differences};
use super::{Do, Scope, Worker};
use crate::config::Drift;
use crate::core::node::Fault;
use crate::core::plan::Decision;
use crate::core::pooler::Observation;
use crate::generation::Generation;

/// A difference is told, and put right, when it has lasted for this long. Whoever restores a file
/// is then done, and another agent's redirect is over; and every agent has seen it, so that each
/// counts how often it was undone.
pub(super) const LASTING: Duration = Duration::from_secs(3);
/// What was put right is not put right again after it was undone this often,
const UNDONE_MAX: usize = 3;
/// within this time: somebody, or something, means it.
const UNDONE_WITHIN: Duration = Duration::from_secs(600);

/// What a worker is to do about differences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciling {
    /// How often it looks for them.
    pub interval: Duration,
    /// What becomes of one that lost a decision.
    pub drift: Drift,
    /// The decision in force, if there was ever one.
    pub in_force: Option<InForce>,
    /// Whether this agent holds the claim to put it right now.
    pub repairs: bool,
}

/// What was found in the last looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    differences: Vec<Difference>,
    since: Option<Instant>,
    /// When it was found to be outdated by the decision of this number.
    outdated: (Generation, Vec<Instant>),
}

impl Worker {
    /// Compares a look that read the file with what should be.
    pub(super) fn compare(&mut self, observation: &Observation, now: Instant) {
        let assignment = &self.assignment;
        let Some(reconciling) = &assignment.reconciling else {
            return;
        };
        if self.is_pending() || assignment.busy || self.is_others_turn(observation) {
            return;
        }
        let in_force = reconciling.in_force;
        let found = differences(observation, &self.routing, in_force, self.goes_by_ledger());
        let outdated = |all: &[Difference]| all.iter().any(|one| one.outdated().is_some());
        let decided = in_force.map_or(Generation::NONE, |in_force| in_force.generation);
        let (of, times) = &mut self.found.outdated;
        if *of != decided {
            (*of, *times) = (decided, Vec::new());
            self.status.given_up = false;
        }
        if outdated(&found) && !outdated(&self.found.differences) {
            times.retain(|time| now.saturating_duration_since(*time) < UNDONE_WITHIN);
            times.push(now);
            // The first time it was not undone yet.
            self.status.given_up |= times.len() > UNDONE_MAX;
        }
        if found != self.found.differences {
            self.found.differences = found;
            self.found.since = Some(now);
        }
        let lasts = self.found.since.is_none_or(|since| now >= since + LASTING);
        let found = &self.found.differences;
        match lasts {
            true => self.status.differs.clone_from(found),
            false => self.status.differs.retain(|known| found.contains(known)),
        }
    }

    /// When it is to be looked whether what was found lasts.
    pub(super) fn compares_at(&self) -> Option<Instant> {
        let assignment = &self.assignment;
        let quiet = !self.is_pending() && !assignment.busy;
        let open = quiet && self.status.differs != self.found.differences;
        let at = self.found.since.filter(|_| open)? + LASTING;
        assignment.reconciling.as_ref().map(|_| at)
    }

    /// Puts an outdated file right.
    pub(super) fn repair(&self, observation: &Observation) -> Option<Do> {
        let reconciling = self.assignment.reconciling.as_ref();
        let in_force = reconciling.filter(|told| told.repairs)?.in_force?;
        let busy = self.is_pending() || self.is_others_turn(observation);
        let held = self.status.differs.iter().any(Difference::is_held);
        if busy || held || self.status.given_up {
            return None;
        }
        let failed = self.status.differs.iter().find_map(Difference::outdated)?;
        let decision = Decision {
            generation: in_force.generation,
            failed,
            active: in_force.active,
            // Nobody hangs there: the node is alive, or it would be a failover.
            fault: Fault::Crash,
        };
        let moves = Scope::OnFailed.moves(&decision, observation, &self.routing);
        let confirm = moves.clone();
        (!moves.is_empty()).then_some(Do::Redirect {
            decision,
            moves,
            confirm,
        })
    }

    /// Whether the file is to be read again because something else is told: what it should be like,
    /// that it is to be put right, or that a decision has been seen through.
    pub(super) fn compares_again(&self, before: &super::Assignment) -> bool {
        let (now, told) = (&self.assignment.reconciling, &before.reconciling);
        let in_force = |one: &Option<Reconciling>| one.as_ref().and_then(|one| one.in_force);
        let repairs = |one: &Option<Reconciling>| one.as_ref().is_some_and(|one| one.repairs);
        let first = now.is_some() && told.is_none();
        let news = first || in_force(now) != in_force(told) || (repairs(now) && !repairs(told));
        let ended = before.decision.is_some() && self.assignment.decision.is_none();
        now.is_some() && !self.is_pending() && (news || ended)
    }

    /// Another operation is at work here, or was until its agent died.
    fn is_others_turn(&self, observation: &Observation) -> bool {
        let ours = self.owed.as_ref().map(|owed| &owed.token);
        let operation = observation.file.operation.as_ref();
        operation.is_some_and(|it| Some(&it.token) != ours && !it.debt.paused.is_empty())
    }
}
