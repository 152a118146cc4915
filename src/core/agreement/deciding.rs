//! The round that promises and votes, and the one that accepts.

use std::time::Instant;

use super::{Agreed, Agreement, Ask, CONTESTS_MAX, Move, Obstacle, Phase, Round, Word};
use crate::core::ledger::{Memory, Record, Verdict};
use crate::core::vote::Votes;
use crate::generation::Generation;

impl Agreement {
    pub(super) fn begin_promising(&mut self, to: Option<Move>, now: Instant) {
        let ballot = self.next_ballot();
        self.carried = None;
        let round = self.begin_round(to, now, |witness| {
            let until = witness.until(now).filter(|_| witness.votes())?;
            Some(Ask::Promise(ballot, until))
        });
        self.phase = Phase::Promising { round, to, ballot };
    }

    pub(super) fn conclude_promising(&mut self, now: Instant) {
        let Phase::Promising { round, to, ballot } = &self.phase else {
            return;
        };
        let (round, to, ballot) = (round.clone(), *to, *ballot);
        let (needed, open) = (self.needed(), round.open(now));
        let promised = self.done_in(&round);
        let lost = promised.len() + open < needed;
        let Some(to) = to else {
            return match lost {
                true => self.contested(now),
                false => self.finish(&promised, open, ballot, now),
            };
        };
        if lost {
            let votes = self.votes(&round, to, |_| true);
            // What these votes say holds; it is the promise that is lacking.
            self.carried = votes.carry(needed).then_some((to, now));
            return self.contested(now);
        }
        let votes = self.votes(&round, to, is_done);
        let clear = votes.carry(needed) || !votes.carry(needed.saturating_sub(open));
        if promised.len() >= needed && clear {
            self.choose(&round, to, ballot, &votes, now);
        }
    }

    /// What was decided last is decided again, over a proposal that was not.
    fn finish(&mut self, promised: &[Word], open: usize, ballot: Generation, now: Instant) {
        match self.current(promised) {
            Some((record, true)) if promised.len() >= self.needed() => {
                let generation = ballot;
                self.propose(
                    None,
                    Record {
                        generation,
                        ..record
                    },
                    now,
                );
            }
            _ if open > 0 => {}
            _ => self.rest_until(now + self.rules.interval),
        }
    }

    /// What a majority of promises shows to be the current decision, and whether it is known to be
    /// made. A later proposal was not decided, and will not be, if a majority has not accepted it
    /// and has promised not to any more.
    fn current(&self, promised: &[Word]) -> Option<(Record, bool)> {
        let latest = |only_decided: bool| {
            let all = promised.iter().filter_map(accepted);
            let all = all.filter(|(_, decided)| *decided || !only_decided);
            all.max_by_key(|(record, _)| record.generation)
        };
        let decided = latest(true).filter(|(record, _)| {
            let not_later = |word: &&Word| {
                accepted(word).is_none_or(|(other, _)| other.generation <= record.generation)
            };
            promised.iter().filter(not_later).count() >= self.needed()
        });
        decided.or_else(|| latest(false))
    }

    fn propose(&mut self, to: Option<Move>, record: Record, now: Instant) {
        let round = self.begin_round(None, now, |witness| {
            let until = witness.until(now).filter(|_| witness.votes())?;
            Some(Ask::Accept(record, until))
        });
        self.phase = Phase::Accepting { round, to, record };
    }

    /// A majority has promised: what is the current decision, and is there to be another one?
    fn choose(&mut self, round: &Round, to: Move, ballot: Generation, votes: &Votes, now: Instant) {
        let promised = self.done_in(round);
        let current = self.current(&promised);
        let lacking = Obstacle::Votes(votes.sentence(to.failed, to.next));
        let record = match (current, votes.carry(self.needed())) {
            // It was moved there already.
            (Some((record, decided)), _) if record.active == to.next => {
                if decided {
                    return self.decided(record, now);
                }
                Record {
                    generation: ballot,
                    ..record
                }
            }
            (_, true) => {
                if let Some(left) = self.cooldown_left(to, round) {
                    return self.not_decided(Obstacle::Cooldown(left), now);
                }
                Record {
                    generation: ballot,
                    active: to.next,
                    moved: std::time::Duration::ZERO,
                }
            }
            (Some((record, false)), false) => Record {
                generation: ballot,
                ..record
            },
            (Some((_, true)) | None, false) => return self.not_decided(lacking, now),
        };
        self.propose(Some(to), record, now);
    }

    pub(super) fn conclude_accepting(&mut self, now: Instant) {
        let Phase::Accepting { round, to, record } = &self.phase else {
            return;
        };
        let (round, to, record) = (round.clone(), *to, *record);
        let (needed, open) = (self.needed(), round.open(now));
        let accepted = self.done_in(&round).len();
        if accepted >= needed {
            let learn = |(name, witness): (&String, &super::Witness)| {
                Some((name.clone(), Ask::Learn(record, witness.until(now)?)))
            };
            let learn: Vec<_> = self.witnesses.iter().filter_map(learn).collect();
            for (name, ask) in learn {
                self.tell(name, ask);
            }
            let Some(to) = to else {
                self.backoff.forget();
                return self.rest_until(now + self.rules.again_after);
            };
            if record.active == to.failed {
                // What was half decided before is decided, and nothing else.
                let why = "no majority votes for a move".to_owned();
                return self.not_decided(Obstacle::Votes(why), now);
            }
            self.decided(record, now);
        } else if accepted + open < needed {
            self.contested(now);
        }
    }

    fn decided(&mut self, record: Record, now: Instant) {
        self.backoff.forget();
        self.agreed.push_back(Agreed::Decided(record));
        self.rest_until(now + self.rules.again_after);
    }

    /// Promise or accept was lost to another agent, or on the way: what became of it is read before
    /// anything else is tried.
    fn contested(&mut self, now: Instant) {
        let wait = self.backoff.lost();
        if self.backoff.count().is_multiple_of(CONTESTS_MAX) {
            self.agreed.push_back(Agreed::Not(Obstacle::Contest));
        }
        self.rest_until(now + wait);
        // A ballot needs to be above what is in the ledgers, and they have to be read for that.
        if self.carried.is_none() || self.wanted.is_none() {
            return;
        }
        self.carried = self.carried.map(|(to, _)| (to, now + wait));
    }

    /// The words of those who did what they were asked, and whose ledger counts.
    fn done_in(&self, round: &Round) -> Vec<Word> {
        let voters = self.voters().filter(|(_, it)| it.trusted().is_some());
        let words = voters.filter_map(|(name, _)| round.words().get(name));
        words.filter(|word| is_done(word)).cloned().collect()
    }
}

fn is_done(word: &Word) -> bool {
    let done = |answer: &crate::core::ledger::Answer| answer.verdict == Verdict::Done;
    word.answer.as_ref().is_ok_and(done)
}

/// What a witness has accepted, and whether it knows it to be decided.
fn accepted(word: &Word) -> Option<(Record, bool)> {
    match &word.answer.as_ref().ok()?.reading.memory {
        Memory::Known(ledger) => Some((ledger.accepted?, ledger.decided)),
        Memory::Blank => None,
    }
}
