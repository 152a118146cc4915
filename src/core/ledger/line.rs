//! A ledger as the one line that a witness keeps on its disk.
//!
//! Words between blanks: `v1`, what was promised, boot and uptime of that promise, what was
//! accepted, the node that it leads to, whether it was decided, its age when it was written, and
//! boot, uptime and clock of that moment. Uptimes and ages are hundredths of a second; `-` stands
//! for what is not there. Whatever is not exactly such a line is no ledger.

use std::time::Duration;

use super::Record;
use super::memory::{HostTime, Kept, KeptRecord, WitnessMemory};
use crate::config::NodeId;
use crate::generation::Generation;

const VERSION: &str = "v1";
const NOTHING: &str = "-";

impl WitnessMemory {
    /// What a line says; blank when it says nothing, or nothing that is known.
    #[must_use]
    pub fn of_line(line: &str) -> Self {
        Self { kept: kept(line) }
    }

    /// As it is kept; empty for a blank one.
    #[must_use]
    pub fn line(&self) -> String {
        let Some(kept) = &self.kept else {
            return String::new();
        };
        let (promise_boot, promise_uptime) = match &kept.promise {
            Some((boot, uptime)) => (boot.clone(), count(*uptime).to_string()),
            None => (NOTHING.to_owned(), NOTHING.to_owned()),
        };
        let promised = kept.promised;
        let head = format!("{VERSION} {promised} {promise_boot} {promise_uptime}");
        let Some(KeptRecord { record, at }) = &kept.accepted else {
            return format!("{head}{}", format!(" {NOTHING}").repeat(7));
        };
        format!(
            "{head} {} {} {} {} {} {} {}",
            record.generation,
            record.active,
            u8::from(kept.decided),
            count(record.moved),
            at.boot,
            count(at.uptime),
            at.unix_seconds
        )
    }
}

fn kept(line: &str) -> Option<Kept> {
    let words: Vec<&str> = line.split(' ').collect();
    let [version, promised, promise_boot, promise_uptime, record @ ..] = &words[..] else {
        return None;
    };
    let promise = match (*promise_boot, *promise_uptime) {
        (NOTHING, NOTHING) => None,
        (boot, uptime) => Some((boot.to_owned(), time(uptime)?)),
    };
    let [generation, active, decided, moved, boot, uptime, clock] = record else {
        return None;
    };
    let (accepted, decided) = match *generation {
        NOTHING => record
            .iter()
            .all(|word| *word == NOTHING)
            .then_some((None, false))?,
        generation => {
            let record = Record {
                generation: Generation::parse(generation)?,
                active: NodeId(digits(active)?),
                moved: time(moved)?,
            };
            let at = HostTime {
                boot: (*boot).to_owned(),
                uptime: time(uptime)?,
                unix_seconds: digits(clock)?,
            };
            let decided = match *decided {
                "0" => false,
                "1" => true,
                _ => return None,
            };
            (Some(KeptRecord { record, at }), decided)
        }
    };
    let promised = Generation::parse(promised)?;
    let later = accepted
        .as_ref()
        .is_some_and(|kept| kept.record.generation > promised);
    (*version == VERSION && !later).then_some(Kept {
        promised,
        promise,
        accepted,
        decided,
    })
}

fn digits<T: std::str::FromStr>(word: &str) -> Option<T> {
    let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| plain)
}

/// Of hundredths of a second.
fn time(word: &str) -> Option<Duration> {
    let hundredths: u64 = digits(word)?;
    Some(Duration::from_millis(hundredths.checked_mul(10)?))
}

/// In hundredths of a second.
fn count(time: Duration) -> u128 {
    time.as_millis() / 10
}

#[cfg(test)]
mod tests {
    use super::super::{Fingerprint, Ledger, Until};
    use super::*;

    fn at(uptime_ms: u64) -> HostTime {
        HostTime {
            boot: "0b-1".to_owned(),
            uptime: Duration::from_millis(uptime_ms),
            unix_seconds: 1_800_000_000,
        }
    }

    fn until() -> Until {
        Until {
            boot: "0b-1".to_owned(),
            uptime: Duration::from_secs(60),
        }
    }

    fn generation(number: u64) -> Generation {
        Generation {
            number,
            node_id: NodeId(2),
        }
    }

    #[test]
    fn a_ledger_is_read_as_it_was_written() {
        let mut memory = WitnessMemory::default();
        assert_eq!(memory.line(), "");
        let nothing = Ledger::NOTHING_DECIDED;
        memory.teach(&Fingerprint::Blank, &nothing, &until(), &at(1000));
        assert_eq!(memory.line(), "v1 0.0 - - - - - - - - -");
        memory.promise(generation(7), &until(), &at(1234));
        assert_eq!(memory.line(), "v1 7.2 0b-1 123 - - - - - - -");
        assert_eq!(WitnessMemory::of_line(&memory.line()), memory);
        let record = Record {
            generation: generation(7),
            active: NodeId(1),
            moved: Duration::from_millis(1500),
        };
        memory.accept(&record, &until(), &at(1300));
        let line = "v1 7.2 0b-1 123 7.2 1 0 150 0b-1 130 1800000000";
        assert_eq!(memory.line(), line);
        assert_eq!(WitnessMemory::of_line(line), memory);
        memory.learn(&record, &until(), &at(2000));
        assert_eq!(
            memory.line(),
            "v1 7.2 0b-1 123 7.2 1 1 150 0b-1 200 1800000000"
        );
        assert_eq!(WitnessMemory::of_line(&memory.line()), memory);
    }

    #[test]
    fn whatever_else_is_there_is_no_ledger() {
        for line in [
            "",
            "v1",
            "v2 7.2 0b-1 123 - - - - - - -",
            "v1 7.2 0b-1 123 - - - - - -",
            "v1 7.2 0b-1 123 - - - - - - - -",
            "v1 7.2 0b-1 123 - - - - - - - ",
            "v1 7 0b-1 123 - - - - - - -",
            "v1 7.2 0b-1 -1 - - - - - - -",
            "v1 7.2 0b-1 - - - - - - - -",
            "v1 7.2 0b-1 123 7.2 1 2 150 0b-1 130 1",
            "v1 7.2 0b-1 123 7.2 1 0 150 0b-1 130 +1",
            "v1 7.2 0b-1 123 8.2 1 0 150 0b-1 130 1",
            "v1 7.2 0b-1 123 - 1 0 150 0b-1 130 1",
            "v1 7.2 0b-1 123 7.2 1 0 999999999999999999999 0b-1 130 1",
        ] {
            let blank = WitnessMemory::default();
            assert_eq!(WitnessMemory::of_line(line), blank, "{line}");
        }
    }
}
