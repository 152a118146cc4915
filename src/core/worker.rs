//! One PgBouncer's worker: compares what is served with what is desired, and says what to do.
//!
//! Level, not edge: it does not matter what was missed. Whether a decision came while the host was
//! away, whether an attempt ended half way, whether another agent died between PAUSE and RESUME:
//! the next look at the state shows what is left to do. Carrying it out is `agent::pooler`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::config::NodeId;
use crate::core::debt::Debt;
use crate::core::outcome::{End, Outcome};
use crate::core::plan::Decision;
use crate::core::pooler::Observation;
use crate::core::retry::Retry;
use crate::core::routing::Routing;
use crate::core::sequence::Owed;
use crate::generation::Generation;

mod scope;
#[cfg(test)]
mod tests;

pub use scope::{Scope, note_edited, note_foreign};

/// How often a PgBouncer is looked at while all is well.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// And while something is being decided or is left to do.
const LOOK_INTERVAL_BUSY: Duration = Duration::from_millis(250);
/// How often its host is asked for the file, which also keeps the SSH session from idling out.
const FILE_INTERVAL: Duration = Duration::from_secs(30);
/// What `server_login_retry` is set to while a redirect is young. Never 0: PgBouncer then spins.
pub const HASTY: &str = "0.02";

/// What a worker is to reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The decision in force.
    pub decision: Option<Decision>,
    /// Which entries it moves.
    pub scope: Scope,
    /// Whether this agent holds the claim: without it, nothing is moved.
    pub may_act: bool,
    /// Whether a node is suspect or down: looks come more often.
    pub busy: bool,
    /// Whether the failed node is still down: then a PgBouncer that points there again is moved
    /// again. Afterwards each is moved once, and what an operator does then is left alone.
    pub insist: bool,
    /// No new work; pay what is owed and end.
    pub stopping: bool,
    /// Do not pay it when stopping: somebody else comes for what is on record.
    pub leave_debt: bool,
}

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
    /// Pay what an operation left behind whose owner is gone.
    Resolve {
        /// The operation.
        token: String,
        /// What it owes.
        debt: Debt,
    },
    /// Set `server_login_retry` again after our own redirect.
    Pay(Owed),
    /// Nothing until then.
    Wait(Instant),
    /// Stopped, with nothing owed.
    End,
}

/// What the cluster is told of a PgBouncer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the last look worked.
    pub reached: bool,
    /// The nodes that our entries point at.
    pub serves: BTreeSet<NodeId>,
    /// Entries of ours that point at none of the nodes, or are not there.
    pub astray: BTreeSet<String>,
    /// Entries of others that point at each node: not ours to move, but to be named.
    pub foreign: BTreeMap<NodeId, BTreeSet<String>>,
    /// The generation of its file.
    pub generation: Generation,
    /// The node that its file was written for.
    pub file_active: Option<NodeId>,
    /// Whether some entry of ours is paused.
    pub paused: bool,
    /// The decision that it agrees with, if any.
    pub settled: Option<Generation>,
    /// The last outcome, for the decision that it names.
    pub outcome: Option<Outcome>,
    /// Why it is not reached.
    pub trouble: Option<String>,
    /// Whether `server_login_retry` is still to be set again.
    pub owes: bool,
    /// Whether an operation that has not ended is on record on its host: ours or another's.
    pub on_record: bool,
}

impl Status {
    /// Where its entries point, for people.
    #[must_use]
    pub fn serving(&self) -> String {
        let nodes: Vec<String> = self.serves.iter().map(NodeId::to_string).collect();
        let astray: Vec<String> = self.astray.iter().map(|name| format!("`{name}`")).collect();
        match (nodes.is_empty(), astray.is_empty()) {
            (_, true) => format!("it serves node {} already", nodes.join(" and ")),
            (false, false) => format!(
                "it serves node {}, but {} is not there or points at no node",
                nodes.join(" and "),
                astray.join(", ")
            ),
            (true, false) => format!("{} is not there or points at no node", astray.join(", ")),
        }
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self::NONE
    }
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
    unconfirmed: bool,
    owed: Option<Owed>,
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
            unconfirmed: false,
            owed: None,
            status: Status::default(),
        }
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
            self.unconfirmed = false;
            self.status.outcome = None;
            // What there is to do for it is told by a fresh look: another agent may just have done
            // it.
            self.looked = None;
            // An unreachable host may have come back with the very fault that caused the decision.
            if let Link::Down { retry_at } = &mut self.link {
                *retry_at = (*retry_at).min(now);
            }
        }
        self.assignment = assignment;
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
        if let Some(owed) = self.owed.as_ref()
            && (now >= owed.due || (self.assignment.stopping && !self.assignment.leave_debt))
        {
            return Do::Pay(owed.clone());
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
        if now >= self.not_before
            && let Some(redirect) = self.redirect(observation)
        {
            return redirect;
        }
        self.look(observation, now)
    }

    /// The ways are open; the next thing is a look.
    pub fn connected(&mut self) {
        self.link = Link::Up;
        self.observation = None;
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

    /// A look was taken; `file` says whether the host was asked too.
    pub fn observed(&mut self, observation: Observation, file: bool, now: Instant) {
        self.looked = Some(now);
        if file {
            self.file_looked = Some(now);
        }
        let routes = |o: &Observation| {
            self.routing
                .names()
                .map(|n| o.nodes_of(n, &self.routing))
                .collect::<Vec<_>>()
        };
        let moved = self
            .observation
            .as_ref()
            .is_some_and(|before| routes(before) != routes(&observation));
        self.file_stale = !file && (self.file_stale || moved);
        if self.file_stale {
            // Nothing is said of it before both are known as they are together.
            self.observation = Some(observation);
            return;
        }
        let routing = &self.routing;
        let nodes = |name: &String| observation.nodes_of(name, routing);
        self.status.serves = routing.names().flat_map(nodes).collect();
        let astray = |name: &&String| nodes(name).is_empty();
        self.status.astray = routing.names().filter(astray).cloned().collect();
        let foreign = |node| (node, observation.foreign_at(node, routing));
        self.status.foreign = routing.nodes().map(foreign).collect();
        self.status.paused = !left_paused(&observation, routing).is_empty();
        self.status.generation = observation.file.generation;
        self.status.file_active = observation.file.active;
        self.status.on_record = observation.file.operation.is_some();
        self.status.reached = true;
        self.status.trouble = None;
        // Whose a pause is stands in the record on the host, which must be as fresh as the pause.
        let known = file || observation.paused(routing).is_empty();
        if known {
            self.judge(&observation);
        }
        self.observation = Some(observation);
    }

    /// A redirect ended. Looks again before anything else.
    pub fn redirected(&mut self, outcome: Outcome, owed: Option<Owed>, random: f64, now: Instant) {
        self.unconfirmed = matches!(outcome.end, End::Unconfirmed(_));
        let wait = if outcome.serves() {
            self.retry.succeeded();
            Duration::ZERO
        } else {
            self.retry.failed(random)
        };
        self.not_before = now + wait;
        if owed.is_some() {
            self.owed = owed;
            self.status.owes = true;
        }
        self.status.outcome = Some(outcome);
        self.observation = None;
    }

    /// What was owed is paid.
    pub fn paid(&mut self) {
        self.owed = None;
        self.status.owes = false;
        self.observation = None;
    }

    /// What another operation left behind is cleared up.
    pub fn resolved(&mut self) {
        self.observation = None;
    }

    /// Sets `settled` from what is served: nothing of ours is left to move, nothing open.
    fn judge(&mut self, observation: &Observation) {
        let Some(decision) = &self.assignment.decision else {
            return;
        };
        let scope = self.assignment.scope;
        let gone = scope.moves(decision, observation, &self.routing).is_empty();
        let kept = !self.assignment.insist && self.status.settled == Some(decision.generation);
        if kept || (gone && !self.status.paused && !self.unconfirmed) {
            self.status.settled = Some(decision.generation);
            if self.status.outcome.is_none() {
                let warnings = scope.notes_foreign(&self.status, decision);
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

    /// Another operation's debt, once its time is over. Our own is never there when this is asked:
    /// a redirect runs to its end before the next look.
    fn orphan(&self, observation: &Observation) -> Option<Do> {
        let operation = observation.file.operation.as_ref()?;
        let ours = self
            .owed
            .as_ref()
            .is_some_and(|owed| owed.token == operation.token);
        if ours || !operation.expired {
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
        if observation.file.generation > decision.generation || (settled && !self.assignment.insist)
        {
            return None;
        }
        let scope = self.assignment.scope;
        let moves = scope.moves(decision, observation, &self.routing);
        if moves.is_empty() && !self.unconfirmed {
            return None;
        }
        let confirm = if moves.is_empty() {
            self.routing.names().cloned().collect()
        } else {
            moves.clone()
        };
        Some(Do::Redirect {
            decision: decision.clone(),
            moves,
            confirm,
        })
    }

    fn look(&self, observation: &Observation, now: Instant) -> Do {
        // The file is read when the consoles give a reason, or every now and then.
        let hasty = observation
            .processes
            .iter()
            .any(|p| p.server_login_retry == HASTY);
        let paused = !observation.paused(&self.routing).is_empty();
        let operation = observation.file.operation.iter();
        let ours = |token: &String| self.owed.as_ref().is_some_and(|owed| owed.token == *token);
        let others = operation
            .filter(|operation| !ours(&operation.token))
            .count()
            > 0;
        let reason = paused || (hasty && self.owed.is_none()) || others;
        if reason && self.file_looked != self.looked {
            return Do::Look { file: true };
        }
        let busy = self.assignment.busy || self.status.paused;
        let interval = if busy {
            LOOK_INTERVAL_BUSY
        } else {
            LOOK_INTERVAL
        };
        let next = self.looked.map_or(now, |looked| looked + interval);
        if now >= next {
            let old = self
                .file_looked
                .is_none_or(|looked| now >= looked + FILE_INTERVAL);
            return Do::Look {
                file: reason || old,
            };
        }
        let mut until = next;
        if let Some(owed) = &self.owed {
            until = until.min(owed.due);
        }
        if self.assignment.decision.is_some() && self.not_before > now {
            until = until.min(self.not_before);
        }
        Do::Wait(until)
    }
}

/// Entries that are paused and that an operation on record has paused; the others are an
/// operator's.
#[must_use]
pub fn left_paused(observation: &Observation, routing: &Routing) -> BTreeSet<String> {
    let Some(operation) = &observation.file.operation else {
        return BTreeSet::new();
    };
    observation
        .paused(routing)
        .intersection(&operation.debt.paused)
        .cloned()
        .collect()
}
