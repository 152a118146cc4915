//! Planned moves: PgBouncers leave a node that lives for another one that lives, without an error
//! for anybody.
//!
//! A library, for commands: [`move_to`] for one PgBouncer, [`move_all`] for all of them. Nothing
//! here is decided but whether a move may begin; its steps are `core::plan`'s, what follows from
//! each is `core::sequence`'s. Whoever calls it holds the claim, or does without: the order of
//! decisions holds all the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::executor::{Execution, Hooks};
use super::links::{LinkError, Links};
use super::planning::{Planner, PlanningError};
use crate::config::{Edits, Node, NodeId, PgBouncer};
use crate::core::node::Fault;
use crate::core::outcome::{End, FileAfter, Outcome};
use crate::core::plan::{Decision, Plan, Way};
use crate::core::sequence::Owed;
use crate::edge::postgres::{self, attempt_limit};
use crate::generation::Generation;

mod fleet;
mod gate;
mod preflight;

pub use fleet::move_all;
pub use preflight::{Preflight, Refusal, look};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The node to leave.
    pub from: NodeId,
    /// The node to go to.
    pub to: NodeId,
    /// How.
    pub manner: Manner,
    /// What becomes of a file that somebody has edited since it was written: [`Edits::Refuse`],
    /// unless somebody has looked at it.
    pub edits: Edits,
}

/// How clients get from one node to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Both nodes take writes at the same time, for as long as the last transaction on the old one
    /// takes.
    Drain {
        /// How long that is waited for; nobody is thrown out then.
        limit: Duration,
    },
    /// They never do: clients are held up in between. Not in session pooling.
    Pause {
        /// How long running transactions are waited for.
        limit: Duration,
        /// How long the new node may need to catch up ([`Hooks::replayed`]).
        replayed: Duration,
    },
}

impl Manner {
    fn way(self, fast_close: Option<String>) -> Way {
        match self {
            Self::Drain { limit } => Way::Drain { limit, fast_close },
            Self::Pause { limit, replayed } => Way::Pause { limit, replayed },
        }
    }
}

/// What became of one PgBouncer.
#[derive(Debug)]
pub struct Moved {
    /// What became of it.
    pub outcome: Outcome,
    /// What is still owed: pay it with [`Moved::settle`], or leave it to the daemons, which find it
    /// on record on the host.
    pub owed: Option<Owed>,
    links: Option<Links>,
}

impl Moved {
    /// Waits until what is owed is due (the length of `server_login_retry`), and pays it.
    ///
    /// # Errors
    /// It could not be paid; it is on record on the host.
    pub async fn settle(self) -> Result<(), LinkError> {
        let Some(links) = self.links else {
            return Ok(());
        };
        let paid = match self.owed {
            Some(owed) => {
                tokio::time::sleep_until(owed.due.into()).await;
                pay(&links, &owed).await
            }
            None => Ok(()),
        };
        links.host.close().await;
        paid
    }

    /// Leaves what is owed to the daemons.
    pub async fn leave(&mut self) {
        if let Some(links) = self.links.take() {
            links.host.close().await;
        }
    }
}

/// Sets `server_login_retry` again.
///
/// # Errors
/// It could not be done; it is on record on the host.
pub async fn pay(links: &Links, owed: &Owed) -> Result<(), LinkError> {
    links.pay_own(owed).await
}

/// What tells the target from any other node; it has to be alive.
///
/// # Errors
/// Why it gets no traffic.
pub async fn identity(node: &Node) -> Result<String, String> {
    let limit = attempt_limit(&node.conninfo);
    let ask = async {
        let session = postgres::connect(&node.conninfo, limit).await?;
        postgres::identity(&session, limit).await
    };
    ask.await
        .map_err(|error| format!("node {} does not answer: {error}", node.node_id))
}

/// Moves one PgBouncer, over ways that are open, under the number `generation` or one above what is
/// in its file. Gives what is owed as well. Must not be dropped half way: what it began would stay
/// begun until its record on the host expires.
pub async fn move_to(
    links: &Links,
    pgbouncer: &PgBouncer,
    planner: &Planner,
    order: &Order,
    target: (&str, Option<Generation>),
    hooks: Hooks,
) -> (Outcome, Option<Owed>) {
    let (identity, generation) = target;
    let ready = match preflight::look(links, pgbouncer, planner, order).await {
        Ok(ready) => ready,
        Err(refusal) => {
            let generation = generation.unwrap_or(Generation::NONE);
            return (refused(order, generation, &refusal), None);
        }
    };
    let next = ready.observation.file.generation.next(order.to);
    let generation = generation.unwrap_or(next);
    let at = (links, pgbouncer, planner);
    carry_out(at, order, generation, ready, identity, hooks).await
}

async fn carry_out(
    (links, pgbouncer, planner): (&Links, &PgBouncer, &Planner),
    order: &Order,
    generation: Generation,
    ready: Preflight,
    identity: &str,
    hooks: Hooks,
) -> (Outcome, Option<Owed>) {
    if ready.moves.is_empty() {
        let end = End::Skipped(format!("no entry of it points at node {}", order.from));
        return (ended(order, generation, end), None);
    }
    let plan = match plan(links, planner, order, generation, &ready) {
        Ok(plan) => plan,
        Err(error) => {
            let refusal = Refusal::Planning(error);
            return (refused(order, generation, &refusal), None);
        }
    };
    let identity = Some(identity.to_owned());
    let begun = Instant::now();
    let execution = Execution::new(plan, links, pgbouncer, identity, begun);
    let (mut outcome, owed) = execution.with_hooks(hooks).run().await;
    outcome.warnings.extend(ready.notes);
    (outcome, owed)
}

fn plan(
    links: &Links,
    planner: &Planner,
    order: &Order,
    generation: Generation,
    ready: &Preflight,
) -> Result<Plan, PlanningError> {
    let decision = Decision {
        generation,
        failed: order.from,
        active: order.to,
        // Of no meaning in a planned move.
        fault: Fault::Crash,
    };
    let (moves, observation) = (&ready.moves, &ready.observation);
    let version = links.consoles.iter().map(|console| console.version).min();
    let plan = planner.plan_under(
        order.edits,
        &decision,
        moves,
        moves.clone(),
        observation,
        version,
    )?;
    let way = order.manner.way(ready.fast_close.clone());
    Ok(Plan {
        pause: matches!(way, Way::Pause { .. }),
        evict: None,
        way,
        ..plan
    })
}

fn refused(order: &Order, generation: Generation, refusal: &Refusal) -> Outcome {
    let end = End::Failed {
        reason: refusal.to_string(),
        file: FileAfter::Unchanged,
    };
    ended(order, generation, end)
}

fn ended(order: &Order, generation: Generation, end: End) -> Outcome {
    Outcome {
        generation,
        active: order.to,
        end,
        warnings: Vec::new(),
        left_paused: Vec::new(),
        took: Duration::ZERO,
        entries: BTreeMap::new(),
    }
}
