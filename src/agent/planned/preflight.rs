//! Whether a planned move may begin, and what it will cost: nothing is urgent, so whatever is not
//! as it should be is a reason to leave everything as it is.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Manner, Order};
use crate::agent::links::{LinkError, Links, why_no_switch};
use crate::agent::planning::{Planner, PlanningError};
use crate::config::{Edits, NodeId, PgBouncer};
use crate::core::pooler::Observation;
use crate::core::worker::{Depth, left_disabled};
use crate::edge::admin_console::ConsoleError;

const FAST_CLOSE: &str = "server_fast_close";
const QUERY_WAIT_TIMEOUT: &str = "query_wait_timeout";

/// What a look before the move gave.
#[derive(Debug, Clone)]
pub struct Preflight {
    /// What was seen.
    pub observation: Observation,
    /// The entries that move.
    pub moves: BTreeSet<String>,
    /// Those of them in session pooling: each of their clients gets one error, whatever is done.
    pub sessions: BTreeSet<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    pub(super) fast_close: Option<String>,
}

/// Why a planned move does not begin.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its host or a console does not answer.
    #[error("{}", .0.line())]
    Unreached(#[from] LinkError),
    /// Somebody has edited the file.
    #[error(
        "its file was edited by hand since repoint wrote it; look at it, and say what is to become \
         of the edits"
    )]
    Edited,
    /// An operation is on record that has not ended.
    #[error("operation {0} is under way; try again when it has ended")]
    Busy(String),
    /// An entry is paused, not by us: its RESUME is not ours either.
    #[error("`{0}` is paused by somebody; RESUME it first")]
    Paused(String),
    /// An entry is disabled, not by us: no query would get through to prove anything.
    #[error("`{0}` is disabled by somebody; ENABLE it first")]
    Disabled(String),
    /// An entry points elsewhere: rendering it would move it, too.
    #[error("`{0}` points at none of the nodes")]
    Astray(String),
    /// PAUSE would never end.
    #[error(
        "`{0}` is in session pooling, where PAUSE waits until every client has disconnected; drain \
         it instead"
    )]
    Session(String),
    /// PgBouncer would throw clients out.
    #[error(
        "clients may be held up for {holds_ms} ms, and PgBouncer drops them after {timeout_ms} ms \
         (query_wait_timeout)"
    )]
    TooLong {
        /// How long they may be held up.
        holds_ms: u128,
        /// PgBouncer's `query_wait_timeout`.
        timeout_ms: u128,
    },
    /// The pause would be nobody's if this process were killed.
    #[error(
        "nothing on its host could end the pause if repoint were killed: {0}; drain it instead"
    )]
    NoSwitch(&'static str),
    /// There is no place for the sockets of ssh.
    #[error("make a directory for the sockets of ssh: {0}")]
    Sockets(String),
    /// There is no such file to be had.
    #[error(transparent)]
    Planning(#[from] PlanningError),
}

impl From<ConsoleError> for Refusal {
    fn from(error: ConsoleError) -> Self {
        Self::Unreached(error.into())
    }
}

/// Looks whether the move may begin.
///
/// # Errors
/// Why it may not. Nothing was changed.
pub async fn look(
    links: &Links,
    pgbouncer: &PgBouncer,
    planner: &Planner,
    order: &Order,
) -> Result<Preflight, Refusal> {
    let observation = links.look(Depth::All, None).await?;
    let moves = moves(planner, &observation, order.from);
    if moves.is_empty() {
        return Ok(Preflight {
            observation,
            moves,
            sessions: BTreeSet::new(),
            notes: Vec::new(),
            fast_close: None,
        });
    }
    refuse(planner, &observation, &moves, order)?;
    let sessions = sessions(links, &moves).await?;
    let mut notes = Vec::new();
    match order.manner {
        Manner::Pause { .. } => {
            if let Some(name) = sessions.first() {
                return Err(Refusal::Session(name.clone()));
            }
            if !links.switch.is_there() {
                return Err(Refusal::NoSwitch(why_no_switch(pgbouncer)));
            }
            not_too_long(order.manner, &observation)?;
        }
        Manner::Drain { .. } => notes.extend(sessions.iter().map(|name| {
            format!(
                "`{name}` of {} is in session pooling: each of its clients gets one error",
                pgbouncer.name
            )
        })),
    }
    let value = setting(&observation, FAST_CLOSE).unwrap_or("0").to_owned();
    Ok(Preflight {
        fast_close: (!sessions.is_empty()).then_some(value),
        observation,
        moves,
        sessions,
        notes,
    })
}

fn moves(planner: &Planner, observation: &Observation, from: NodeId) -> BTreeSet<String> {
    let routing = planner.routing();
    let at_from = |name: &&String| observation.nodes_of(name, routing).contains(&from);
    routing.names().filter(at_from).cloned().collect()
}

fn refuse(
    planner: &Planner,
    observation: &Observation,
    moves: &BTreeSet<String>,
    order: &Order,
) -> Result<(), Refusal> {
    let routing = planner.routing();
    if observation.file.untouched == Some(false) && order.edits == Edits::Refuse {
        return Err(Refusal::Edited);
    }
    if let Some(operation) = &observation.file.operation
        && !operation.debt.paused.is_empty()
    {
        return Err(Refusal::Busy(operation.token.clone()));
    }
    let astray = |name: &&String| observation.nodes_of(name, routing).is_empty();
    if let Some(name) = routing.names().find(astray) {
        return Err(Refusal::Astray(name.clone()));
    }
    let ours = left_disabled(observation);
    let entries = observation.processes.iter().flat_map(|p| &p.entries);
    for (name, entry) in entries.filter(|(name, _)| moves.contains(*name)) {
        if entry.paused {
            return Err(Refusal::Paused(name.clone()));
        }
        if entry.disabled && !ours.contains(name) {
            return Err(Refusal::Disabled(name.clone()));
        }
    }
    Ok(())
}

async fn sessions(
    links: &Links,
    moves: &BTreeSet<String>,
) -> Result<BTreeSet<String>, ConsoleError> {
    let mut sessions = BTreeSet::new();
    for console in &links.consoles {
        let modes = console.pool_modes(moves).await?.into_iter();
        let in_sessions = modes.filter(|(_, modes)| modes.contains("session"));
        sessions.extend(in_sessions.map(|(name, _)| name));
    }
    Ok(sessions)
}

fn not_too_long(manner: Manner, observation: &Observation) -> Result<(), Refusal> {
    let timeout = setting(observation, QUERY_WAIT_TIMEOUT).and_then(|value| value.parse().ok());
    let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let holds = manner.way(None).holds();
    match timeout {
        // 0: they wait as long as it takes.
        Some(timeout) if !timeout.is_zero() && holds >= timeout => Err(Refusal::TooLong {
            holds_ms: holds.as_millis(),
            timeout_ms: timeout.as_millis(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn setting<'a>(observation: &'a Observation, key: &str) -> Option<&'a str> {
    let mut processes = observation.processes.iter();
    processes.find_map(|process| process.settings.get(key).map(String::as_str))
}
