//! All nodes and all PgBouncers together: when to fail over, to which node, and who does it.
//!
//! Decides; does nothing. [`Cluster`] takes what was observed, one method for each kind, and
//! [`Cluster::next`] gives what is to be done, until nothing is. The agent that holds the *claim*
//! (an advisory lock on the surviving node) acts; the other one stands by and takes over when the
//! claim comes free with work left. Health is [`crate::core::node`]'s, one PgBouncer
//! [`crate::core::worker`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::config::{Monitoring, NodeId, Reconciliation};
use crate::core::agreement::Agreement;
use crate::core::node::Health;
use crate::core::pause::Pauses;
use crate::core::plan::Decision;
use crate::core::worker::{Assignment, InForce, Status};
use crate::generation::Generation;

mod action;
mod agreeing;
mod following;
mod foreseen;
mod incident;
mod members;
mod pausing;
mod reconciling;
pub mod report;
mod suspect;
#[cfg(test)]
mod tests;

pub use action::{Action, ClaimResult, Recovery};
use incident::{Incident, Phase};
use members::Members;
use reconciling::Repair;

/// How often the agent that stands by asks for the claim: it takes over within this time.
const CLAIM_INTERVAL: Duration = Duration::from_millis(500);
/// An agent that gets the claim from another one looks once more before it decides: longer than the
/// interval of looks while a node is down.
const LOOK_LIMIT: Duration = Duration::from_millis(400);
/// An agent that has just started looks at every PgBouncer before it decides, but one that is away
/// keeps it no longer than this.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(1);

/// Everything that one agent believes.
#[derive(Debug, Clone)]
pub struct Cluster {
    node_id: NodeId,
    settings: Monitoring,
    members: Members,
    poolers: BTreeMap<String, Status>,
    incident: Option<Incident>,
    highest: Generation,
    /// The last decision of this agent. It is in no file if there was nothing to move.
    last_decided: Generation,
    claim_held: bool,
    /// `None`: each agent decides for itself.
    agreement: Option<Agreement>,
    pauses: Pauses,
    /// `None`: nothing is compared with what was decided, but for what an incident asks for.
    reconciliation: Option<Reconciliation>,
    in_force: Option<InForce>,
    repair: Repair,
}

impl Cluster {
    /// Begins without an opinion.
    #[must_use]
    pub fn new(
        node_id: NodeId,
        nodes: impl IntoIterator<Item = NodeId>,
        poolers: impl IntoIterator<Item = String>,
        settings: Monitoring,
    ) -> Self {
        Self {
            node_id,
            settings,
            members: Members::new(nodes),
            poolers: poolers
                .into_iter()
                .map(|name| (name, Status::default()))
                .collect(),
            incident: None,
            highest: Generation::NONE,
            last_decided: Generation::NONE,
            claim_held: false,
            agreement: None,
            pauses: Pauses::default(),
            reconciliation: None,
            in_force: None,
            repair: Repair::default(),
        }
    }

    /// The status of each PgBouncer.
    #[must_use]
    pub fn poolers(&self) -> &BTreeMap<String, Status> {
        &self.poolers
    }

    /// What the workers are to reach.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        let in_doubt = self.members.in_doubt();
        let decision = match &self.incident {
            Some(Incident {
                phase: Phase::Acting { decision, .. },
                ..
            }) => Some(decision.clone()),
            Some(_) | None => None,
        };
        let insist = decision
            .as_ref()
            .is_some_and(|decision| self.members.is_down(decision.failed));
        Assignment {
            may_act: decision.is_some(),
            busy: in_doubt || (self.incident.is_some() && decision.is_none()),
            insist,
            suspect: self.suspect(),
            by_ledger: self.agreement.is_some(),
            agreed: self.agreement.as_ref().and_then(Agreement::in_force),
            decision,
            foreseen: self.foreseen(),
            reconciling: self.told_to_reconcile(),
            stamps: self.incident.as_ref().is_some_and(|incident| incident.news),
            alive: self.members.alive(),
            none_left: self.none_left(),
            ..Assignment::default()
        }
    }

    /// A node was probed.
    pub fn node(&mut self, node: NodeId, health: Health, now: Instant) {
        // The agent of the node that stayed reports a recovery; the returned node's own only if
        // that one is silent.
        let grace = match node == self.node_id {
            true => 2 * self.settings.monitor_interval,
            false => Duration::ZERO,
        };
        self.leave_failure_in_pause(node, &health);
        if let Some(incident) = self.incident.as_mut() {
            incident.observed(node, &health);
        }
        self.members.observed(node, health, now, grace);
    }

    /// The node's row on the node `on` says that it is not active (read when `on` answers for the
    /// first time, or after a restart). `true`: that is news.
    pub fn row_inactive(&mut self, node: NodeId, on: NodeId, now: Instant) -> bool {
        self.members.found_inactive(node, on, now)
    }

    /// Nodes that are monitored in degraded mode: down, or not recovered since.
    #[must_use]
    pub fn degraded(&self) -> Vec<NodeId> {
        let mut nodes = self.members.degraded();
        nodes.retain(|node| self.is_watched(*node));
        nodes
    }

    /// Since when a node answers again without having recovered.
    #[must_use]
    pub fn returned_at(&self, node: NodeId) -> Option<Instant> {
        self.members.returned_at(node)
    }

    /// Whether the other node is to be probed. With `bdr_local_monitoring_only` only while this
    /// host's node is in trouble: nobody is sent to a node that was not just seen alive, and a
    /// recovery needs both.
    #[must_use]
    pub fn probes_peer(&self) -> bool {
        !self.settings.local_only
            || self.incident.is_some()
            || self.lost_decision()
            || self.members.is_failing(self.node_id)
            || self.members.is_inactive(self.node_id)
    }

    /// Whether a node is suspect or down.
    #[must_use]
    pub fn is_failing(&self, node: NodeId) -> bool {
        self.members.is_failing(node)
    }

    /// Whether a node's failure is this agent's affair: with `bdr_local_monitoring_only`, that of
    /// the other host is not.
    #[must_use]
    pub fn is_watched(&self, node: NodeId) -> bool {
        !self.settings.local_only || node == self.node_id
    }

    /// A PgBouncer was looked at, or could not be.
    pub fn pooler(&mut self, name: &str, status: Status) {
        self.highest = self.highest.max(status.generation);
        self.learn_in_force(&status);
        if let Some((agreement, active)) = self.agreement.as_mut().zip(status.file_active) {
            agreement.files_say(status.generation, active);
        }
        if let Some(known) = self.poolers.get_mut(name) {
            *known = status;
        }
    }

    /// An attempt at the claim ended.
    pub fn claimed(&mut self, on: NodeId, result: &ClaimResult, now: Instant) {
        let granted = *result == ClaimResult::Granted;
        self.claim_held |= granted;
        if self.claimed_for_repair(result, now) {
            return;
        }
        let still_down = self
            .incident
            .as_ref()
            .is_some_and(|incident| self.members.is_down(incident.failed));
        let followed = self.followed();
        let paused = self.held_back_by().is_some();
        let news = self.is_news();
        let Some(incident) = self.incident.as_mut() else {
            return;
        };
        if incident.phase != (Phase::Claiming { on }) {
            return;
        }
        // What the one that held it did last may not have been seen yet.
        let looks_again = incident.held_by_other && news && !self.poolers.is_empty();
        let acts = (still_down || followed) && !paused && !(granted && looks_again);
        incident.held_by_other = match result {
            ClaimResult::Granted => false,
            ClaimResult::Held => true,
            // Who has it is not known now; what that one did last may still not have been seen.
            ClaimResult::Failed(_) => incident.held_by_other,
        };
        incident.phase = Phase::Unclaimed {
            retry_at: now + if granted { LOOK_LIMIT } else { CLAIM_INTERVAL },
        };
        match &self.agreement {
            Some(_) if acts => self.seek_agreement(on, result, now),
            None if acts && granted => self.decide(on, self.next_number(on)),
            Some(_) | None => {}
        }
    }

    /// Whether something points at the failed node, or may, or at none.
    fn is_news(&self) -> bool {
        let failed = self.incident.as_ref().map(|incident| incident.failed);
        let all_clear = failed.is_some_and(|failed| self.nothing_left_at(failed));
        let astray = self.poolers.values().any(|it| !it.astray.is_empty());
        self.poolers.is_empty() || !all_clear || astray
    }

    /// From here on, PgBouncers are moved.
    fn decide(&mut self, on: NodeId, generation: Generation) {
        let news = self.is_news();
        let Some(incident) = self.incident.as_mut() else {
            return;
        };
        // Even if it has not recovered itself: it is the one that is left.
        self.members.used(on);
        incident.news |= news;
        self.last_decided = generation;
        if incident.news {
            self.highest = generation;
        }
        let decision = Decision {
            generation,
            failed: incident.failed,
            active: on,
            fault: incident.fault,
        };
        incident.phase = Phase::Acting {
            decision,
            reported: false,
        };
    }

    /// The session that held the claim is gone.
    pub fn claim_lost(&mut self, now: Instant) {
        self.claim_held = false;
        self.repair = Repair::Idle;
        if let Some(incident) = self.incident.as_mut()
            && matches!(incident.phase, Phase::Acting { .. })
        {
            incident.phase = Phase::Unclaimed { retry_at: now };
        }
    }

    /// A look at a returned node's replication ended.
    pub fn recovery(&mut self, node: NodeId, result: &Recovery, now: Instant) {
        self.members
            .checked(node, result, now + self.settings.monitor_interval);
    }

    /// When [`Cluster::next`] may have something new although nothing was observed.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let checks = self.members.checks(self.settings.recovery_timeout);
        let claim = self
            .incident
            .iter()
            .filter_map(|incident| match incident.phase {
                // Only the end of the pause, which is an observation, is waited for.
                Phase::Unclaimed { .. } if self.held_back_by().is_some() => None,
                Phase::Unclaimed { retry_at } => Some(self.claim_at(incident, retry_at)),
                Phase::Claiming { .. } | Phase::Agreeing { .. } | Phase::Acting { .. } => None,
            });
        let agreement = self.agreement.iter().filter_map(Agreement::wake_at);
        let claim = claim.chain(agreement);
        checks.chain(claim).chain(self.repair_at()).min()
    }

    /// The next thing to do, or nothing. To be called until it gives nothing.
    pub fn next(&mut self, now: Instant) -> Option<Action> {
        self.drop_incident_without_target();
        if let Some(action) = self.open_incident(now) {
            return Some(action);
        }
        if let Some(action) = self.agree(now) {
            return Some(action);
        }
        if let Some(action) = self.advance(now) {
            return Some(action);
        }
        if let Some(action) = self.seek_repair(now) {
            return Some(action);
        }
        if self.claim_held && !self.needs_claim() {
            self.claim_held = false;
            return Some(Action::Release);
        }
        let late = self.members.late(self.settings.recovery_timeout, now);
        late.or_else(|| self.members.due_recovery(now))
    }

    /// Also while it is being asked for: the answer has to come, and is awaited.
    fn needs_claim(&self) -> bool {
        let asks = |incident: &Incident| matches!(incident.phase, Phase::Claiming { .. });
        let asked_for = self.incident.as_ref().is_some_and(asks);
        let repairs = self.repair_needs_claim();
        let acts = self.incident.is_some() && self.held_back_by().is_none();
        asked_for || repairs || (acts && !self.waits_for_votes())
    }

    fn drop_incident_without_target(&mut self) {
        if let Some(Incident {
            phase: Phase::Acting { decision, .. },
            ..
        }) = &self.incident
            && self.members.is_down(decision.active)
        {
            self.incident = None;
        }
    }

    fn open_incident(&mut self, now: Instant) -> Option<Action> {
        if self.incident.is_some() {
            return None;
        }
        for (node, fault) in self.members.down() {
            if !self.is_watched(node) {
                continue;
            }
            let again = || self.serves_again(node);
            if !self.is_decided_for(node) && self.members.is_dealt_with(node, again) {
                continue;
            }
            if self.members.candidate(node).is_some() {
                let known = self.reached();
                let before = self.decided_before();
                self.incident = Some(Incident::new(node, fault, before, known, now));
                return None;
            }
            // Nobody has looked yet: that comes at once.
            if self.members.is_other_unknown(node) {
                continue;
            }
            if self.members.tell_no_candidate(node) {
                return Some(Action::NoCandidate { failed: node });
            }
        }
        None
    }

    fn advance(&mut self, now: Instant) -> Option<Action> {
        let incident = self.incident.clone()?;
        match incident.phase {
            Phase::Claiming { .. } => None,
            Phase::Unclaimed { retry_at } => self.seek_claim(&incident, retry_at, now),
            Phase::Agreeing { on } => {
                self.still_agrees(&incident, on, now);
                None
            }
            Phase::Acting { decision, reported } => self.follow_up(decision, reported),
        }
    }

    fn seek_claim(
        &mut self,
        incident: &Incident,
        retry_at: Instant,
        now: Instant,
    ) -> Option<Action> {
        let failed = incident.failed;
        if !self.members.is_down(failed) {
            // Nobody decided: it was a false alarm. Otherwise what was decided is seen through.
            let followed = self.followed();
            let unreported = incident.news;
            if !followed || (self.nothing_left_at(failed) && !unreported) {
                let used = self.members.candidate(failed).filter(|_| followed);
                used.into_iter().for_each(|node| self.members.used(node));
                self.incident = None;
                return match followed {
                    true => self.next(now),
                    false => Some(Action::Reappeared { node: failed }),
                };
            }
        }
        if incident.held_by_other && !incident.told_stand_by {
            self.incident.as_mut()?.told_stand_by = true;
            return Some(Action::StandBy { failed });
        }
        let Some(on) = self.members.candidate(failed) else {
            self.incident = None;
            return self.next(now);
        };
        if let Some(pause) = self.held_back_by().cloned() {
            return self.tell_paused(pause);
        }
        if now < self.claim_at(incident, retry_at) {
            return None;
        }
        self.incident.as_mut()?.phase = Phase::Claiming { on };
        Some(Action::Claim { on })
    }

    /// The number of the next decision. None is used twice: what workers say of the first would be
    /// taken for what they say of the second.
    fn next_number(&self, active: NodeId) -> Generation {
        self.highest.max(self.last_decided).next(active)
    }

    /// Whether another agent has decided since the incident began: its number is in the file of a
    /// PgBouncer whose file was known.
    fn followed(&self) -> bool {
        let Some(incident) = &self.incident else {
            return false;
        };
        if self.agreement.is_some() {
            return self.decided_before() > incident.before;
        }
        let later = |(name, status): (&String, &Status)| {
            incident.known.contains(name) && status.generation > incident.before
        };
        self.poolers.iter().any(later)
    }

    /// Not before the interval is over, nor before every PgBouncer was looked at or tried.
    fn claim_at(&self, incident: &Incident, retry_at: Instant) -> Instant {
        if self.has_unseen() {
            return retry_at.max(incident.begun + FIRST_LOOK_LIMIT);
        }
        retry_at
    }

    /// Whether some PgBouncer was neither looked at yet nor tried.
    fn has_unseen(&self) -> bool {
        let unseen = |status: &Status| !status.reached && status.trouble.is_none();
        self.poolers.values().any(unseen)
    }

    fn reached(&self) -> BTreeSet<String> {
        let reached = self.poolers.iter().filter(|(_, status)| status.reached);
        reached.map(|(name, _)| name.clone()).collect()
    }

    fn nothing_left_at(&self, node: NodeId) -> bool {
        let clear =
            |status: &Status| status.reached && !status.serves.contains(&node) && !status.paused;
        self.poolers.values().all(clear)
    }

    /// A PgBouncer that was dealt with points at the dead node again: restarted from an old file,
    /// or edited. Not so when the file itself says that a later decision leads there.
    fn serves_again(&self, node: NodeId) -> bool {
        let again = |status: &Status| {
            let decided = match &self.agreement {
                Some(_) => self.is_decided_for(node),
                None => status.generation >= self.highest && status.file_active == Some(node),
            };
            status.reached && status.serves.contains(&node) && !decided
        };
        self.poolers.values().any(again)
    }
}
