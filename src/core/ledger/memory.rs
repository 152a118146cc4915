//! A witness, as a model: what it does with each command.
//!
//! The state of one host's ledger file, with the host's time as an argument. On a real host it is
//! one line, which `host.sh` exchanges under a lock if it is still the one that was read, and if
//! it is not too late: `edge::remote` reads the line, has this decide what becomes of it, and asks
//! for that. Whoever simulates a host that loses or restores its disk keeps a clone.

use std::time::Duration;

use super::{Answer, Fingerprint, Ledger, Memory, PROMISE_LASTS, Reading, Record, Until, Verdict};
use crate::generation::Generation;

/// What time it is on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTime {
    /// Names the time from one start of the host to the next.
    pub boot: String,
    /// Since that start, by the clock that nobody sets; counted in hundredths of a second.
    pub uptime: Duration,
    /// By the clock that may be set.
    pub unix_seconds: u64,
}

/// What a witness has on its disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WitnessMemory {
    pub(super) kept: Option<Kept>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) promised: Generation,
    /// Boot and uptime of the promise, while it may still be followed by its accept.
    pub(super) promise: Option<(String, Duration)>,
    pub(super) accepted: Option<KeptRecord>,
    pub(super) decided: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptRecord {
    pub(super) record: Record,
    /// When it was written: its age then is known.
    pub(super) at: HostTime,
}

impl KeptRecord {
    fn new(record: &Record, at: &HostTime) -> Self {
        let moved = hundredths(record.moved);
        Self {
            record: Record { moved, ..*record },
            at: HostTime {
                uptime: hundredths(at.uptime),
                ..at.clone()
            },
        }
    }

    /// With its age at another moment: by the uptime, unless the host was started anew (or a
    /// container, whose uptime begins again while the boot of its host goes on), and then by the
    /// clock. That may have been set back, or not set yet; but no less than the uptime has passed,
    /// or a `failover_cooldown` would last until the clock is right.
    fn read(&self, at: &HostTime) -> Record {
        let uptime = hundredths(at.uptime);
        let passed = if self.at.boot == at.boot && self.at.uptime <= uptime {
            uptime - self.at.uptime
        } else {
            let clock = at.unix_seconds.saturating_sub(self.at.unix_seconds);
            Duration::from_secs(clock).max(uptime)
        };
        Record {
            moved: self.record.moved + passed,
            ..self.record
        }
    }
}

impl Kept {
    fn read(&self, at: &HostTime) -> Ledger {
        Ledger {
            promised: self.promised,
            accepted: self.accepted.as_ref().map(|kept| kept.read(at)),
            decided: self.decided,
        }
    }

    fn accepted(&self) -> Option<&Record> {
        self.accepted.as_ref().map(|kept| &kept.record)
    }

    /// Whether the promise that was made last may still be followed by its accept.
    fn promise_lives(&self, at: &HostTime) -> bool {
        let uptime = hundredths(at.uptime);
        self.promise.as_ref().is_some_and(|(boot, promised)| {
            *boot == at.boot && *promised <= uptime && uptime - *promised <= PROMISE_LASTS
        })
    }
}

impl WitnessMemory {
    /// What it remembers.
    #[must_use]
    pub fn read(&self, at: &HostTime) -> Reading {
        let known = |kept: &Kept| Memory::Known(kept.read(at));
        Reading {
            boot: at.boot.clone(),
            uptime: hundredths(at.uptime),
            memory: self.kept.as_ref().map_or(Memory::Blank, known),
        }
    }

    /// When the promise that was made last is over.
    #[must_use]
    pub fn promise_ends(&self) -> Option<Until> {
        let (boot, uptime) = self.kept.as_ref()?.promise.clone()?;
        let uptime = uptime + PROMISE_LASTS;
        Some(Until { boot, uptime })
    }

    /// Promises to refuse whatever is not later than `ballot`, and to accept it for
    /// [`PROMISE_LASTS`]. No ballot is promised twice: an agent that was started anew might use it
    /// for something else.
    pub fn promise(&mut self, ballot: Generation, until: &Until, at: &HostTime) -> Answer {
        self.command(until, at, |kept| {
            if ballot <= kept.promised {
                return Verdict::Refused;
            }
            kept.promised = ballot;
            kept.promise = Some((at.boot.clone(), hundredths(at.uptime)));
            Verdict::Done
        })
    }

    /// Accepts what is proposed under the promise that was made last, while that lives. The same
    /// record again is accepted again, as its answer may have been lost, and stays decided if it
    /// was; another one of the same generation is not.
    pub fn accept(&mut self, record: &Record, until: &Until, at: &HostTime) -> Answer {
        self.command(until, at, |kept| {
            if kept.promised != record.generation || !kept.promise_lives(at) {
                return Verdict::Refused;
            }
            let same = kept
                .accepted()
                .filter(|accepted| accepted.generation == record.generation);
            if same.is_some_and(|accepted| accepted.active != record.active) {
                return Verdict::Refused;
            }
            kept.decided = kept.decided && same.is_some();
            kept.accepted = Some(KeptRecord::new(record, at));
            Verdict::Done
        })
    }

    /// Learns what a majority has accepted, unless something later was accepted here.
    pub fn learn(&mut self, record: &Record, until: &Until, at: &HostTime) -> Answer {
        self.command(until, at, |kept| {
            let refused = kept.accepted().is_some_and(|accepted| {
                accepted.generation > record.generation
                    || (accepted.generation == record.generation
                        && accepted.active != record.active)
            });
            if refused {
                return Verdict::Refused;
            }
            if record.generation > kept.promised {
                kept.promised = record.generation;
                // Nobody was promised anything.
                kept.promise = None;
            }
            kept.accepted = Some(KeptRecord::new(record, at));
            kept.decided = true;
            Verdict::Done
        })
    }

    /// Writes a whole ledger in place of the one that was read, if it is still the one that was
    /// read. Nothing that was promised or accepted is taken back by it, and no promise lives.
    pub fn teach(
        &mut self,
        expected: &Fingerprint,
        ledger: &Ledger,
        until: &Until,
        at: &HostTime,
    ) -> Answer {
        let ledger = ledger.kept();
        let before = self.read(at).memory;
        let verdict = if is_over(until, at) {
            Verdict::Late
        } else if before.fingerprint() != *expected || takes_back(&before, &ledger) {
            Verdict::Refused
        } else {
            self.kept = Some(Kept {
                promised: ledger.promised,
                promise: None,
                accepted: ledger.accepted.map(|record| KeptRecord::new(&record, at)),
                decided: ledger.decided,
            });
            Verdict::Done
        };
        self.answer(verdict, at)
    }

    fn command(
        &mut self,
        until: &Until,
        at: &HostTime,
        work: impl FnOnce(&mut Kept) -> Verdict,
    ) -> Answer {
        let verdict = match &mut self.kept {
            _ if is_over(until, at) => Verdict::Late,
            None => Verdict::Blank,
            Some(kept) => work(kept),
        };
        self.answer(verdict, at)
    }

    fn answer(&self, verdict: Verdict, at: &HostTime) -> Answer {
        Answer {
            verdict,
            reading: self.read(at),
        }
    }
}

fn is_over(until: &Until, at: &HostTime) -> bool {
    until.boot != at.boot || hundredths(at.uptime) >= hundredths(until.uptime)
}

/// Whether a ledger is older than what is remembered, or contradicts it.
fn takes_back(before: &Memory, ledger: &Ledger) -> bool {
    let Memory::Known(before) = before else {
        return false;
    };
    let accepted = match (&before.accepted, &ledger.accepted) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(record)) => {
            before.generation > record.generation
                || (before.generation == record.generation && before.active != record.active)
        }
    };
    accepted || before.promised > ledger.promised
}

/// What a host's uptime counts in.
fn hundredths(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis() / 10 * 10).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeId;

    fn at(boot: &str, uptime_s: u64, unix_seconds: u64) -> HostTime {
        HostTime {
            boot: boot.to_owned(),
            uptime: Duration::from_secs(uptime_s),
            unix_seconds,
        }
    }

    #[test]
    fn the_age_of_a_move_grows_with_the_uptime_however_the_clock_of_the_host_was_set() {
        let record = Record {
            generation: Generation::NONE.next(NodeId(1)),
            active: NodeId(1),
            moved: Duration::ZERO,
        };
        let kept = KeptRecord::new(&record, &at("a", 1000, 50_000));
        for (now, age_s) in [
            (at("a", 1030, 1), 30),
            (at("b", 20, 50_040), 40),
            // Before its clock was set.
            (at("b", 20, 0), 20),
            (at("b", 70, 0), 70),
            // A container, whose uptime begins again.
            (at("a", 5, 50_090), 90),
            (at("a", 5, 0), 5),
        ] {
            let age = kept.read(&now).moved;
            assert_eq!(age, Duration::from_secs(age_s), "{now:?}");
        }
    }
}
