//! Files for decisions that may come, put on the host while all is well: a failover then only
//! renames one.
//!
//! Decides which file is still to be staged, and when. Making and sending it is `agent::pooler`'s.
//! Whether it is still there is not asked: the end of any operation on the host removes what
//! anybody has staged, and an activation that does not find its file has it staged then.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Do, Scope, Worker};
use crate::config::NodeId;
use crate::core::plan::Decision;
use crate::core::pooler::Observation;

/// A disk that is full is not tried every second.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What the bytes of a staged file follow from, as far as it can change while a session lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Basis {
    decision: Decision,
    moves: BTreeSet<String>,
    /// Where the other entries stay.
    nodes: Vec<BTreeSet<NodeId>>,
    /// SHA-256 of the file as it is.
    file: String,
}

/// What this worker has staged.
#[derive(Debug, Clone, Default)]
pub(super) struct Staging {
    files: Vec<(Basis, String)>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Worker {
    /// The next file to stage. Only while nothing is going on: nobody waits for it.
    pub(super) fn prepare(&self, observation: &Observation, now: Instant) -> Option<Do> {
        let assignment = &self.assignment;
        let active = self.is_pending() || assignment.busy || self.owed.is_some();
        let early = self.staging.not_before.is_some_and(|at| now < at);
        if active || early || observation.file.operation.is_some() {
            return None;
        }
        let mut foreseen = assignment.foreseen.iter();
        foreseen.find_map(|decision| {
            let basis = self.basis(decision, observation);
            let staged = self.staging.files.iter().any(|(made, _)| *made == basis);
            let needed = !basis.moves.is_empty() && !staged;
            needed.then_some(Do::Prepare {
                decision: basis.decision,
                moves: basis.moves,
            })
        })
    }

    /// When [`Worker::prepare`] may have something although nothing was observed.
    pub(super) fn prepares_at(&self) -> Option<Instant> {
        let waits = !self.assignment.foreseen.is_empty();
        self.staging.not_before.filter(|_| waits)
    }

    /// Hashes of the staged files that stay of use when another one is staged.
    #[must_use]
    pub fn staged_still_wanted(&self) -> Vec<String> {
        let Some(observation) = &self.observation else {
            return Vec::new();
        };
        let foreseen = self.assignment.foreseen.iter();
        let bases: Vec<Basis> = foreseen.map(|d| self.basis(d, observation)).collect();
        let files = self.staging.files.iter();
        let wanted = files.filter(|(basis, _)| bases.contains(basis));
        wanted.map(|(_, hash)| hash.clone()).collect()
    }

    /// Whether this worker has staged the file of this hash.
    #[must_use]
    pub fn has_staged(&self, hash: &str) -> bool {
        self.staging.files.iter().any(|(_, staged)| staged == hash)
    }

    /// The file of a decision that was foreseen is on the host. `true`: that is news, because it
    /// could not be staged before.
    pub fn staged(&mut self, decision: &Decision, hash: String) -> bool {
        let Some(observation) = &self.observation else {
            return false;
        };
        let kept = self.staged_still_wanted();
        let basis = self.basis(decision, observation);
        self.staging.files.retain(|(_, hash)| kept.contains(hash));
        self.staging.files.push((basis, hash));
        self.staging.not_before = None;
        std::mem::take(&mut self.staging.failures) > 0
    }

    /// It could not be staged. `true`: that is news.
    pub fn not_staged(&mut self, now: Instant) -> bool {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.staging.failures.min(16));
        self.staging.not_before = Some(now + doubled.min(LONGEST_WAIT));
        self.staging.failures = self.staging.failures.saturating_add(1);
        self.staging.failures == 1
    }

    fn basis(&self, decision: &Decision, observation: &Observation) -> Basis {
        let routing = &self.routing;
        let nodes = |name: &String| observation.nodes_of(name, routing);
        Basis {
            decision: decision.clone(),
            moves: Scope::OnFailed.moves(decision, observation, routing),
            nodes: routing.names().map(nodes).collect(),
            file: observation.file.hash.clone(),
        }
    }
}

impl Staging {
    /// Nothing that was staged is there any more, or may be of another content.
    pub(super) fn forget(&mut self) {
        self.files.clear();
    }
}
