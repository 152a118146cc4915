//! What was really decided: seen from outside, from what witnesses have on their disks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use repoint::config::NodeId;
use repoint::core::ledger::Record;
use repoint::generation::Generation;

const SECOND: Duration = Duration::from_secs(1);

/// A decision, and who has accepted it.
#[derive(Debug, Clone)]
struct Proposal {
    active: NodeId,
    accepted_by: BTreeSet<usize>,
    /// When traffic was moved there; nothing if that was before everything.
    moved_at: Option<Duration>,
    decided_at: Option<Duration>,
    /// Who voted under this ballot for a move to that node, and when it looked.
    votes: BTreeMap<usize, (NodeId, Duration)>,
}

/// All that was proposed.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    needed: usize,
    cooldown: Duration,
    proposals: BTreeMap<Generation, Proposal>,
}

impl Chain {
    pub(crate) fn new(needed: usize, cooldown: Duration) -> Self {
        Self {
            needed,
            cooldown,
            proposals: BTreeMap::new(),
        }
    }

    /// A witness has looked after it has promised, and votes for a move to `next`.
    pub(crate) fn voted(&mut self, ballot: Generation, witness: usize, next: NodeId, at: Duration) {
        let proposal = self.proposals.entry(ballot).or_insert(Proposal {
            active: next,
            accepted_by: BTreeSet::new(),
            moved_at: None,
            decided_at: None,
            votes: BTreeMap::new(),
        });
        proposal.votes.insert(witness, (next, at));
    }

    /// A witness has accepted.
    pub(crate) fn accepted(
        &mut self,
        record: &Record,
        witness: usize,
        at: Duration,
    ) -> Result<(), String> {
        let generation = record.generation;
        let proposal = self.proposals.entry(generation).or_insert(Proposal {
            active: record.active,
            accepted_by: BTreeSet::new(),
            moved_at: None,
            decided_at: None,
            votes: BTreeMap::new(),
        });
        if proposal.accepted_by.is_empty() {
            proposal.active = record.active;
        }
        if proposal.active != record.active {
            return Err(format!("two decisions have the number {generation}"));
        }
        if proposal.accepted_by.is_empty() {
            proposal.moved_at = at.checked_sub(record.moved);
        }
        proposal.accepted_by.insert(witness);
        if proposal.accepted_by.len() < self.needed || proposal.decided_at.is_some() {
            return Ok(());
        }
        proposal.decided_at = Some(at);
        self.check(generation)
    }

    /// A decision that was just made: later than every other one, and either the same again or
    /// voted for by a majority after the one before it was decided.
    fn check(&self, generation: Generation) -> Result<(), String> {
        let decided =
            |(number, one): (&Generation, &Proposal)| Some((*number, one.active, one.decided_at?));
        // One that was proposed again may be decided late, under its first number as well.
        let again = self
            .proposals
            .range(generation..)
            .filter_map(decided)
            .nth(1);
        if let Some((later, active, _)) = again {
            return match active == self.proposals[&generation].active {
                true => Ok(()),
                false => Err(format!("{generation} is decided after {later}")),
            };
        }
        let mut all: Vec<_> = self.proposals.iter().filter_map(decided).collect();
        let (_, active, _) = all.pop().expect("one was decided");
        let Some((before, was_active, before_at)) = all.pop() else {
            return Ok(());
        };
        if active == was_active {
            return Ok(());
        }
        self.check_cooldown(generation, before)?;
        // One that was proposed before, and perhaps decided then, is proposed again.
        let fresh = |one: &Proposal| {
            let votes = one.votes.values();
            votes
                .filter(|(next, at)| *next == active && *at >= before_at)
                .count()
        };
        let earlier = self
            .proposals
            .range(..=generation)
            .map(|(_, one)| fresh(one));
        let fresh = earlier.max().unwrap_or_default();
        if fresh < self.needed {
            return Err(format!(
                "{generation} leads to node {active} after {before} led to {was_active}, by \
                 {fresh} votes"
            ));
        }
        Ok(())
    }

    /// A move comes no sooner after the one before than the cooldown allows. A host that was
    /// started anew since knows the time by the second.
    fn check_cooldown(&self, generation: Generation, before: Generation) -> Result<(), String> {
        let moved = |generation: &Generation| self.proposals[generation].moved_at;
        match moved(&generation).zip(moved(&before)) {
            Some((moved, before)) if moved + SECOND < before + self.cooldown => Err(format!(
                "{generation} leads away again after {:?}",
                moved.saturating_sub(before)
            )),
            _ => Ok(()),
        }
    }

    /// Whether this is the latest decision.
    pub(crate) fn is_decided(&self, record: &Record) -> bool {
        self.leads_to(record.generation, record.active)
    }

    /// Whether there is such a decision, and leads there.
    pub(crate) fn leads_to(&self, generation: Generation, active: NodeId) -> bool {
        let proposal = self.proposals.get(&generation);
        proposal.is_some_and(|it| it.decided_at.is_some() && it.active == active)
    }

    /// The node of the latest decision.
    pub(crate) fn active(&self) -> Option<NodeId> {
        let mut decided = self.proposals.values().filter(|it| it.decided_at.is_some());
        decided.next_back().map(|it| it.active)
    }

    /// How often the node has changed.
    pub(crate) fn moves(&self) -> usize {
        let decided = self.proposals.values().filter(|it| it.decided_at.is_some());
        let nodes: Vec<NodeId> = decided.map(|it| it.active).collect();
        nodes.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}
