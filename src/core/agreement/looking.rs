//! The round in which witnesses only say what they remember and see.
//!
//! Without a move that is wanted it keeps the ledgers alike; with one it is the first of the two
//! rounds that a move takes, or shows that it would not be carried.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Agreed, Agreement, Ask, Move, Obstacle, Phase, Round, SEARCH_INTERVAL, Word};
use crate::core::vote::{Vote, Votes, vote};

impl Agreement {
    pub(super) fn begin_looking(&mut self, now: Instant) {
        let see = self.wanted.map(|wanted| wanted.to);
        let round = self.begin_round(see, now, |_| Some(Ask::Look));
        self.phase = Phase::Looking(round);
    }

    /// The move that is to be decided, if the round before this one carried it.
    pub(super) fn move_to_decide(&self, now: Instant) -> Option<Move> {
        let to = self.wanted.filter(|wanted| wanted.decide)?.to;
        let lasts = self.rules.again_after + self.rules.round_limit;
        let (carried, at) = self.carried?;
        (carried == to && now <= at + lasts).then_some(to)
    }

    pub(super) fn conclude_looking(&mut self, now: Instant) {
        let Phase::Looking(round) = &self.phase else {
            return;
        };
        let (round, needed) = (round.clone(), self.needed());
        let wanted = self.wanted;
        let known = self.known_in(&round);
        let votes = wanted.map(|wanted| self.votes(&round, wanted.to, |_| true));
        let open = round.open(now);
        let (carries, may_carry) = match &votes {
            Some(votes) => (
                votes.carry(needed) && known >= needed,
                // Ledgers that lack something are taught only when all have been seen.
                known < needed || votes.carry(needed.saturating_sub(open)),
            ),
            None => (false, true),
        };
        if !carries && may_carry && open > 0 {
            return;
        }
        let taught = self.keep_alike(&round, now);
        let Some((wanted, votes)) = wanted.zip(votes) else {
            if known >= needed && self.dangles(&round, now) {
                return self.begin_promising(None, now);
            }
            self.rest_until(now + self.rest(known >= needed, taught));
            return;
        };
        self.carried = carries.then_some((wanted.to, now));
        let left = self.cooldown_left(wanted.to, &round);
        if !wanted.decide {
            self.rest_until(now + self.rules.again_after);
        } else if !carries {
            let obstacle = match known < needed {
                true => Obstacle::Ledgers(self.tell_ledgers(known)),
                false => Obstacle::Votes(votes.sentence(wanted.to.failed, wanted.to.next)),
            };
            self.not_decided(obstacle, now);
        } else if let Some(left) = left {
            self.not_decided(Obstacle::Cooldown(left), now);
        } else {
            self.begin_promising(Some(wanted.to), now);
        }
    }

    pub(super) fn not_decided(&mut self, obstacle: Obstacle, now: Instant) {
        self.agreed.push_back(Agreed::Not(obstacle));
        self.rest_until(now + self.rules.again_after);
    }

    /// How long after a look at the ledgers the next one comes.
    fn rest(&self, known: bool, taught: bool) -> Duration {
        match known && !taught {
            true => self.rules.interval,
            false => SEARCH_INTERVAL.min(self.rules.interval),
        }
    }

    /// How many witnesses have shown in this round a ledger that counts.
    pub(super) fn known_in(&self, round: &Round) -> usize {
        let answered = |name: &String| {
            let word = round.words().get(name);
            word.is_some_and(|word| word.answer.is_ok())
        };
        let voters = self.voters().filter(|(name, _)| answered(name));
        voters.filter(|(_, it)| it.trusted().is_some()).count()
    }

    /// The votes of this round for a move, of those whose word counts.
    pub(super) fn votes(&self, round: &Round, to: Move, counts: impl Fn(&Word) -> bool) -> Votes {
        let unknown = |reason: &str| Vote::Unknown {
            reason: reason.to_owned(),
        };
        let votes: BTreeMap<String, Vote> = self
            .voters()
            .map(|(name, witness)| {
                let word = round.words().get(name);
                let sights = word.and_then(|word| word.sights.as_ref());
                let vote = match (word, sights) {
                    (None, _) => unknown("no answer"),
                    (Some(_), None) => unknown(witness.trouble().unwrap_or("it did not look")),
                    (Some(_), Some(_)) if witness.trusted().is_none() => {
                        unknown(witness.trouble().unwrap_or("it has no ledger yet"))
                    }
                    (Some(word), Some(_)) if !counts(word) => unknown("it has promised another"),
                    (Some(_), Some(sights)) => vote(&sights.failed, &sights.next),
                };
                (name.clone(), vote)
            })
            .collect();
        debug_assert!(to.failed != to.next);
        Votes::new(votes)
    }

    /// How long the node that serves by the latest decision is not left yet.
    pub(super) fn cooldown_left(&self, to: Move, round: &Round) -> Option<Duration> {
        let known = |(name, witness): (&String, &super::Witness)| {
            round.words().get(name)?.answer.as_ref().ok()?;
            witness.accepted()
        };
        // Of one and the same, that which was moved last: after a restart of its host, a witness
        // knows the time by the second.
        let current = self.voters().filter_map(known);
        let current = current.max_by_key(|record| (record.generation, Reverse(record.moved)))?;
        if current.active == to.next {
            return None;
        }
        let left = self.rules.cooldown.checked_sub(current.moved)?;
        (!left.is_zero()).then_some(left)
    }

    fn tell_ledgers(&self, known: usize) -> String {
        let all = self.voters().count();
        let why = |(name, witness): (&String, &super::Witness)| {
            let why = match (witness.trouble(), witness.memory(), witness.trusted()) {
                (Some(trouble), _, _) => trouble.to_owned(),
                (None, None, _) => "not reached yet".to_owned(),
                (None, Some(_), Some(_)) => return None,
                (None, Some(crate::core::ledger::Memory::Blank), None) => "blank".to_owned(),
                (None, Some(_), None) => "older than it was".to_owned(),
            };
            Some(format!("{name} ({why})"))
        };
        let missing: Vec<String> = self.voters().filter_map(why).collect();
        format!(
            "the ledgers of {known} of {all} witnesses can be used, and {} are needed; missing: {}",
            self.needed(),
            missing.join(", ")
        )
    }
}
