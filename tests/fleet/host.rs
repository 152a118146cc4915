//! The host of a PgBouncer: a ledger, a file, and what it sees of the nodes.

use std::time::Duration;

use repoint::config::NodeId;
use repoint::core::agreement::{Ask, Move};
use repoint::core::ledger::{Answer, HostTime, Memory, Reading, Until, Verdict, WitnessMemory};
use repoint::core::vote::{Sight, Sights, Vote, vote};
use repoint::generation::Generation;

use super::agent::{NODES, index};
use crate::agreement::breakage::{self, Breakage};
use crate::agreement::chain::Chain;

/// As many agents as there may be.
pub(crate) const AGENTS_MAX: usize = 3;

/// What PgBouncer's file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) generation: Generation,
    pub(crate) active: NodeId,
    /// Changes with every write, as a hash does.
    pub(crate) version: u64,
}

/// The command to put a file in place.
#[derive(Debug, Clone)]
pub(crate) struct Activate {
    pub(crate) generation: Generation,
    pub(crate) active: NodeId,
    pub(crate) read: u64,
    pub(crate) until: Until,
}

pub(crate) struct Host {
    pub(crate) memory: WitnessMemory,
    pub(crate) file: File,
    pub(crate) boot: u64,
    pub(crate) booted: Duration,
    pub(crate) reaches: [bool; 2],
    pub(crate) down_until: Duration,
    /// What it had on its disk some time ago.
    pub(crate) before: WitnessMemory,
    /// The last vote for a move that it has given.
    pub(crate) voted: Option<Sights>,
    /// Which agents do not get through.
    pub(crate) cut: [bool; AGENTS_MAX],
}

impl Host {
    pub(crate) fn new(active: NodeId) -> Self {
        let generation = Generation {
            number: 1,
            node_id: NODES[0],
        };
        Self {
            memory: WitnessMemory::default(),
            file: File {
                generation,
                active,
                version: 0,
            },
            boot: 0,
            booted: Duration::ZERO,
            reaches: [true; 2],
            down_until: Duration::ZERO,
            before: WitnessMemory::default(),
            voted: None,
            cut: [false; AGENTS_MAX],
        }
    }

    pub(crate) fn time(&self, now: Duration) -> HostTime {
        HostTime {
            boot: self.boot.to_string(),
            uptime: now - self.booted,
            unix_seconds: now.as_secs(),
        }
    }

    pub(crate) fn reading(&self, now: Duration) -> Reading {
        self.memory.read(&self.time(now))
    }

    /// The decision that its ledger knows to be made.
    pub(crate) fn decided(&self, now: Duration) -> Option<(Generation, NodeId)> {
        match self.reading(now).memory {
            Memory::Known(ledger) if ledger.decided => ledger
                .accepted
                .map(|record| (record.generation, record.active)),
            Memory::Known(_) | Memory::Blank => None,
        }
    }

    pub(crate) fn is_blank(&self, now: Duration) -> bool {
        self.reading(now).memory == Memory::Blank
    }

    /// Does what its script does.
    pub(crate) fn carry_out(
        &mut self,
        ask: &Ask,
        broken: Option<Breakage>,
        now: Duration,
        (number, chain): (usize, &mut Chain),
    ) -> Result<Answer, String> {
        let at = self.time(now);
        let memory = &mut self.memory;
        Ok(match ask {
            Ask::Look => {
                let reading = memory.read(&at);
                let verdict = match reading.memory {
                    Memory::Blank => Verdict::Blank,
                    Memory::Known(_) => Verdict::Done,
                };
                Answer { verdict, reading }
            }
            Ask::Promise(ballot, until) => memory.promise(*ballot, until, &at),
            Ask::Accept(record, until) => {
                if broken == Some(Breakage::PromiseNotHonoured) {
                    *memory = breakage::accepting(*record, &at);
                }
                let answer = memory.accept(record, until, &at);
                if answer.verdict == Verdict::Done {
                    chain.accepted(record, number, now)?;
                }
                answer
            }
            Ask::Learn(record, _) if !chain.is_decided(record) => {
                return Err(format!("{record:?} is taught as decided"));
            }
            Ask::Learn(record, until) => memory.learn(record, until, &at),
            Ask::Teach(expected, ledger, until) => memory.teach(expected, ledger, until, &at),
        })
    }

    /// Puts a file in place, as its script does: while it is time, if the ledger has accepted that
    /// very decision, and if the file is the one that was read.
    pub(crate) fn activate(&mut self, command: &Activate, now: Duration) -> bool {
        let at = self.time(now);
        let late = command.until.boot != at.boot || at.uptime >= command.until.uptime;
        let accepted = match self.memory.read(&at).memory {
            Memory::Known(ledger) => ledger.accepted.map(|record| record.generation),
            Memory::Blank => None,
        };
        if late || accepted != Some(command.generation) || self.file.version != command.read {
            return false;
        }
        self.file = File {
            generation: command.generation,
            active: command.active,
            version: self.file.version + 1,
        };
        true
    }

    pub(crate) fn votes_for(&self, to: Move) -> bool {
        !self.reaches[index(to.failed)] && self.reaches[index(to.next)]
    }

    pub(crate) fn sights(&mut self, to: Move, broken: Option<Breakage>) -> Sights {
        let see = |node: NodeId| match self.reaches[index(node)] {
            true => Sight::Reached { read_only: false },
            false => Sight::NotReached {
                reason: "no answer".to_owned(),
            },
        };
        let sights = Sights {
            failed: see(to.failed),
            next: see(to.next),
        };
        if vote(&sights.failed, &sights.next) == Vote::For {
            self.voted = Some(sights.clone());
        }
        match broken {
            Some(Breakage::OldVotesUsed) => self.voted.clone().unwrap_or(sights),
            Some(Breakage::UnreachableTargetAccepted) => breakage::reaching_next(sights),
            _ => sights,
        }
    }
}
