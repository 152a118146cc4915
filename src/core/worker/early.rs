//! The early pause: clients wait from the moment when their node is suspect.
//!
//! Decides when one PgBouncer's entries are paused on suspicion, and when that ends without a
//! redirect. A real failure goes on into the redirect, of this agent or of the other, which
//! replaces the record and resumes at its end. At most one for each incident: clients that have
//! waited in vain are not made to wait again, by whichever agent. That two agents do not begin it
//! at once is seen to by the lock on the host (`edge::remote`); carrying it out is
//! `agent::pooler`'s.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Do, Worker};
use crate::config::NodeId;
use crate::core::debt::{Debt, Settings};
use crate::core::pooler::Observation;
use crate::core::sequence::{Owed, before_reload, is_hasty};

/// An early pause that ends beyond this needs a dead-man's switch.
const LIMIT_WITHOUT_SWITCH: Duration = Duration::from_secs(1);
/// A pause of the other agent that was seen no longer ago than this is for the failure that this
/// one then finds, too.
const SAME_INCIDENT: Duration = Duration::from_secs(30);

/// A `server_login_retry` that clients notice, in seconds.
const SLOW_S: f64 = 0.1;

/// How far it is in one incident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Early {
    /// Nothing was suspected.
    #[default]
    Idle,
    /// Another agent has paused clients of the node, of which this one suspects nothing.
    Foreign { node: NodeId, seen: Instant },
    /// This agent holds it.
    Held {
        token: String,
        node: NodeId,
        databases: BTreeSet<String>,
        until: Instant,
        /// A redirect has been tried: what it did not take over is ended.
        over: bool,
    },
    /// It is over, or was another agent's.
    Spent { node: NodeId },
}

/// How long clients may be paused on suspicion; `None`: not at all. Only an agent could end it
/// without a switch, and none may be left.
#[must_use]
pub fn allowed(configured: Option<Duration>, has_switch: bool) -> Option<Duration> {
    configured.filter(|limit| has_switch || *limit <= LIMIT_WITHOUT_SWITCH)
}

/// What is to be set again after the end of an early pause. With `hasten`, `server_login_retry` is
/// made short for a while; a try before this one that broke off may have done so already, which
/// `on_record` tells.
#[must_use]
pub fn owed(
    token: &str,
    found: Vec<Settings>,
    on_record: &Debt,
    hasten: bool,
    now: Instant,
) -> Option<Owed> {
    let hastened = found.iter().any(is_hasty);
    let found = found.into_iter().enumerate();
    let before: Vec<Settings> = found
        .map(|(index, found)| before_reload(found, on_record.settings_of(index)))
        .collect();
    let owed = Owed::new(token.to_owned(), &before, now);
    let slow = |value: &String| value.parse::<f64>().is_ok_and(|seconds| seconds > SLOW_S);
    ((hasten || hastened) && owed.values.iter().any(slow)).then_some(owed)
}

impl Worker {
    /// Says whether clients may be paused on suspicion, and for how long: [`allowed`].
    pub fn allow_early_pause(&mut self, limit: Option<Duration>) {
        self.early_limit = limit;
    }

    /// An early pause was begun on `databases` under `token`; without a token, somebody else has
    /// something on record there.
    pub fn paused_early(
        &mut self,
        token: Option<String>,
        node: NodeId,
        databases: BTreeSet<String>,
        until: Instant,
    ) {
        self.early = match token {
            Some(token) => Early::Held {
                token,
                node,
                databases,
                until,
                over: false,
            },
            None => Early::Spent { node },
        };
        self.observation = None;
    }

    /// The early pause was ended, or is not this agent's any more; `owed`: what is left to pay.
    pub fn early_pause_ended(&mut self, owed: Option<Owed>) {
        if owed.is_some() {
            self.status.owes = true;
            self.owed = owed;
        }
        if let Early::Held { node, .. } = self.early {
            self.early = match self.assignment.suspect == Some(node) {
                true => Early::Spent { node },
                // The incident is over.
                false => Early::Idle,
            };
        }
        self.observation = None;
    }

    /// A look was taken: what another agent has paused is its pause for this incident.
    pub(super) fn see_foreign_pause(&mut self, observation: &Observation, now: Instant) {
        let Some(operation) = &observation.file.operation else {
            return;
        };
        let names = operation.debt.paused.iter();
        let names = names.filter(|name| self.routing.has(name));
        let nodes: BTreeSet<NodeId> = names
            .flat_map(|name| observation.nodes_of(name, &self.routing))
            .collect();
        if !matches!(self.early, Early::Idle | Early::Foreign { .. }) {
            return;
        }
        let suspect = self.assignment.suspect;
        if let Some(node) = suspect.filter(|node| nodes.contains(node)) {
            self.early = Early::Spent { node };
        } else if let (None, Some(node)) = (suspect, nodes.first()) {
            let (node, seen) = (*node, now);
            self.early = Early::Foreign { node, seen };
        }
    }

    /// After a redirect there is nothing left to wait for.
    pub(super) fn early_pause_over(&mut self) {
        if let Early::Held { over, .. } = &mut self.early {
            *over = true;
        }
    }

    /// Another incident begins with a pause of its own.
    pub(super) fn suspect_changed(&mut self, now: Instant) {
        let suspect = self.assignment.suspect;
        match self.early {
            Early::Spent { node } if suspect != Some(node) => self.early = Early::Idle,
            Early::Foreign { node, seen } if suspect.is_some() => {
                let same = suspect == Some(node) && now < seen + SAME_INCIDENT;
                self.early = match same {
                    true => Early::Spent { node },
                    false => Early::Idle,
                };
            }
            Early::Idle | Early::Foreign { .. } | Early::Held { .. } | Early::Spent { .. } => {}
        }
    }

    /// What to do about it: pause, or resume.
    pub(super) fn begin_early_pause(&self, observation: &Observation) -> Option<Do> {
        let limit = self.early_limit?;
        let node = self.assignment.suspect?;
        let busy = self.is_pending() || observation.file.operation.is_some();
        if busy || self.early != Early::Idle {
            return None;
        }
        let paused = observation.paused(&self.routing);
        let points_there = |name: &&String| {
            let nodes = observation.nodes_of(name, &self.routing);
            nodes.contains(&node) && !paused.contains(*name)
        };
        let databases: BTreeSet<String> =
            self.routing.names().filter(points_there).cloned().collect();
        (!databases.is_empty()).then_some(Do::PauseEarly {
            node,
            databases,
            limit,
        })
    }

    pub(super) fn end_early_pause(&self, now: Instant) -> Option<Do> {
        let Early::Held {
            token,
            node,
            databases,
            until,
            over,
        } = &self.early
        else {
            return None;
        };
        let why = match () {
            () if self.assignment.stopping => EarlyEnd::Stopping,
            () if *over => EarlyEnd::Redirected,
            () if self.assignment.suspect != Some(*node) => EarlyEnd::NotSuspect,
            () if now >= *until => EarlyEnd::TimeOver,
            () => return None,
        };
        Some(Do::EndEarlyPause {
            token: token.clone(),
            databases: databases.clone(),
            why,
        })
    }

    /// When [`Worker::end_early_pause`] may have something to do.
    pub(super) fn early_pause_until(&self) -> Option<Instant> {
        match &self.early {
            Early::Held { until, .. } => Some(*until),
            Early::Idle | Early::Foreign { .. } | Early::Spent { .. } => None,
        }
    }
}

/// Why an early pause ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyEnd {
    /// The node answers again, there is nowhere to go any more, or an operator paused failover.
    NotSuspect,
    /// Its time is over, and nothing was decided.
    TimeOver,
    /// A redirect was carried out or tried, which may have taken it over.
    Redirected,
    /// The daemon ends, or reads its configuration anew.
    Stopping,
}

impl std::fmt::Display for EarlyEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotSuspect => "there is no reason for it any more",
            Self::TimeOver => "its time is over and nothing was decided",
            Self::Redirected => "a redirect has been tried",
            Self::Stopping => "the agent ends",
        })
    }
}
