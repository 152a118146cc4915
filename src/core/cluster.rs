//! All nodes and all PgBouncers together: when to fail over, to which node, and who does it.
//!
//! Decides; does nothing. [`Cluster`] takes what was observed, one method for each kind, and
//! [`Cluster::next`] gives what is to be done, until nothing is. The agent that holds the *claim*
//! (an advisory lock on the surviving node) acts; the other one stands by and takes over when the
//! claim comes free with work left. Health is [`crate::core::node`]'s, one PgBouncer
//! [`crate::core::worker`]'s.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::NodeId;
use crate::core::node::{Fault, Health};
use crate::core::plan::Decision;
use crate::core::worker::{Assignment, Status};
use crate::generation::Generation;

/// How often the agent that stands by asks for the claim: it takes over within this time.
const CLAIM_INTERVAL: Duration = Duration::from_millis(500);

/// What became of an attempt at the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimResult {
    /// It is ours.
    Granted,
    /// The other agent has it.
    Held,
    /// The node did not answer, or could not be asked.
    Failed(String),
}

/// What a look at a returned node's replication gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// It runs, and the node is marked active.
    Recovered,
    /// Not yet, and why.
    Pending(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Try to take the claim on this node.
    Claim {
        /// The surviving node.
        on: NodeId,
    },
    /// Give the claim back.
    Release,
    /// A failover was decided: tell everybody, record it.
    Announce {
        /// Which.
        decision: Decision,
        /// Whether it is news: something points at the failed node, or may. Not so for the agent
        /// that stood by and finds everything done.
        news: bool,
    },
    /// The other agent holds the claim: said once for each failure.
    StandBy {
        /// The node that failed.
        failed: NodeId,
    },
    /// A node is down and there is no other to go to: said once for each failure.
    NoCandidate {
        /// The node that failed.
        failed: NodeId,
    },
    /// The node answers again, and nobody had decided: said once.
    Reappeared {
        /// The node.
        node: NodeId,
    },
    /// How far the redirect has come: when it is complete, or when it cannot be for now.
    Report {
        /// Which.
        decision: Decision,
        /// Whether every PgBouncer serves the node.
        complete: bool,
    },
    /// Another agent decided later, and otherwise: this one stands back.
    Superseded {
        /// What this agent had decided.
        decision: Decision,
        /// What it found.
        by: Generation,
    },
    /// Look whether replication with a returned node runs again.
    CheckRecovery {
        /// The node that was down.
        node: NodeId,
        /// The node that stayed.
        on: NodeId,
    },
}

#[derive(Debug, Clone)]
struct NodeState {
    health: Health,
    /// Its failure was dealt with.
    handled: bool,
    /// Another agent decided later that traffic goes there: until it answers again, not our affair.
    stood_back: bool,
    told_no_candidate: bool,
    /// Not marked active: it was down, or its row says so.
    inactive: bool,
    check_at: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Unclaimed { retry_at: Instant },
    Claiming { on: NodeId },
    Acting { decision: Decision, reported: bool },
}

#[derive(Debug, Clone)]
struct Incident {
    failed: NodeId,
    fault: Fault,
    /// The highest generation before it began: a higher one is another agent's decision about it.
    before: Generation,
    announced: bool,
    /// Whether something pointed at the failed node, or may have, when the claim was granted.
    news: bool,
    held_by_other: bool,
    told_stand_by: bool,
    phase: Phase,
}

/// Everything that one agent believes.
#[derive(Debug, Clone)]
pub struct Cluster {
    node_id: NodeId,
    monitor_interval: Duration,
    nodes: BTreeMap<NodeId, NodeState>,
    poolers: BTreeMap<String, Status>,
    incident: Option<Incident>,
    highest: Generation,
    claim_held: bool,
}

impl Cluster {
    /// Begins without an opinion.
    #[must_use]
    pub fn new(
        node_id: NodeId,
        nodes: impl IntoIterator<Item = NodeId>,
        poolers: impl IntoIterator<Item = String>,
        monitor_interval: Duration,
    ) -> Self {
        let unknown = NodeState {
            health: Health::Unknown,
            handled: false,
            stood_back: false,
            told_no_candidate: false,
            inactive: false,
            check_at: None,
        };
        Self {
            node_id,
            monitor_interval,
            nodes: nodes
                .into_iter()
                .map(|node| (node, unknown.clone()))
                .collect(),
            poolers: poolers
                .into_iter()
                .map(|name| (name, Status::default()))
                .collect(),
            incident: None,
            highest: Generation::NONE,
            claim_held: false,
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
        let in_doubt = self
            .nodes
            .values()
            .any(|node| matches!(node.health, Health::Suspect { .. }));
        let decision = match &self.incident {
            Some(Incident {
                phase: Phase::Acting { decision, .. },
                ..
            }) => Some(decision.clone()),
            Some(_) | None => None,
        };
        let insist = decision
            .as_ref()
            .is_some_and(|decision| self.is_down(decision.failed));
        Assignment {
            may_act: decision.is_some(),
            busy: in_doubt || self.incident.is_some(),
            insist,
            decision,
            stopping: false,
        }
    }

    /// A node was probed.
    pub fn node(&mut self, node: NodeId, health: Health, now: Instant) {
        let local = node == self.node_id;
        let Some(state) = self.nodes.get_mut(&node) else {
            return;
        };
        let was_down = matches!(state.health, Health::Down { .. });
        let came_up =
            matches!(health, Health::Up { .. }) && !matches!(state.health, Health::Up { .. });
        match &health {
            Health::Down { .. } => state.inactive = true,
            Health::Up { .. } | Health::Refusing { .. } if was_down => {
                state.handled = false;
                state.stood_back = false;
                state.told_no_candidate = false;
            }
            Health::Unknown
            | Health::Up { .. }
            | Health::Refusing { .. }
            | Health::Suspect { .. } => {}
        }
        if came_up && state.inactive {
            // The agent of the node that stayed reports; the returned node's own only if that one
            // is silent.
            let grace = if local {
                2 * self.monitor_interval
            } else {
                Duration::ZERO
            };
            state.check_at = Some(now + grace);
        }
        state.health = health;
    }

    /// The node's row says that it is not active (read when the agent starts).
    pub fn row_inactive(&mut self, node: NodeId, now: Instant) {
        if let Some(state) = self.nodes.get_mut(&node) {
            state.inactive = true;
            state.check_at.get_or_insert(now);
        }
    }

    /// A PgBouncer was looked at, or could not be.
    pub fn pooler(&mut self, name: &str, status: Status) {
        self.highest = self.highest.max(status.generation);
        if let Some(known) = self.poolers.get_mut(name) {
            *known = status;
        }
    }

    /// An attempt at the claim ended.
    pub fn claimed(&mut self, on: NodeId, result: &ClaimResult, now: Instant) {
        let granted = *result == ClaimResult::Granted;
        self.claim_held |= granted;
        let still_down = self
            .incident
            .as_ref()
            .is_some_and(|incident| self.is_down(incident.failed));
        let followed = self.followed();
        let decided = self.highest.next(self.node_id);
        let failed = self.incident.as_ref().map(|incident| incident.failed);
        let all_clear = failed.is_some_and(|failed| self.nothing_left_at(failed));
        let news = self.poolers.is_empty() || !all_clear;
        let Some(incident) = self.incident.as_mut() else {
            return;
        };
        if incident.phase != (Phase::Claiming { on }) {
            return;
        }
        incident.held_by_other = *result == ClaimResult::Held;
        incident.phase = match granted && (still_down || followed) {
            true => {
                incident.news = news;
                if news {
                    self.highest = decided;
                }
                let (failed, fault) = (incident.failed, incident.fault);
                let decision = Decision {
                    generation: decided,
                    failed,
                    active: on,
                    fault,
                };
                Phase::Acting {
                    decision,
                    reported: false,
                }
            }
            false => Phase::Unclaimed {
                retry_at: now + CLAIM_INTERVAL,
            },
        };
    }

    /// The session that held the claim is gone.
    pub fn claim_lost(&mut self, now: Instant) {
        self.claim_held = false;
        if let Some(incident) = self.incident.as_mut()
            && matches!(incident.phase, Phase::Acting { .. })
        {
            incident.phase = Phase::Unclaimed { retry_at: now };
        }
    }

    /// A look at a returned node's replication ended.
    pub fn recovery(&mut self, node: NodeId, result: &Recovery, now: Instant) {
        let interval = self.monitor_interval;
        let Some(state) = self.nodes.get_mut(&node) else {
            return;
        };
        match result {
            Recovery::Recovered => {
                state.inactive = matches!(state.health, Health::Down { .. });
                state.check_at = None;
            }
            Recovery::Pending(_) => state.check_at = Some(now + interval),
        }
    }

    /// When [`Cluster::next`] may have something new although nothing was observed.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let checks = self.nodes.values().filter_map(|node| node.check_at);
        let claim = match &self.incident {
            Some(Incident {
                phase: Phase::Unclaimed { retry_at },
                ..
            }) => Some(*retry_at),
            Some(_) | None => None,
        };
        checks.chain(claim).min()
    }

    /// The next thing to do, or nothing. To be called until it gives nothing.
    pub fn next(&mut self, now: Instant) -> Option<Action> {
        self.drop_incident_without_target();
        if let Some(action) = self.open_incident(now) {
            return Some(action);
        }
        if let Some(action) = self.advance(now) {
            return Some(action);
        }
        if self.claim_held && self.incident.is_none() {
            self.claim_held = false;
            return Some(Action::Release);
        }
        self.check_recovery(now)
    }

    fn drop_incident_without_target(&mut self) {
        if let Some(Incident {
            phase: Phase::Acting { decision, .. },
            ..
        }) = &self.incident
            && self.is_down(decision.active)
        {
            self.incident = None;
        }
    }

    fn open_incident(&mut self, now: Instant) -> Option<Action> {
        if self.incident.is_some() {
            return None;
        }
        for (node, fault) in self.down() {
            let Some(state) = self.nodes.get(&node) else {
                continue;
            };
            if state.stood_back || (state.handled && !self.serves_again(node)) {
                continue;
            }
            if self.candidate(node).is_some() {
                self.incident = Some(Incident {
                    failed: node,
                    fault,
                    before: self.highest,
                    announced: false,
                    news: true,
                    held_by_other: false,
                    told_stand_by: false,
                    phase: Phase::Unclaimed { retry_at: now },
                });
                return None;
            }
            let state = self.nodes.get_mut(&node)?;
            if !std::mem::replace(&mut state.told_no_candidate, true) {
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
        if !self.is_down(failed) {
            // Nobody decided: it was a false alarm. Otherwise what was decided is seen through.
            let followed = self.followed();
            if !followed || self.nothing_left_at(failed) {
                self.incident = None;
                return (!followed).then_some(Action::Reappeared { node: failed });
            }
        }
        if incident.held_by_other && !incident.told_stand_by {
            self.incident.as_mut()?.told_stand_by = true;
            return Some(Action::StandBy { failed });
        }
        let Some(on) = self.candidate(failed) else {
            self.incident = None;
            return self.open_incident(now);
        };
        if now < retry_at {
            return None;
        }
        self.incident.as_mut()?.phase = Phase::Claiming { on };
        Some(Action::Claim { on })
    }

    /// A later decision in a file: about the failed node again, or by an agent that went the same
    /// way and did not finish, whose number has to be topped.
    fn superseded(&mut self, decision: &mut Decision) -> Option<Action> {
        let later = |status: &&Status| {
            let open = status.paused || status.serves.contains(&decision.failed);
            status.reached && open && status.generation > decision.generation
        };
        let status = self.poolers.values().find(later)?;
        if status.file_active == Some(decision.failed) {
            let (by, failed) = (status.generation, decision.failed);
            self.close_incident(failed);
            self.nodes.get_mut(&failed)?.stood_back = true;
            return Some(Action::Superseded {
                decision: decision.clone(),
                by,
            });
        }
        self.highest = self.highest.next(self.node_id);
        decision.generation = self.highest;
        let phase = Phase::Acting {
            decision: decision.clone(),
            reported: false,
        };
        let incident = self.incident.as_mut()?;
        incident.news = true;
        incident.phase = phase;
        None
    }

    fn follow_up(&mut self, mut decision: Decision, reported: bool) -> Option<Action> {
        if let Some(action) = self.superseded(&mut decision) {
            return Some(action);
        }
        let settled = |status: &Status| status.settled == Some(decision.generation);
        let failed = |status: &Status| status.outcome.as_ref().is_some_and(|o| !o.serves());
        // One that was not looked at yet has no trouble either: there is nothing to report of it.
        let tried = |status: &Status| settled(status) || status.trouble.is_some() || failed(status);
        let complete = self.poolers.values().all(settled);
        let all_tried = self.poolers.values().all(tried);
        let incident = self.incident.as_mut()?;
        if !std::mem::replace(&mut incident.announced, true) {
            let news = incident.news;
            return Some(Action::Announce { decision, news });
        }
        if complete {
            let (failed, news) = (incident.failed, incident.news);
            self.close_incident(failed);
            if !news {
                return None;
            }
            return Some(Action::Report {
                decision,
                complete: true,
            });
        }
        if all_tried && !reported {
            incident.phase = Phase::Acting {
                decision: decision.clone(),
                reported: true,
            };
            return Some(Action::Report {
                decision,
                complete: false,
            });
        }
        None
    }

    fn check_recovery(&mut self, now: Instant) -> Option<Action> {
        let due = |state: &NodeState| state.inactive && state.check_at.is_some_and(|at| now >= at);
        let up = |state: &NodeState| matches!(state.health, Health::Up { .. });
        let node = *self
            .nodes
            .iter()
            .find(|(_, state)| due(state) && up(state))?
            .0;
        let on = *self
            .nodes
            .iter()
            .find(|(id, state)| **id != node && up(state))?
            .0;
        // Asked again when the answer is there.
        self.nodes.get_mut(&node)?.check_at = None;
        Some(Action::CheckRecovery { node, on })
    }

    fn close_incident(&mut self, failed: NodeId) {
        self.incident = None;
        if let Some(state) = self.nodes.get_mut(&failed) {
            state.handled = true;
        }
    }

    fn down(&self) -> Vec<(NodeId, Fault)> {
        let down = |(id, state): (&NodeId, &NodeState)| match state.health {
            Health::Down { fault, .. } => Some((*id, fault)),
            Health::Unknown
            | Health::Up { .. }
            | Health::Refusing { .. }
            | Health::Suspect { .. } => None,
        };
        self.nodes.iter().filter_map(down).collect()
    }

    fn is_down(&self, node: NodeId) -> bool {
        self.down().iter().any(|(id, _)| *id == node)
    }

    /// The next available node: one whose last probe was answered, rather one that is active.
    fn candidate(&self, failed: NodeId) -> Option<NodeId> {
        let up = self
            .nodes
            .iter()
            .filter(|(id, state)| **id != failed && matches!(state.health, Health::Up { .. }));
        up.min_by_key(|(id, state)| (state.inactive, **id))
            .map(|(id, _)| *id)
    }

    /// Whether another agent has decided since the incident began: its number is in some header.
    fn followed(&self) -> bool {
        let Some(incident) = &self.incident else {
            return false;
        };
        self.poolers
            .values()
            .any(|status| status.generation > incident.before)
    }

    fn nothing_left_at(&self, node: NodeId) -> bool {
        let clear =
            |status: &Status| status.reached && !status.serves.contains(&node) && !status.paused;
        self.poolers.values().all(clear)
    }

    /// A PgBouncer that was dealt with points at the dead node again (restarted from an old file).
    fn serves_again(&self, node: NodeId) -> bool {
        let again = |status: &Status| {
            status.reached && status.serves.contains(&node) && status.generation < self.highest
        };
        self.poolers.values().any(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::outcome::{End, Outcome};

    const NODE1: NodeId = NodeId(1);
    const NODE2: NodeId = NodeId(2);

    struct World {
        cluster: Cluster,
        now: Instant,
    }

    fn up() -> Health {
        Health::Up {
            identity: "x".to_owned(),
        }
    }

    fn serving(node: NodeId, generation: u64) -> Status {
        Status {
            reached: true,
            serves: [node].into(),
            generation: Generation {
                number: generation,
                node_id: NODE1,
            },
            ..Status::default()
        }
    }

    fn away() -> Status {
        Status {
            trouble: Some("no route to host".to_owned()),
            ..Status::default()
        }
    }

    impl World {
        /// The agent of node 1, both nodes up, two PgBouncers on node 2.
        fn new() -> Self {
            let now = Instant::now();
            let poolers = ["pgb1".to_owned(), "pgb2".to_owned()];
            let mut cluster = Cluster::new(NODE1, [NODE1, NODE2], poolers, Duration::from_secs(5));
            cluster.node(NODE1, up(), now);
            cluster.node(NODE2, up(), now);
            cluster.pooler("pgb1", serving(NODE2, 0));
            cluster.pooler("pgb2", serving(NODE2, 0));
            Self { cluster, now }
        }

        fn down(&mut self, node: NodeId) {
            let down = Health::Down {
                fault: Fault::Crash,
                reason: String::new(),
                since: self.now,
            };
            self.cluster.node(node, down, self.now);
        }

        fn actions(&mut self) -> Vec<Action> {
            std::iter::from_fn(|| self.cluster.next(self.now))
                .take(20)
                .collect()
        }

        fn later(&mut self, seconds: f64) {
            self.now += Duration::from_secs_f64(seconds);
        }

        fn claim(&mut self, on: NodeId, result: ClaimResult) -> Vec<Action> {
            self.cluster.claimed(on, &result, self.now);
            self.actions()
        }

        fn settle(&mut self, name: &str, decision: &Decision) {
            let mut status = serving(decision.active, 0);
            status.generation = decision.generation;
            status.settled = Some(decision.generation);
            self.cluster.pooler(name, status);
        }
    }

    fn decision(number: u64, by: NodeId) -> Decision {
        Decision {
            generation: Generation {
                number,
                node_id: by,
            },
            failed: NODE2,
            active: NODE1,
            fault: Fault::Crash,
        }
    }

    fn announce(decision: &Decision) -> Action {
        let decision = decision.clone();
        Action::Announce {
            decision,
            news: true,
        }
    }

    #[test]
    fn an_agent_that_finds_everything_done_records_it_and_says_no_more() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.claim(NODE1, ClaimResult::Held);
        world.cluster.pooler("pgb1", serving(NODE1, 1));
        world.cluster.pooler("pgb2", serving(NODE1, 1));
        world.later(0.5);
        assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
        let decided = decision(2, NODE1);
        let quiet = Action::Announce {
            decision: decided.clone(),
            news: false,
        };
        assert_eq!(world.claim(NODE1, ClaimResult::Granted), [quiet]);
        world.settle("pgb1", &decided);
        world.settle("pgb2", &decided);
        assert_eq!(world.actions(), [Action::Release]);
    }

    #[test]
    fn a_node_that_goes_down_is_claimed_on_the_survivor_announced_and_reported_when_complete() {
        let mut world = World::new();
        assert_eq!(world.actions(), []);
        world.down(NODE2);
        assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
        assert!(
            !world.cluster.assignment().may_act,
            "nobody acts without the claim"
        );
        let decided = decision(1, NODE1);
        assert_eq!(
            world.claim(NODE1, ClaimResult::Granted),
            [announce(&decided)]
        );
        let assignment = world.cluster.assignment();
        assert!(assignment.may_act && assignment.insist);
        assert_eq!(assignment.decision, Some(decided.clone()));
        world.settle("pgb1", &decided);
        assert_eq!(world.actions(), []);
        world.settle("pgb2", &decided);
        let report = Action::Report {
            decision: decided,
            complete: true,
        };
        assert_eq!(world.actions(), [report, Action::Release]);
        world.later(60.0);
        assert_eq!(world.actions(), [], "done is done");
    }

    #[test]
    fn the_generation_is_above_all_that_any_file_carries() {
        let mut world = World::new();
        world.cluster.pooler("pgb2", serving(NODE2, 41));
        world.down(NODE2);
        world.actions();
        let announced = world.claim(NODE1, ClaimResult::Granted);
        assert_eq!(announced, [announce(&decision(42, NODE1))]);
    }

    #[test]
    fn the_agent_that_stands_by_takes_over_when_the_claim_comes_free() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        let stand_by = world.claim(NODE1, ClaimResult::Held);
        assert_eq!(stand_by, [Action::StandBy { failed: NODE2 }]);
        assert_eq!(world.actions(), [], "not asked again at once");
        world.later(0.5);
        assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
        assert_eq!(world.claim(NODE1, ClaimResult::Held), [], "said once");
        world.later(0.5);
        assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
        assert_eq!(
            world.claim(NODE1, ClaimResult::Granted),
            [announce(&decision(1, NODE1))]
        );
    }

    #[test]
    fn a_node_that_reappears_before_anybody_decided_is_left_alone() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.cluster.node(NODE2, up(), world.now);
        let actions = world.claim(NODE1, ClaimResult::Granted);
        assert_eq!(actions[0], Action::Reappeared { node: NODE2 });
        assert!(actions.contains(&Action::Release));
        assert_eq!(world.cluster.assignment().decision, None);
    }

    #[test]
    fn a_pgbouncer_that_was_away_is_waited_for_even_when_the_node_is_back() {
        let mut world = World::new();
        world.cluster.pooler("pgb2", away());
        world.down(NODE2);
        world.actions();
        let decided = decision(1, NODE1);
        let first = world.claim(NODE1, ClaimResult::Granted);
        assert_eq!(first[0], announce(&decided));
        world.settle("pgb1", &decided);
        let report = Action::Report {
            decision: decided.clone(),
            complete: false,
        };
        assert_eq!(world.actions(), [report], "said once that one is missing");
        world.cluster.node(NODE2, up(), world.now);
        world.later(3600.0);
        let actions = world.actions();
        assert_eq!(
            actions,
            [Action::CheckRecovery {
                node: NODE2,
                on: NODE1
            }]
        );
        let assignment = world.cluster.assignment();
        assert_eq!(assignment.decision, Some(decided.clone()), "still in force");
        assert!(
            !assignment.insist,
            "but those that were moved may go back by hand"
        );
        world.settle("pgb2", &decided);
        let report = Action::Report {
            decision: decided,
            complete: true,
        };
        assert_eq!(world.actions(), [report, Action::Release]);
    }

    #[test]
    fn a_pgbouncer_that_points_at_the_dead_node_again_is_moved_again() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.claim(NODE1, ClaimResult::Granted);
        let decided = decision(1, NODE1);
        world.settle("pgb1", &decided);
        world.settle("pgb2", &decided);
        world.actions();
        world.cluster.pooler("pgb2", serving(NODE2, 0));
        assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    }

    #[test]
    fn a_later_decision_of_another_agent_is_not_fought() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.claim(NODE1, ClaimResult::Granted);
        let decided = decision(1, NODE1);
        world.settle("pgb1", &decided);
        world.settle("pgb2", &decided);
        world.actions();
        // Behind a partition the other agent sent it back, with a greater number.
        world.cluster.pooler("pgb2", serving(NODE2, 2));
        assert_eq!(world.actions(), []);
    }

    #[test]
    fn a_later_decision_the_other_way_makes_the_agent_stand_back() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.claim(NODE1, ClaimResult::Granted);
        let mut status = serving(NODE2, 5);
        status.file_active = Some(NODE2);
        world.cluster.pooler("pgb2", status);
        let by = Generation {
            number: 5,
            node_id: NODE1,
        };
        let superseded = Action::Superseded {
            decision: decision(1, NODE1),
            by,
        };
        assert_eq!(world.actions(), [superseded, Action::Release]);
        world.later(60.0);
        assert_eq!(world.actions(), []);
    }

    #[test]
    fn what_a_later_decision_for_the_same_node_left_unfinished_is_finished_under_a_new_number() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.claim(NODE1, ClaimResult::Granted);
        // The other agent decided at the same moment, replaced the file, and is gone.
        let mut unfinished = serving(NODE2, 0);
        unfinished.generation = decision(1, NODE2).generation;
        unfinished.file_active = Some(NODE1);
        world.cluster.pooler("pgb1", unfinished.clone());
        assert_eq!(world.actions(), []);
        let raised = decision(2, NODE1);
        assert_eq!(world.cluster.assignment().decision, Some(raised.clone()));
        world.cluster.pooler("pgb1", unfinished);
        assert_eq!(world.actions(), []);
        let still = world.cluster.assignment().decision;
        assert_eq!(still, Some(raised.clone()), "once is enough");
        world.settle("pgb1", &raised);
        world.settle("pgb2", &raised);
        let report = Action::Report {
            decision: raised,
            complete: true,
        };
        assert_eq!(world.actions()[0], report);
    }

    #[test]
    fn without_another_node_nothing_is_decided_until_one_is_back() {
        let mut world = World::new();
        world.down(NODE1);
        world.actions();
        world.down(NODE2);
        let actions = world.claim(NODE2, ClaimResult::Failed(String::new()));
        assert!(
            actions.contains(&Action::NoCandidate { failed: NODE1 }),
            "{actions:?}"
        );
        assert!(
            actions.contains(&Action::NoCandidate { failed: NODE2 }),
            "{actions:?}"
        );
        world.later(60.0);
        assert_eq!(world.actions(), []);
        world.cluster.node(NODE1, up(), world.now);
        assert_eq!(world.actions(), [Action::Claim { on: NODE1 }]);
    }

    #[test]
    fn when_the_target_dies_too_its_decision_is_dropped() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.claim(NODE1, ClaimResult::Granted);
        world.down(NODE1);
        let actions = world.actions();
        assert!(actions.contains(&Action::Release), "{actions:?}");
        assert!(!world.cluster.assignment().may_act);
    }

    #[test]
    fn recovery_is_looked_for_by_the_agent_that_stayed_and_later_by_the_returned_ones() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world
            .cluster
            .claimed(NODE1, &ClaimResult::Failed(String::new()), world.now);
        world.cluster.node(NODE2, up(), world.now);
        let actions = world.actions();
        assert!(
            actions.contains(&Action::CheckRecovery {
                node: NODE2,
                on: NODE1
            }),
            "{actions:?}"
        );
        let pending = Recovery::Pending("slot inactive".to_owned());
        world.cluster.recovery(NODE2, &pending, world.now);
        assert_eq!(world.actions(), []);
        world.later(5.0);
        assert_eq!(
            world.actions(),
            [Action::CheckRecovery {
                node: NODE2,
                on: NODE1
            }]
        );
        world
            .cluster
            .recovery(NODE2, &Recovery::Recovered, world.now);
        world.later(60.0);
        assert_eq!(world.actions(), []);

        let mut own = World::new();
        own.down(NODE1);
        own.actions();
        own.cluster.node(NODE1, up(), own.now);
        let soon = own.actions();
        assert!(
            !soon
                .iter()
                .any(|action| matches!(action, Action::CheckRecovery { .. }))
        );
        own.later(10.0);
        let later = own.actions();
        assert!(
            later.contains(&Action::CheckRecovery {
                node: NODE1,
                on: NODE2
            }),
            "{later:?}"
        );
    }

    #[test]
    fn nothing_is_reported_before_every_pgbouncer_was_tried() {
        let mut world = World::new();
        world.cluster.pooler("pgb1", Status::default());
        world.down(NODE2);
        world.actions();
        let decided = decision(1, NODE1);
        assert_eq!(
            world.claim(NODE1, ClaimResult::Granted),
            [announce(&decided)]
        );
        world.settle("pgb2", &decided);
        assert_eq!(world.actions(), [], "pgb1 was not looked at yet");
        world.cluster.pooler("pgb1", away());
        let report = Action::Report {
            decision: decided,
            complete: false,
        };
        assert_eq!(world.actions(), [report]);
    }

    #[test]
    fn a_failed_attempt_does_not_count_as_settled() {
        let mut world = World::new();
        world.down(NODE2);
        world.actions();
        world.claim(NODE1, ClaimResult::Granted);
        let decided = decision(1, NODE1);
        world.settle("pgb1", &decided);
        let mut failed = serving(NODE2, 0);
        failed.outcome = Some(Outcome {
            generation: decided.generation,
            active: NODE1,
            end: End::Failed {
                reason: "disk full".to_owned(),
                restored: None,
            },
            warnings: Vec::new(),
            left_paused: Vec::new(),
            took: Duration::ZERO,
            entries: BTreeMap::new(),
        });
        world.cluster.pooler("pgb2", failed);
        let report = Action::Report {
            decision: decided,
            complete: false,
        };
        assert_eq!(world.actions(), [report]);
    }
}
