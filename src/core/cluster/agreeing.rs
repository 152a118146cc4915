//! How the cluster decides together with its witnesses.
//!
//! Decides when they are asked about which move, and what follows from their answer. What they
//! agree upon is [`crate::core::agreement`]'s. The claim is only a hint then: it keeps two agents
//! from asking at the same time, and nobody waits for it for long.

use std::time::{Duration, Instant};

use super::{Action, ClaimResult, Cluster, Incident, Phase};
use crate::config::NodeId;
use crate::core::agreement::{Agreed, Agreement, Move, Obstacle, Wanted, Word};
use crate::core::ledger::Record;
use crate::core::plan::Decision;
use crate::core::worker::InForce;
use crate::generation::Generation;

/// An agent that is frozen keeps its lock past all keepalives.
const HELD_LIMIT: Duration = Duration::from_secs(2);

impl Cluster {
    /// The same, where moves are decided by witnesses, if there are any.
    #[must_use]
    pub fn agreeing(mut self, agreement: Agreement) -> Self {
        self.agreement = Some(agreement).filter(Agreement::is_used);
        self
    }

    /// What is agreed upon, for people.
    #[must_use]
    pub fn agreement(&self) -> Option<&Agreement> {
        self.agreement.as_ref()
    }

    /// A witness answered, or could not be asked.
    pub fn heard(&mut self, word: Word, now: Instant) {
        if let Some(agreement) = &mut self.agreement {
            agreement.heard(word, now);
        }
    }

    /// The number of the decision that would be made now.
    pub(super) fn next_generation(&self, active: NodeId) -> Generation {
        match &self.agreement {
            Some(agreement) => agreement.next_ballot(),
            None => self.next_number(active),
        }
    }

    /// The last decision that is known: of the witnesses, or else of any file.
    pub(super) fn decided_before(&self) -> Generation {
        match &self.agreement {
            Some(agreement) => {
                let in_force = agreement.in_force();
                in_force.map_or(Generation::NONE, |record| record.generation)
            }
            None => self.highest,
        }
    }

    /// Whether witnesses have decided last that traffic goes to this node, whoever carried that out
    /// or did not: its failure is never dealt with by what was done about an earlier one.
    pub(super) fn is_decided_for(&self, node: NodeId) -> bool {
        let in_force = self.agreement.as_ref().and_then(Agreement::in_force);
        in_force.is_some_and(|record| record.active == node)
    }

    /// Asks witnesses, and takes what they have agreed upon.
    pub(super) fn agree(&mut self, now: Instant) -> Option<Action> {
        let wanted = self.wanted();
        let agreement = self.agreement.as_mut()?;
        agreement.want(wanted, now);
        if let Some(request) = agreement.next(now) {
            return Some(Action::Ask(request));
        }
        let in_force = agreement.in_force();
        let agreed = agreement.agreed();
        if let Some(Record {
            generation, active, ..
        }) = in_force
        {
            self.in_force = Some(InForce { generation, active });
            self.highest = self.highest.max(generation);
        }
        self.agreed(agreed?, now)
    }

    /// The move that this agent would make.
    fn wanted(&self) -> Option<Wanted> {
        let (failed, on) = match &self.incident {
            Some(incident) => match incident.phase {
                Phase::Acting { .. } => return None,
                Phase::Agreeing { on } => (incident.failed, Some(on)),
                Phase::Unclaimed { .. } | Phase::Claiming { .. } => (incident.failed, None),
            },
            None => (self.suspect()?, None),
        };
        if self.pauses.on(failed).is_some() {
            return None;
        }
        let next = on.or_else(|| self.members.candidate(failed))?;
        let to = Move { failed, next };
        let decide = on.is_some();
        Some(Wanted { to, decide })
    }

    fn agreed(&mut self, agreed: Agreed, now: Instant) -> Option<Action> {
        let incident = self.incident.as_ref()?;
        let Phase::Agreeing { on } = incident.phase else {
            return None;
        };
        match agreed {
            Agreed::Decided(record) => {
                self.decide(on, record.generation);
                None
            }
            Agreed::Not(obstacle) => self.not_agreed(obstacle, now),
        }
    }

    /// It is tried again, and said once for each failure and reason.
    fn not_agreed(&mut self, obstacle: Obstacle, now: Instant) -> Option<Action> {
        let incident = self.incident.as_mut()?;
        let retry_at = now + self.settings.monitor_interval;
        incident.phase = Phase::Unclaimed { retry_at };
        let kind = std::mem::discriminant(&obstacle);
        let told = incident.told_obstacle.replace(kind);
        let failed = incident.failed;
        (told != Some(kind)).then_some(Action::Aborted { failed, obstacle })
    }

    /// Nothing was agreed, and it is not time to try again: the claim is given back until then.
    pub(super) fn waits_for_votes(&self) -> bool {
        self.incident.as_ref().is_some_and(|incident| {
            let waits = matches!(incident.phase, Phase::Unclaimed { .. });
            waits && incident.told_obstacle.is_some()
        })
    }

    /// What comes after an attempt at the claim.
    pub(super) fn seek_agreement(&mut self, on: NodeId, result: &ClaimResult, now: Instant) {
        let in_force = self.agreement.as_ref().and_then(Agreement::in_force);
        let Some(incident) = self.incident.as_mut() else {
            return;
        };
        let waited_enough = match result {
            ClaimResult::Granted => true,
            ClaimResult::Held => {
                let since = *incident.held_since.get_or_insert(now);
                now.saturating_duration_since(since) >= HELD_LIMIT
            }
            ClaimResult::Failed(_) => false,
        };
        if !waited_enough {
            return;
        }
        // Somebody has had it decided since; it is seen through.
        let decided = in_force.filter(|it| it.generation > incident.before && it.active == on);
        match decided {
            Some(record) => self.decide(on, record.generation),
            None => incident.phase = Phase::Agreeing { on },
        }
    }

    /// While witnesses are asked, a node may return or fail.
    pub(super) fn still_agrees(&mut self, incident: &Incident, on: NodeId, now: Instant) {
        let failed = incident.failed;
        if (self.members.is_down(failed) && !self.members.is_failing(on)) || self.followed() {
            return;
        }
        if let Some(incident) = &mut self.incident {
            incident.phase = Phase::Unclaimed { retry_at: now };
        }
    }

    /// A later decision than the one that is being carried out. The same again under another number
    /// is carried out under that.
    pub(super) fn overtaken(&mut self, decision: &mut Decision) -> Option<Action> {
        let current = self.agreement.as_ref()?.in_force()?;
        if current.generation <= decision.generation {
            return None;
        }
        if current.active == decision.active {
            decision.generation = current.generation;
            let decision = decision.clone();
            let reported = false;
            self.incident.as_mut()?.phase = Phase::Acting { decision, reported };
            return None;
        }
        let (by, failed) = (current.generation, decision.failed);
        self.close_incident(failed);
        self.members.stand_back(failed);
        let decision = decision.clone();
        Some(Action::Superseded { decision, by })
    }
}
