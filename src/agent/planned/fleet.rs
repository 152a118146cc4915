//! A planned move of several PgBouncers at once, under one number.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::gate::{self, Gate};
use super::preflight::look;
use super::{Manner, Moved, Order, Preflight, Refusal, carry_out, identity, refused};
use crate::agent::executor::Hooks;
use crate::agent::links::Links;
use crate::agent::planning::Planner;
use crate::config::{Config, PgBouncer};
use crate::core::plan::EMPTY_LIMIT;
use crate::edge::remote::{AllTurns, Turns};
use crate::generation::Generation;

/// A PgBouncer that was looked at.
struct Looked {
    name: String,
    pgbouncer: PgBouncer,
    planner: Planner,
    found: Result<(Links, Preflight), Refusal>,
}

impl Looked {
    fn moves(&self) -> bool {
        let moves = |(_, ready): &(Links, Preflight)| !ready.moves.is_empty();
        self.found.as_ref().is_ok_and(moves)
    }
}

/// Moves all PgBouncers of `config` that have a planner. With [`Manner::Pause`], none of them goes
/// to the new node before all have left the old one, and nothing is begun if one of them cannot be
/// moved; with [`Manner::Drain`] each goes for itself. Each runs to its end, also when the caller
/// does not wait for that.
///
/// # Errors
/// Why nothing was begun.
pub async fn move_all(
    config: &Config,
    planners: BTreeMap<String, Planner>,
    sockets: &Path,
    order: &Order,
    hooks: &Hooks,
) -> Result<BTreeMap<String, Moved>, String> {
    let node = config.nodes.get(&order.to);
    let node = node.ok_or_else(|| format!("nothing changed: there is no node {}", order.to))?;
    let identity = identity(node)
        .await
        .map_err(|why| format!("nothing changed: {why}"))?;
    let order = together(order);
    let all = look_at_all(config, planners, sockets, &order).await;
    let pauses = matches!(order.manner, Manner::Pause { .. });
    let refusal = |looked: &Looked| {
        let refusal = looked.found.as_ref().err()?;
        Some(format!("{}: {refusal}", looked.name))
    };
    let refusals: Vec<String> = all.iter().filter_map(refusal).collect();
    if pauses && !refusals.is_empty() {
        close(all).await;
        return Err(format!("nothing changed: {}", refusals.join("; ")));
    }
    let generation = next_generation(&all, &order);
    let gate = Arc::new(Gate::new(all.iter().filter(|one| one.moves()).count()));
    let move_one = |looked: Looked| {
        let hooks = match pauses {
            true => gate::through(&gate, hooks),
            false => hooks.clone(),
        };
        let (gate, identity) = (Arc::clone(&gate), identity.clone());
        let order = order.clone();
        tokio::spawn(async move {
            let name = looked.name.clone();
            let moved = moved(looked, &order, generation, &identity, hooks).await;
            if !moved.outcome.serves() {
                gate.close();
            }
            (name, moved)
        })
    };
    let tasks: Vec<_> = all.into_iter().map(move_one).collect();
    Ok(joined(tasks).await.into_iter().collect())
}

/// Opens the ways to all of them at the same time.
async fn look_at_all(
    config: &Config,
    planners: BTreeMap<String, Planner>,
    sockets: &Path,
    order: &Order,
) -> Vec<Looked> {
    let mut all_turns = AllTurns::default();
    let look_at_one = |(index, (name, planner)): (usize, (String, Planner))| {
        let pgbouncer = config.pgbouncers.get(&name)?.clone();
        // By number: the path of a socket is short, a name may not be.
        let sockets = sockets.join(index.to_string());
        let (order, turns) = (order.clone(), all_turns.of(&pgbouncer.host));
        Some(tokio::spawn(async move {
            let found = open_and_look((&sockets, &turns), &pgbouncer, &planner, &order).await;
            Looked {
                name,
                pgbouncer,
                planner,
                found,
            }
        }))
    };
    let numbered = planners.into_iter().enumerate();
    joined(numbered.filter_map(look_at_one).collect()).await
}

async fn open_and_look(
    (sockets, turns): (&Path, &Turns),
    pgbouncer: &PgBouncer,
    planner: &Planner,
    order: &Order,
) -> Result<(Links, Preflight), Refusal> {
    tokio::fs::create_dir_all(sockets)
        .await
        .map_err(|error| Refusal::Sockets(error.to_string()))?;
    let mut links = Links::open(pgbouncer, sockets, turns).await?;
    if matches!(order.manner, Manner::Pause { .. })
        && let Err(error) = links.look_for_switch(pgbouncer).await
    {
        links.host.close().await;
        return Err(error.into());
    }
    match look(&links, pgbouncer, planner, order).await {
        Ok(ready) => Ok((links, ready)),
        Err(refusal) => {
            links.host.close().await;
            Err(refusal)
        }
    }
}

async fn moved(
    looked: Looked,
    order: &Order,
    generation: Generation,
    identity: &str,
    hooks: Hooks,
) -> Moved {
    match looked.found {
        Err(refusal) => Moved {
            outcome: refused(order, generation, &refusal),
            owed: None,
            links: None,
        },
        Ok((links, ready)) => {
            let at = (&links, &looked.pgbouncer, &looked.planner);
            let (outcome, owed) = carry_out(at, order, generation, ready, identity, hooks).await;
            Moved {
                outcome,
                owed,
                links: Some(links),
            }
        }
    }
}

fn next_generation(all: &[Looked], order: &Order) -> Generation {
    let found = all.iter().filter_map(|looked| looked.found.as_ref().ok());
    let generations = found.map(|(_, ready)| ready.observation.file.generation);
    generations.max().unwrap_or(Generation::NONE).next(order.to)
}

/// The first to have paused waits until the last one has, or has given up.
fn together(order: &Order) -> Order {
    let manner = match order.manner {
        Manner::Drain { limit } => Manner::Drain { limit },
        Manner::Pause { limit, replayed } => Manner::Pause {
            limit,
            replayed: limit + EMPTY_LIMIT + replayed,
        },
    };
    Order {
        manner,
        ..order.clone()
    }
}

async fn close(all: Vec<Looked>) {
    for looked in all {
        if let Ok((links, _)) = looked.found {
            links.host.close().await;
        }
    }
}

async fn joined<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut all = Vec::new();
    for task in tasks {
        // A task ends early only by a panic, which is told already.
        if let Ok(ended) = task.await {
            all.push(ended);
        }
    }
    all
}
