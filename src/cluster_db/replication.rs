//! The replication between the nodes: what is asked of it, and where each kind keeps the answer.
//!
//! One small adapter for each kind, behind [`Adapter`], which gives SQL: asking is the caller's,
//! and the same for all of them. The only sign that a peer replicates is its slot on the other
//! node.

use std::time::Duration;

use crate::config::Replication;
use crate::edge::postgres::{PostgresError, Session};

const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// What every kind of replication can be asked. Each method gives a query with one row, one column
/// `answer`.
pub trait Adapter: Send + Sync + std::fmt::Debug {
    /// The extension's name, as in `pg_extension`.
    fn extension(&self) -> &'static str;
    /// Whether the database is a member: `t` or `f`.
    fn is_member(&self) -> String;
    /// What the replication calls the local node.
    fn local_node_name(&self) -> String;
    /// Whether the peer is pulling changes from the local node: `t` or `f`.
    fn slot_for_peer_active(&self, peer_name: &str) -> String;
}

/// pglogical 2 (seen: 2.4.2). A slot of its output plugin lives on the provider; its name holds
/// the subscription's name, not the peer's, so with two nodes any slot of this database is the
/// peer's.
#[derive(Debug)]
struct Pglogical;

impl Adapter for Pglogical {
    fn extension(&self) -> &'static str {
        "pglogical"
    }

    fn is_member(&self) -> String {
        "SELECT count(*) > 0 AS answer FROM pglogical.local_node".to_owned()
    }

    fn local_node_name(&self) -> String {
        "SELECT n.node_name AS answer FROM pglogical.node n \
         JOIN pglogical.local_node l ON l.node_id = n.node_id"
            .to_owned()
    }

    fn slot_for_peer_active(&self, _peer_name: &str) -> String {
        "SELECT coalesce(bool_or(active), false) AS answer FROM pg_catalog.pg_replication_slots \
         WHERE plugin = 'pglogical_output' AND database = current_database()"
            .to_owned()
    }
}

const ADAPTERS: [&dyn Adapter; 1] = [&Pglogical];

/// Finds the adapter: the configured one, or the first whose extension the database has.
///
/// # Errors
/// The session's, or that no extension is there.
pub async fn find(
    session: &Session,
    configured: Option<Replication>,
) -> Result<&'static dyn Adapter, PostgresError> {
    let rows = session
        .simple("SELECT extname FROM pg_catalog.pg_extension", QUERY_TIMEOUT)
        .await?;
    let there = |adapter: &&&dyn Adapter| {
        let name = adapter.extension();
        rows.iter()
            .any(|row| row.get("extname").is_some_and(|found| found == name))
    };
    let named = ADAPTERS.iter().filter(|adapter| match configured {
        Some(kind) => adapter.extension() == kind.extension(),
        None => true,
    });
    named
        .copied()
        .find(|adapter| there(&adapter))
        .ok_or_else(|| {
            let known: Vec<&str> = ADAPTERS.iter().map(|adapter| adapter.extension()).collect();
            PostgresError::Unusable(format!(
                "the database has no extension {}",
                known.join(" or ")
            ))
        })
}

/// Asks one of the adapter's questions; no row is `None`.
///
/// # Errors
/// The session's.
pub async fn ask(session: &Session, question: &str) -> Result<Option<String>, PostgresError> {
    let rows = session.simple(question, QUERY_TIMEOUT).await?;
    Ok(rows
        .into_iter()
        .next()
        .and_then(|mut row| row.remove("answer")))
}

/// Whether replication runs from the session's node to its peer; if not, why not.
///
/// # Errors
/// The session's.
pub async fn feeds_peer(
    session: &Session,
    configured: Option<Replication>,
    node_name: &str,
    peer_name: &str,
) -> Result<Result<(), String>, PostgresError> {
    let adapter = find(session, configured).await?;
    if ask(session, &adapter.is_member()).await?.as_deref() != Some("t") {
        let name = adapter.extension();
        return Ok(Err(format!(
            "the database of `{node_name}` is no member of {name} replication"
        )));
    }
    let own = ask(session, &adapter.local_node_name()).await?;
    if own.as_deref() != Some(node_name) {
        tracing::debug!(
            node = node_name,
            replication = own,
            "replication has another name for the node"
        );
    }
    let active = ask(session, &adapter.slot_for_peer_active(peer_name)).await?;
    if active.as_deref() == Some("t") {
        return Ok(Ok(()));
    }
    Ok(Err(format!(
        "no active replication slot for `{peer_name}` on `{node_name}`"
    )))
}
