//! One round: who was asked, and what each has answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Word;

#[derive(Debug, Clone)]
pub(super) struct Round {
    id: u64,
    deadline: Instant,
    waits_for: BTreeSet<String>,
    words: BTreeMap<String, Word>,
}

impl Round {
    pub(super) fn new(id: u64, begun: Instant, limit: Duration) -> Self {
        Self {
            id,
            deadline: begun + limit,
            waits_for: BTreeSet::new(),
            words: BTreeMap::new(),
        }
    }

    pub(super) fn waits_for(&mut self, name: String) {
        self.waits_for.insert(name);
    }

    pub(super) fn is(&self, id: u64) -> bool {
        self.id == id
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The first word of each counts.
    pub(super) fn heard(&mut self, word: Word) {
        if self.waits_for.remove(&word.witness) {
            self.words.insert(word.witness.clone(), word);
        }
    }

    /// How many may still answer.
    pub(super) fn open(&self, now: Instant) -> usize {
        match now >= self.deadline {
            true => 0,
            false => self.waits_for.len(),
        }
    }

    pub(super) fn words(&self) -> &BTreeMap<String, Word> {
        &self.words
    }
}
