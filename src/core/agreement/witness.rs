//! What one agent knows of one witness.

use std::time::Instant;

use super::{WINDOW, Word};
use crate::core::ledger::{Ledger, Memory, Reading, Record, Until};
use crate::generation::Generation;

/// What a witness counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its promise, its accept and its vote count: one for each host.
    Voter,
    /// It only learns: another PgBouncer's ledger speaks for its host.
    Learner,
}

#[derive(Debug, Clone)]
pub(super) struct Witness {
    standing: Standing,
    /// What was read last, and when the answer came.
    last: Option<(Reading, Instant)>,
    /// The latest promise and decision that its ledger ever held: one that holds less was restored,
    /// and has forgotten what it said.
    remembered: (Generation, Generation),
    /// What it is being taught, which then is all that it holds.
    taught: Option<(Generation, Generation)>,
    /// Why the last question has no answer.
    trouble: Option<String>,
    /// The question that was answered last.
    heard_last: u64,
}

impl Witness {
    pub(super) fn new(standing: Standing) -> Self {
        Self {
            standing,
            last: None,
            remembered: (Generation::NONE, Generation::NONE),
            taught: None,
            trouble: None,
            heard_last: 0,
        }
    }

    pub(super) fn votes(&self) -> bool {
        self.standing == Standing::Voter
    }

    /// `false`: a word that was overtaken on its way by a later one, which tells nothing any more.
    pub(super) fn heard(&mut self, word: &Word, now: Instant) -> bool {
        if word.round < self.heard_last {
            return false;
        }
        self.heard_last = word.round;
        let reading = match &word.answer {
            Ok(answer) => answer.reading.clone(),
            Err(trouble) => {
                self.trouble = Some(trouble.clone());
                return true;
            }
        };
        self.trouble = None;
        if let Memory::Known(ledger) = &reading.memory {
            let held = (ledger.promised, accepted_by(ledger));
            let (promised, accepted) = self.remembered;
            self.remembered = match self.taught == Some(held) {
                true => held,
                false => (promised.max(held.0), accepted.max(held.1)),
            };
            self.taught.take_if(|taught| *taught == held);
        }
        self.last = Some((reading, now));
        true
    }

    /// It is sent a whole ledger.
    pub(super) fn is_taught(&mut self, ledger: &Ledger) {
        self.taught = Some((ledger.promised, accepted_by(ledger)));
    }

    /// The ledger that was read last, if there is one and it is not older than one before it.
    pub(super) fn trusted(&self) -> Option<&Ledger> {
        let (reading, _) = self.last.as_ref()?;
        trusted(&reading.memory, self.remembered)
    }

    /// What was read last.
    pub(super) fn memory(&self) -> Option<&Memory> {
        self.last.as_ref().map(|(reading, _)| &reading.memory)
    }

    pub(super) fn accepted(&self) -> Option<Record> {
        self.trusted()?.accepted
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Above all that it ever held.
    pub(super) fn highest(&self) -> Generation {
        let (promised, accepted) = self.remembered;
        promised.max(accepted)
    }

    /// When a command is over that is sent now; nothing when it was never read.
    pub(super) fn until(&self, now: Instant) -> Option<Until> {
        let (reading, received) = self.last.as_ref()?;
        // It has got at least so late there since, whatever was on its way for how long.
        Some(reading.until(now.saturating_duration_since(*received) + WINDOW))
    }
}

fn accepted_by(ledger: &Ledger) -> Generation {
    ledger
        .accepted
        .map_or(Generation::NONE, |record| record.generation)
}

fn trusted(memory: &Memory, remembered: (Generation, Generation)) -> Option<&Ledger> {
    let Memory::Known(ledger) = memory else {
        return None;
    };
    let (promised, accepted) = remembered;
    let older = ledger.promised < promised || accepted_by(ledger) < accepted;
    (!older).then_some(ledger)
}
