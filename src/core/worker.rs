//! One PgBouncer's worker: compares what is served with what is desired, and says what to do.
//!
//! Level, not edge: it does not matter what was missed. Whether a decision came while the host was
//! away, whether an attempt ended half way, whether another agent died between PAUSE and RESUME:
//! the next look at the state shows what is left to do. Carrying it out is `agent::pooler`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::config::NodeId;
use crate::core::debt::Debt;
use crate::core::ledger::Record;
use crate::core::outcome::{End, Outcome};
use crate::core::plan::Decision;
use crate::core::pooler::Observation;
use crate::core::retry::Retry;
use crate::core::routing::Routing;
use crate::core::sequence::Owed;

mod assignment;
mod disable;
mod drift;
pub mod early;
mod left;
mod looking;
mod reconciling;
mod scope;
mod staging;
mod stamp;
mod status;
#[cfg(test)]
mod tests;

pub use assignment::Assignment;
pub use drift::{Difference, InForce};
use early::{Early, EarlyEnd};
pub use left::{left_disabled, left_paused, may_be_left_paused};
pub use looking::Depth;
use reconciling::Found;
pub use reconciling::Reconciling;
pub use scope::{Scope, note_edited, note_foreign};
use staging::Staging;
pub use status::Status;

/// What `server_login_retry` is set to while a redirect is young. Never 0: PgBouncer then spins.
pub const HASTY: &str = "0.02";

/// Where nobody waits for it, a failed attempt is repeated this many times later.
const UNHURRIED: u32 = 6;

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Open the ways to host and consoles.
    Connect,
    /// Look: at the consoles only, or at the file too.
    Look {
        /// Whether the file is read too.
        file: bool,
    },
    /// Move what points where the decision says that traffic leaves.
    Redirect {
        /// The decision.
        decision: Decision,
        /// Entries to move.
        moves: BTreeSet<String>,
        /// Entries to send a query through, whether they move or not.
        confirm: BTreeSet<String>,
    },
    /// Put the file of a decision that may come on the host.
    Prepare {
        /// The decision.
        decision: Decision,
        /// Entries that it would move.
        moves: BTreeSet<String>,
    },
    /// Pay what an operation left behind whose owner is gone.
    Resolve {
        /// The operation.
        token: String,
        /// What it owes.
        debt: Debt,
    },
    /// Pause what points at a suspect node, if nothing is on record there.
    PauseEarly {
        /// The node.
        node: NodeId,
        /// Entries to pause.
        databases: BTreeSet<String>,
        /// For how long at most.
        limit: Duration,
    },
    /// End an early pause of ours, if it still is.
    EndEarlyPause {
        /// The operation.
        token: String,
        /// Entries to resume.
        databases: BTreeSet<String>,
        /// Why.
        why: EarlyEnd,
    },
    /// Set again what our own redirect owes: it is due, or this agent stops.
    Pay(Owed),
    /// Write the number of the decision into the file of a PgBouncer that serves the node already.
    Stamp(Decision),
    /// Have new clients get an error at once: no node is left.
    Disable,
    /// Nothing until then.
    Wait(Instant),
    /// Stopped, with nothing owed.
    End,
}

#[derive(Debug, Clone)]
enum Link {
    Down { retry_at: Instant },
    Up,
}

/// The worker's state.
#[derive(Debug, Clone)]
pub struct Worker {
    routing: Routing,
    assignment: Assignment,
    link: Link,
    observation: Option<Observation>,
    looked: Option<Instant>,
    file_looked: Option<Instant>,
    /// The consoles say something else than when the file was read: so may the file.
    file_stale: bool,
    retry: Retry,
    not_before: Instant,
    /// The node of which the last attempt did not prove that clients reach it.
    unconfirmed: Option<NodeId>,
    owed: Option<Owed>,
    staging: Staging,
    found: Found,
    disabling: disable::Disabling,
    stamping: stamp::Stamping,
    early: Early,
    early_limit: Option<Duration>,
    has_ledger: bool,
    status: Status,
}

impl Worker {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(routing: Routing, now: Instant) -> Self {
        Self {
            routing,
            assignment: Assignment::default(),
            link: Link::Down { retry_at: now },
            observation: None,
            looked: None,
            file_looked: None,
            file_stale: false,
            retry: Retry::default(),
            not_before: now,
            unconfirmed: None,
            owed: None,
            staging: Staging::default(),
            found: Found::default(),
            disabling: disable::Disabling::default(),
            stamping: stamp::Stamping::default(),
            early: Early::Idle,
            early_limit: None,
            has_ledger: false,
            status: Status::default(),
        }
    }

    /// Whether the next redirect may pause clients. After one that failed they have waited once in
    /// vain; a host that is too slow for a pause must not keep its PgBouncer from being redirected.
    #[must_use]
    pub fn may_pause(&self) -> bool {
        self.retry == Retry::default()
    }

    /// What is known and done so far.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The last look, for whoever builds the plan.
    #[must_use]
    pub fn observation(&self) -> Option<&Observation> {
        self.observation.as_ref()
    }

    /// What it was told about differences.
    #[must_use]
    pub fn reconciling(&self) -> Option<&Reconciling> {
        self.assignment.reconciling.as_ref()
    }

    /// The addresses of its entries.
    #[must_use]
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// Something else is desired from now on.
    pub fn assign(&mut self, assignment: Assignment, now: Instant) {
        let generation = |a: &Assignment| a.decision.as_ref().map(|d| d.generation);
        if generation(&self.assignment) != generation(&assignment) {
            self.retry.succeeded();
            self.not_before = now;
            self.status.outcome = None;
            self.status.settled = None;
            // What there is to do for it is told by a fresh look: another agent may just have done
            // it.
            self.looked = None;
            if let Some(decision) = &assignment.decision {
                self.stamping.forget();
                // Still owed where the same is decided again, after the claim was lost.
                self.unconfirmed.take_if(|node| *node != decision.active);
            }
            // An unreachable host may have come back with the very fault that caused the decision.
            if let Link::Down { retry_at } = &mut self.link {
                *retry_at = (*retry_at).min(now);
            }
        }
        let before = std::mem::replace(&mut self.assignment, assignment);
        self.file_stale |= self.compares_again(&before);
        self.disabling.assigned(self.assignment.none_left);
        self.suspect_changed(now);
    }

    /// What to do at `now`. Spurious calls are safe.
    #[must_use]
    pub fn next(&self, now: Instant) -> Do {
        if let Link::Down { retry_at } = self.link {
            return match (self.assignment.stopping, now < retry_at) {
                (true, _) => Do::End,
                (false, true) => Do::Wait(retry_at),
                (false, false) => Do::Connect,
            };
        }
        if let Some(end) = self.end_early_pause(now) {
            return end;
        }
        if let Some(pay) = self.pay(now) {
            return pay;
        }
        if self.assignment.stopping {
            return Do::End;
        }
        let Some(observation) = &self.observation else {
            return Do::Look { file: true };
        };
        if self.looked.is_none() || self.file_stale {
            return Do::Look {
                file: self.file_stale,
            };
        }
        if let Some(resolve) = self.orphan(observation) {
            return resolve;
        }
        // Whose a pause is, is to be known before anything is decided about it.
        let paused = !observation.paused(&self.routing).is_empty();
        if paused && self.file_looked != self.looked {
            return Do::Look { file: true };
        }
        if now >= self.not_before
            && let Some(redirect) = self
                .redirect(observation)
                .or_else(|| self.repair(observation))
        {
            // What is disabled may be ours to enable, which stands in the record on the host.
            return match self.is_record_needed(observation) {
                true => Do::Look { file: true },
                false => redirect,
            };
        }
        if self.disables(observation, now) {
            return Do::Disable;
        }
        if let Some(decision) = self.to_stamp(observation, now) {
            return Do::Stamp(decision);
        }
        if let Some(begin) = self.begin_early_pause(observation) {
            return begin;
        }
        let look = self.look(observation, now);
        if matches!(look, Do::Look { .. }) {
            return look;
        }
        self.prepare(observation, now).unwrap_or(look)
    }

    /// The ways are open; the next thing is a look.
    pub fn connected(&mut self) {
        self.link = Link::Up;
        self.observation = None;
        // Its version may be another one now.
        self.staging.forget();
        self.disabling.forget();
    }

    /// A way is broken, or could not be opened; try again after `wait`.
    pub fn disconnected(&mut self, trouble: String, wait: Duration, now: Instant) {
        self.link = Link::Down {
            retry_at: now + wait,
        };
        self.observation = None;
        self.status.reached = false;
        self.status.trouble = Some(trouble);
    }

    /// A redirect ended. Looks again before anything else.
    pub fn redirected(&mut self, outcome: Outcome, owed: Option<Owed>, random: f64, now: Instant) {
        self.early_pause_over();
        let decided = self.is_pending();
        // How far a failed one came is seen in the next look; whether it serves is to be proved.
        let superseded = matches!(outcome.end, End::Superseded(_));
        let unproved = decided && !outcome.serves() && !superseded;
        self.unconfirmed = unproved.then_some(outcome.active);
        let wait = if outcome.serves() {
            self.retry.succeeded();
            Duration::ZERO
        } else {
            self.retry.failed(random)
        };
        // Both nodes are alive when something is put right without a decision.
        self.not_before = now + if decided { wait } else { UNHURRIED * wait };
        self.staging.forget();
        if owed.is_some() {
            self.owed = owed;
            self.status.owes = true;
        }
        if decided {
            self.status.outcome = Some(outcome);
        }
        self.observation = None;
    }

    /// What was owed is paid.
    pub fn paid(&mut self) {
        self.status.owes = false;
        self.owed = None;
        self.observation = None;
        self.staging.forget();
    }

    /// What another operation left behind is cleared up, but for what is owed from now on.
    pub fn resolved(&mut self, owed: Option<Owed>) {
        if owed.is_some() {
            self.owed = owed;
            self.status.owes = true;
        }
        self.observation = None;
        self.staging.forget();
    }

    /// Whether this PgBouncer has something left to do for the decision. One that has not is like
    /// any other while all is well, however long another one of the fleet is waited for.
    pub(super) fn is_pending(&self) -> bool {
        let decision = self.assignment.decision.as_ref();
        decision.is_some_and(|decision| self.status.settled != Some(decision.generation))
    }

    /// Sets `settled` from what is served: nothing of ours is left to move, nothing open.
    fn judge(&mut self, observation: &Observation, now: Instant) {
        let Some(decision) = &self.assignment.decision else {
            return;
        };
        let scope = self.assignment.scope;
        let gone = self.moves(decision, observation).is_empty();
        let kept = !self.assignment.insist && self.status.settled == Some(decision.generation);
        let proved = self.unproved(decision, observation).is_empty();
        if kept || (gone && !self.status.paused && proved) {
            self.status.settled = Some(decision.generation);
            if self.status.outcome.is_none() {
                let mut warnings = scope.notes_foreign(&self.status, decision);
                if self.assignment.stamps {
                    warnings.extend(self.stamping.begin(decision, observation, now));
                }
                let end = End::Skipped(self.status.serving());
                self.status.outcome = Some(Outcome {
                    generation: decision.generation,
                    active: decision.active,
                    end,
                    warnings,
                    left_paused: Vec::new(),
                    took: Duration::ZERO,
                    entries: BTreeMap::new(),
                });
            }
        } else if self.status.settled == Some(decision.generation) {
            self.status.settled = None;
        }
    }

    fn pay(&self, now: Instant) -> Option<Do> {
        let owed = self.owed.as_ref()?;
        let at_once = self.assignment.stopping && !self.assignment.leave_debt;
        (at_once || owed.due <= now).then(|| Do::Pay(owed.clone()))
    }

    /// Another operation's debt, once its time is over. Our own is never there when this is asked:
    /// a redirect runs to its end before the next look.
    fn orphan(&self, observation: &Observation) -> Option<Do> {
        let operation = observation.file.operation.as_ref()?;
        let ours = self
            .owed
            .as_ref()
            .is_some_and(|owed| owed.token == operation.token);
        if ours || !operation.expired || !self.may_enable(&operation.debt, observation) {
            return None;
        }
        Some(Do::Resolve {
            token: operation.token.clone(),
            debt: operation.debt.clone(),
        })
    }

    fn redirect(&self, observation: &Observation) -> Option<Do> {
        let decision = self
            .assignment
            .decision
            .as_ref()
            .filter(|_| self.assignment.may_act)?;
        // Someone decided later than this decision, and the file says so: not ours to undo.
        let settled = self.status.settled == Some(decision.generation);
        if self.is_later(observation, decision) || (settled && !self.assignment.insist) {
            return None;
        }
        let moves = self.moves(decision, observation);
        let confirm = match moves.is_empty() {
            true => self.unproved(decision, observation),
            false => moves.clone(),
        };
        (!confirm.is_empty()).then(|| Do::Redirect {
            decision: decision.clone(),
            moves,
            confirm,
        })
    }

    fn moves(&self, decision: &Decision, observation: &Observation) -> BTreeSet<String> {
        let (scope, by_ledger) = (self.assignment.scope, self.goes_by_ledger());
        scope.moves_with_file(decision, observation, &self.routing, by_ledger)
    }

    /// Whether the file is of a later decision. Where the ledger of the host tells what was
    /// decided, what the file says of itself is nothing but information.
    fn is_later(&self, observation: &Observation, decision: &Decision) -> bool {
        observation.file.generation > decision.generation && !self.goes_by_ledger()
    }

    /// Whether the ledger of the host has to have accepted what is put in place there.
    #[must_use]
    pub fn goes_by_ledger(&self) -> bool {
        self.has_ledger && self.assignment.by_ledger
    }

    /// What was agreed upon, if that is this decision.
    #[must_use]
    pub fn agreed(&self, decision: &Decision) -> Option<Record> {
        let agreed = self.assignment.agreed;
        agreed.filter(|record| record.generation == decision.generation)
    }

    /// The same; `votes`: the host has a vote, and so a ledger, which tells what was decided.
    #[must_use]
    pub fn with_ledger(mut self, votes: bool) -> Self {
        self.has_ledger = votes;
        self
    }

    /// Entries that lead to the node, but no query through them has proved it. Where a later
    /// decision leads is not ours to prove.
    fn unproved(&self, decision: &Decision, observation: &Observation) -> BTreeSet<String> {
        let leads = |name: &&String| {
            observation.processes.iter().all(|process| {
                let state = process.entries.get(*name);
                state.is_some_and(|state| self.routing.leads_to(name, state, decision.active))
            })
        };
        let unconfirmed = self.unconfirmed == Some(decision.active);
        let ours = unconfirmed && !self.is_later(observation, decision);
        let names = self.routing.names().filter(|_| ours);
        names.filter(leads).cloned().collect()
    }
}
