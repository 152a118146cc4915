//! What the ledgers of a fleet say together, and how they are kept alike.
//!
//! Whoever looks at all ledgers tells those that lack something: a decision that was made without
//! them, or everything, where a ledger is blank or was restored. A fleet in which all of them are
//! blank is a new one, and begins with what its files say; one in which only some can be read is
//! never taken for that, nor one in which anything was ever promised.

use std::time::{Duration, Instant};

use super::{Agreement, Ask, Round, Witness};
use crate::core::ledger::{Fingerprint, Ledger, Memory, Record};
use crate::generation::Generation;

/// An agent that has proposed something has it decided within this, or is gone.
const DANGLES: Duration = Duration::from_secs(5);

impl Agreement {
    /// The latest decision that is known to have been made, if enough ledgers can be read.
    #[must_use]
    pub fn in_force(&self) -> Option<Record> {
        let known = self.voters().filter(|(_, it)| it.trusted().is_some());
        if known.count() < self.needed() {
            return None;
        }
        let records = self.voters().filter_map(|(_, it)| it.accepted());
        let decided = records.filter(|record| self.is_decided(record));
        decided.max_by_key(|record| record.generation)
    }

    /// Whether a witness has learned so. How many have accepted it does not tell: one of them may
    /// have been taught it, by an agent that did not know either.
    fn is_decided(&self, record: &Record) -> bool {
        let mut ledgers = self.voters().filter_map(|(_, it)| it.trusted());
        ledgers.any(|ledger| {
            let accepted = ledger.accepted.map(|accepted| accepted.generation);
            ledger.decided && accepted == Some(record.generation)
        })
    }

    /// Whether a proposal has been left in some ledger that nobody has decided, for so long that
    /// its agent is gone, while a majority shows what is decided. Such a host could not be told the
    /// decision in force.
    pub(super) fn dangles(&mut self, round: &Round, now: Instant) -> bool {
        let in_force = self.in_force().map(|record| record.generation);
        let accepted = |(name, witness): (&String, &Witness)| {
            round.words().get(name)?.answer.as_ref().ok()?;
            let accepted = witness.trusted()?.accepted;
            Some(accepted.map_or(Generation::NONE, |record| record.generation))
        };
        let all: Vec<Generation> = self.voters().filter_map(accepted).collect();
        let later = in_force.and_then(|in_force| {
            let others = all.iter().filter(|it| **it <= in_force).count();
            let later = all.iter().copied().max().filter(|it| *it > in_force);
            later.filter(|_| others >= self.needed())
        });
        let Some(later) = later else {
            self.dangling = None;
            return false;
        };
        match self.dangling.filter(|(known, _)| *known == later) {
            Some((_, since)) => now.saturating_duration_since(since) >= DANGLES,
            None => {
                self.dangling = Some((later, now));
                false
            }
        }
    }

    /// Tells those that lack something, as far as this round shows it. Gives whether anybody was
    /// taught a whole ledger.
    pub(super) fn keep_alike(&mut self, round: &Round, now: Instant) -> bool {
        let read: Vec<String> = round.words().keys().cloned().collect();
        let is_new = |(name, witness): (&String, &Witness)| {
            read.contains(name) && witness.memory().is_some_and(is_new)
        };
        if self.known_in(round) >= self.needed() {
            let ledgers = self.voters().filter(|(name, _)| read.contains(name));
            let current = ledgers.filter_map(|(_, it)| it.accepted());
            self.tell_all(current.max_by_key(|record| record.generation), now)
        } else if self.voters().all(is_new) {
            let known = self.voters().filter_map(|(_, it)| it.accepted());
            let first = known.chain(self.genesis);
            self.tell_all(first.max_by_key(|record| record.generation), now)
        } else {
            false
        }
    }

    fn tell_all(&mut self, current: Option<Record>, now: Instant) -> bool {
        let decided = current.is_some_and(|it| self.is_decided(&it));
        let seen = self.witnesses.values().map(Witness::highest);
        let promised = seen.fold(Generation::NONE, Generation::max);
        let whole = Ledger {
            promised,
            accepted: current,
            decided,
        };
        let mut taught = false;
        let mut requests = Vec::new();
        for (name, witness) in &mut self.witnesses {
            let Some(until) = witness.until(now) else {
                continue;
            };
            let ask = match (witness.trusted(), witness.memory()) {
                (_, None) => None,
                (None, Some(memory)) => {
                    taught |= witness.votes();
                    let fingerprint = memory.fingerprint();
                    Some(teach(witness, fingerprint, whole, until))
                }
                (Some(ledger), Some(_)) => {
                    let lacks = |record: &Record| {
                        let same = ledger.accepted.map(|it| it.generation);
                        let known = same.unwrap_or(Generation::NONE);
                        known < record.generation || (known == record.generation && !ledger.decided)
                    };
                    let news = current.filter(|record| decided && lacks(record));
                    news.map(|record| Ask::Learn(record, until))
                }
            };
            requests.extend(ask.map(|ask| (name.clone(), ask)));
        }
        for (name, ask) in requests {
            self.tell(name, ask);
        }
        taught
    }
}

/// Whether a witness has nothing, or only what a new fleet is taught first: an agent may have been
/// interrupted in that.
fn is_new(memory: &Memory) -> bool {
    match memory {
        Memory::Blank => true,
        Memory::Known(ledger) => {
            let accepted = ledger.accepted.map(|record| record.generation);
            !ledger.decided && ledger.promised == accepted.unwrap_or(Generation::NONE)
        }
    }
}

fn teach(
    witness: &mut Witness,
    expected: Fingerprint,
    ledger: Ledger,
    until: crate::core::ledger::Until,
) -> Ask {
    let ledger = ledger.kept();
    witness.is_taught(&ledger);
    Ask::Teach(expected, ledger, until)
}
