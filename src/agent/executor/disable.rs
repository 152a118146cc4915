//! Entries that are disabled while no node is left; `clear` enables them when there is one again.
//!
//! On record on the host before they are disabled, so that any agent can enable them; and only ever
//! those, because `DISABLE` is an operator's tool, too. Several agents may do it at the same time:
//! what is on record is exchanged only for what was read there.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::json;
use crate::agent::links::{LinkError, Links, file_state};
use crate::config::PgBouncer;
use crate::core::debt::Debt;
use crate::core::pooler::Operation;
use crate::core::routing::Routing;
use crate::edge::admin_console::{Console, disable_command};
use crate::edge::remote::{NO_OPERATION, RemoteError};

/// A query through PgBouncer to a node that is alive takes milliseconds, and some more on a busy
/// host.
const QUERY_LIMIT: Duration = Duration::from_millis(600);

/// From the record to the last DISABLE takes milliseconds.
const LEASE: Duration = Duration::from_secs(3);

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disabled {
    /// These entries give new clients an error from now on; none: they all did already, or they are
    /// an operator's.
    Done(BTreeSet<String>),
    /// Not now, and why.
    Later(String),
}

/// Disables the entries of `pgbouncer` that lead to a node, because no node is left.
///
/// # Errors
/// What does not answer. What may have been disabled is on record.
pub async fn disable(
    links: &Links,
    pgbouncer: &PgBouncer,
    routing: &Routing,
    token: String,
) -> Result<Disabled, LinkError> {
    // In this order: whatever an agent has disabled is on record when the record is read.
    let states = links.processes(&[]).await?;
    let file = file_state(&links.host.inspect().await?);
    let known = file.operation.unwrap_or(Operation {
        token: NO_OPERATION.to_owned(),
        expired: true,
        debt: Debt::default(),
    });
    if !known.debt.paused.is_empty() {
        return Ok(Disabled::Later("another operation has paused it".into()));
    }
    let is_disabled = |name: &String| {
        let mut entries = states.iter().filter_map(|state| state.entries.get(name));
        entries.any(|entry| entry.disabled)
    };
    // Those that lead elsewhere have nothing to do with our nodes.
    let leads_to_node = |name: &String| {
        let mut entries = states.iter().filter_map(|state| state.entries.get(name));
        entries.any(|entry| routing.node_of(name, entry).is_some())
    };
    let is_free = |name: &&String| {
        leads_to_node(name) && (!is_disabled(name) || known.debt.disabled.contains(*name))
    };
    let names: BTreeSet<String> = routing.names().filter(is_free).cloned().collect();
    let on_record = names.is_subset(&known.debt.disabled);
    if on_record && names.iter().all(is_disabled) {
        return Ok(Disabled::Done(BTreeSet::new()));
    }
    if let Some(way) = answered(links, pgbouncer, &names).await {
        return Ok(Disabled::Later(way));
    }
    let token = match known.debt.disabled.is_empty() {
        true => token,
        false => known.token.clone(),
    };
    carry_out(links, known, token, names).await
}

/// Puts them on record in place of what was read there, and disables them.
async fn carry_out(
    links: &Links,
    known: Operation,
    token: String,
    names: BTreeSet<String>,
) -> Result<Disabled, LinkError> {
    let mut debt = known.debt;
    debt.disabled.extend(names.iter().cloned());
    let debt = json(&debt);
    let exchange = |expected: String| {
        let (token, debt) = (&token, &debt);
        async move { links.host.exchange(token, LEASE, debt, &expected).await }
    };
    match exchange(known.token).await {
        Err(RemoteError::Occupied(why)) => return Ok(Disabled::Later(why)),
        result => result?,
    }
    for name in &names {
        for console in &links.consoles {
            console.command(&disable_command(name)).await?;
        }
    }
    // Somebody who saw a node has enabled them, or moves them: that came before our DISABLE.
    match exchange(token.clone()).await {
        Err(RemoteError::Occupied(why)) => {
            for name in &names {
                for console in &links.consoles {
                    console.enable(name).await?;
                }
            }
            Ok(Disabled::Later(why))
        }
        result => {
            result?;
            Ok(Disabled::Done(names))
        }
    }
}

/// Whether somebody gets through all the same: then it is this agent that is cut off from the
/// nodes. Without a `probe_user`, a connection that PgBouncer keeps to a node counts.
async fn answered(
    links: &Links,
    pgbouncer: &PgBouncer,
    names: &BTreeSet<String>,
) -> Option<String> {
    let asked = links.consoles.iter().flat_map(|console| {
        names.iter().map(move |name| async move {
            let database = pgbouncer.databases.get(name)?;
            let through = match &database.probe_user {
                Some(user) => {
                    let answer = console.identity_through(name, user, QUERY_LIMIT).await;
                    answer.is_ok()
                }
                None => has_connections(console, name).await,
            };
            through.then(|| format!("`{name}` leads to a node that answers"))
        })
    });
    join_all(asked).await.into_iter().flatten().next()
}

/// A console that does not answer gives no reason to disable anything.
async fn has_connections(console: &Console, name: &str) -> bool {
    let Ok(servers) = console.servers().await else {
        return true;
    };
    let mut of_entry = servers.iter().filter(|server| server.database == name);
    of_entry.any(|server| server.state != "login" && !server.close_needed)
}
