//! What a witness remembers of decisions: the words that an agent and a witness have in common.
//!
//! Plain values. [`WitnessMemory`] is what a witness does with them; a real host keeps its line on
//! a disk (`edge::remote`).
//! What an agent makes of the answers of several witnesses is not decided here.
//!
//! A witness promises a ballot, accepts a decision under that promise, learns what a majority has
//! accepted, and is taught a whole ledger where it has none or an old one. Every command has an
//! expiry in the host's own time, so that one that was delayed on its way does nothing.

use std::time::Duration;

use crate::config::NodeId;
use crate::generation::Generation;

mod line;
mod memory;

pub use memory::{HostTime, WitnessMemory};

/// For how long a promise may be followed by its accept, by the uptime of the witness.
pub const PROMISE_LASTS: Duration = Duration::from_secs(5);

/// A decision, as it is proposed to a witness and remembered there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The ballot under which it was proposed.
    pub generation: Generation,
    /// The node that traffic goes to.
    pub active: NodeId,
    /// How long ago traffic was moved there: when it was read, or when it is written. A decision
    /// that is chosen again keeps the time of its move. Hundredths of a second.
    pub moved: Duration,
}

/// What is read from a witness that has a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// The latest ballot that was promised to anybody, or that a decision was learned with.
    pub promised: Generation,
    /// The latest decision that was accepted; never later than `promised`.
    pub accepted: Option<Record>,
    /// Whether `accepted` is known to have been decided by a majority.
    pub decided: bool,
}

impl Ledger {
    /// That of a fleet in which nothing was decided.
    pub const NOTHING_DECIDED: Self = Self {
        promised: Generation::NONE,
        accepted: None,
        decided: false,
    };

    /// In a form that a witness can keep: what was accepted was promised, and only what was
    /// accepted was decided.
    #[must_use]
    pub fn kept(self) -> Self {
        let accepted = self.accepted.map(|record| record.generation);
        Self {
            promised: accepted.map_or(self.promised, |accepted| accepted.max(self.promised)),
            decided: self.decided && accepted.is_some(),
            ..self
        }
    }
}

/// What a witness remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// There is no ledger, or what is there cannot be read as one. It is never guessed at, and
    /// only ever overwritten by teaching.
    Blank,
    /// There is one.
    Known(Ledger),
}

impl Memory {
    /// What a witness compares before it is taught something else.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Blank => Fingerprint::Blank,
            Self::Known(ledger) => Fingerprint::Known {
                promised: ledger.promised,
                accepted: ledger.accepted.map(|record| record.generation),
            },
        }
    }
}

/// What a ledger was when it was read, as far as it must still be so to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fingerprint {
    /// There was none.
    Blank,
    /// There was one.
    Known {
        /// What it had promised.
        promised: Generation,
        /// What it had accepted.
        accepted: Option<Generation>,
    },
}

/// What a witness remembers, and when that was read, in the host's own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Names the time from one start of the host to the next.
    pub boot: String,
    /// Since that start; hundredths of a second.
    pub uptime: Duration,
    /// What was read.
    pub memory: Memory,
}

impl Reading {
    /// When a command is over that is sent on the strength of this reading.
    #[must_use]
    pub fn until(&self, window: Duration) -> Until {
        Until {
            boot: self.boot.clone(),
            uptime: self.uptime + window,
        }
    }
}

/// When a command is over, in the host's own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Until {
    /// It is over when the host was started anew.
    pub boot: String,
    /// And from here on; hundredths of a second.
    pub uptime: Duration,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was done, and is on disk.
    Done,
    /// Its time was over, or the host was started anew. Nothing was done.
    Late,
    /// A later promise or record is there, or no live promise of this very ballot, or (to teach)
    /// not what was read. Nothing was done.
    Refused,
    /// There is no ledger, so no vote before it was taught. Nothing was done.
    Blank,
}

/// What a witness answers to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What became of it.
    pub verdict: Verdict,
    /// What the witness remembers after it.
    pub reading: Reading,
}
