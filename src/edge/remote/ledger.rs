//! The ledger of a witness, on its disk: one line, which is exchanged for another.
//!
//! What becomes of it is decided by [`WitnessMemory`], from the line as it was read and the time
//! that it has got to be there since; the host's script exchanges the line only if it is still the
//! same, and if it is not too late by its own time. So every command takes one round trip, and one
//! more for each time that another agent was faster. What is asked, and what follows from the
//! answers, is `core::agreement`'s.

use std::time::{Duration, Instant};

use super::{RemoteError, RemoteHost};
use crate::core::agreement::Ask;
use crate::core::ledger::{Answer, HostTime, Memory, Record, Until, Verdict, WitnessMemory};

/// How often a command is tried again because the line was exchanged in between.
const TRIES: u32 = 5;

/// For how long what is to be learned is on its way.
const LEARN_WINDOW: Duration = Duration::from_secs(3);

/// A ledger as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLedger {
    line: String,
    at: HostTime,
    read: Instant,
}

impl KeptLedger {
    /// The time that it has got to be on the host by now.
    fn now(&self) -> HostTime {
        let passed = self.read.elapsed();
        HostTime {
            boot: self.at.boot.clone(),
            uptime: self.at.uptime + passed,
            unix_seconds: self.at.unix_seconds + passed.as_secs(),
        }
    }

    fn memory(&self) -> WitnessMemory {
        WitnessMemory::of_line(&self.line)
    }

    fn answer(&self, verdict: Verdict) -> Answer {
        let reading = self.memory().read(&self.at);
        Answer { verdict, reading }
    }
}

/// What became of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchange {
    Done,
    Late,
    /// Another line is there than the one that was read.
    Changed,
}

impl RemoteHost {
    /// Reads the ledger.
    ///
    /// # Errors
    /// [`RemoteError::Failed`], [`RemoteError::Lost`]. That there is none is no error.
    pub async fn ledger(&self) -> Result<KeptLedger, RemoteError> {
        let output = self.verb("ledger", &[], &[]).await?;
        match self.parse_ledger("ledger", &output)? {
            (None, kept) => Ok(kept),
            (Some(_), _) => Err(self.not_a_ledger("ledger")),
        }
    }

    /// Asks this witness; `known` is its ledger as it was read last, if it was.
    ///
    /// # Errors
    /// [`RemoteError::Failed`]: not done. [`RemoteError::Lost`]: it may have been done or not.
    pub async fn ask(
        &self,
        ask: &Ask,
        known: &mut Option<KeptLedger>,
    ) -> Result<Answer, RemoteError> {
        // What was refused by what is known may be so no more.
        let mut fresh = false;
        for _ in 0..TRIES {
            let kept = match known.take().filter(|_| *ask != Ask::Look) {
                Some(kept) => kept,
                None => {
                    fresh = true;
                    self.ledger().await?
                }
            };
            let (line, verdict, until) = decide(ask, &kept);
            let Some(until) = until.filter(|_| verdict == Verdict::Done) else {
                let answer = kept.answer(verdict);
                *known = fresh.then_some(kept);
                match fresh {
                    true => return Ok(answer),
                    false => continue,
                }
            };
            let (exchange, kept) = self.exchange_ledger(&kept.line, &line, &until).await?;
            let answer = match exchange {
                Exchange::Done => Some(kept.answer(Verdict::Done)),
                Exchange::Late => Some(kept.answer(Verdict::Late)),
                Exchange::Changed => None,
            };
            fresh = true;
            *known = Some(kept);
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Err(RemoteError::Failed {
            verb: "ledger",
            host: self.name.clone(),
            reason: "other agents write it all the time".to_owned(),
        })
    }

    /// Has this witness learn what was decided, whatever it remembers. `false`: it remembers
    /// something later, or nothing at all.
    ///
    /// # Errors
    /// As [`RemoteHost::ask`].
    pub async fn learn(&self, record: &Record) -> Result<bool, RemoteError> {
        let kept = self.ledger().await?;
        let until = kept.answer(Verdict::Done).reading.until(LEARN_WINDOW);
        let answer = self
            .ask(&Ask::Learn(*record, until), &mut Some(kept))
            .await?;
        Ok(answer.verdict == Verdict::Done)
    }

    async fn exchange_ledger(
        &self,
        read: &str,
        new: &str,
        until: &Until,
    ) -> Result<(Exchange, KeptLedger), RemoteError> {
        let verb = "exchange_ledger";
        let hundredths = (until.uptime.as_millis() / 10).to_string();
        let arguments = [read, new, &until.boot, &hundredths];
        let output = self.verb(verb, &arguments, &[]).await?;
        let (exchange, kept) = self.parse_ledger(verb, &output)?;
        let exchange = exchange.ok_or_else(|| self.not_a_ledger(verb))?;
        Ok((exchange, kept))
    }

    fn parse_ledger(
        &self,
        verb: &'static str,
        output: &[u8],
    ) -> Result<(Option<Exchange>, KeptLedger), RemoteError> {
        parse(output).ok_or_else(|| self.not_a_ledger(verb))
    }

    fn not_a_ledger(&self, verb: &'static str) -> RemoteError {
        RemoteError::Failed {
            verb,
            host: self.name.clone(),
            reason: "the answer is not that of our script".to_owned(),
        }
    }
}

/// The line that the ledger becomes, what the witness says to it, and until when it may be written.
fn decide(ask: &Ask, kept: &KeptLedger) -> (String, Verdict, Option<Until>) {
    let (mut memory, at) = (kept.memory(), kept.now());
    let (answer, until) = match ask {
        Ask::Look => {
            let verdict = match memory.read(&at).memory {
                Memory::Blank => Verdict::Blank,
                Memory::Known(_) => Verdict::Done,
            };
            return (String::new(), verdict, None);
        }
        Ask::Promise(ballot, until) => (memory.promise(*ballot, until, &at), until.clone()),
        Ask::Accept(record, until) => {
            // The promise must still be alive when it is written.
            let ends = memory.promise_ends();
            let sooner = ends.filter(|it| it.boot == until.boot && it.uptime < until.uptime);
            let answer = memory.accept(record, until, &at);
            (answer, sooner.unwrap_or_else(|| until.clone()))
        }
        Ask::Learn(record, until) => (memory.learn(record, until, &at), until.clone()),
        Ask::Teach(expected, ledger, until) => {
            (memory.teach(expected, ledger, until, &at), until.clone())
        }
    };
    (memory.line(), answer.verdict, Some(until))
}

/// Reads an answer of the script; `None`: something else answered.
fn parse(output: &[u8]) -> Option<(Option<Exchange>, KeptLedger)> {
    let text = std::str::from_utf8(output).ok()?;
    let mut lines = text.split('\n');
    let mut line = |key: &str| lines.next()?.strip_prefix(key);
    let exchange = match line("verdict ")? {
        "read" => None,
        "done" => Some(Exchange::Done),
        "late" => Some(Exchange::Late),
        "changed" => Some(Exchange::Changed),
        _ => return None,
    };
    let boot = line("boot ")?.to_owned();
    let hundredths: u64 = line("uptime ")?.parse().ok()?;
    let unix_seconds = line("clock ")?.parse().ok()?;
    let ledger = line("ledger ")?.to_owned();
    let at = HostTime {
        boot,
        uptime: Duration::from_millis(hundredths.checked_mul(10)?),
        unix_seconds,
    };
    let kept = KeptLedger {
        line: ledger,
        at,
        read: Instant::now(),
    };
    Some((exchange, kept))
}
