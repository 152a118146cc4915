//! The rows of `repmgr.nodes` and `repmgr.events` that the daemon writes; who makes the tables is
//! [`super::schema`].
//!
//! Each change is one statement, so that it is whole or not at all, and two agents that do the same
//! at once do it once: an event row is written only by whoever really changed the node's row.
//! Shape: repmgr 4 and 5 (`nodes.type`, `events` without a key).

use std::collections::BTreeMap;
use std::time::Duration;

use super::literal;
use super::schema::{self, Tables};
use crate::config::{Node, NodeId};
use crate::edge::postgres::{PostgresError, Session};

const LIMIT: Duration = Duration::from_secs(5);

/// Makes the tables if they are absent, adds rows for nodes that have none, and gives the nodes
/// that are marked inactive. `true`: the tables were made.
///
/// # Errors
/// [`PostgresError`].
pub async fn prepare(
    session: &Session,
    nodes: &BTreeMap<NodeId, Node>,
) -> Result<(bool, Vec<NodeId>), PostgresError> {
    // As repmgr does for its own sessions: a synchronous standby that is away must not stop us. The
    // server's own limit is below ours: a wait for BDR's lock on every node ends there, too.
    let settings = "SET synchronous_commit TO 'local'; SET statement_timeout = 4000";
    session.simple(settings, LIMIT).await?;
    let adapter = schema::adapter(session).await?;
    schema::lock(session, LIMIT).await?;
    let made = schema::ensure(session, adapter, LIMIT).await? != Tables::There;
    let rows: Vec<String> = nodes.values().map(add_row_sql).collect();
    session.simple(&rows.join("; "), LIMIT).await?;
    schema::unlock(session).await?;
    let query = "SELECT node_id FROM repmgr.nodes WHERE NOT active";
    let inactive = session.simple(query, LIMIT).await?;
    let ids = inactive
        .iter()
        .filter_map(|row| row.get("node_id")?.parse().ok().map(NodeId));
    Ok((made, ids.filter(|id| nodes.contains_key(id)).collect()))
}

/// Marks a node inactive and writes the event, unless it is inactive already. Gives the event's
/// time.
///
/// # Errors
/// [`PostgresError`].
pub async fn record_failover(
    session: &Session,
    failed: NodeId,
    details: &str,
) -> Result<Option<String>, PostgresError> {
    let change = format!(
        "UPDATE repmgr.nodes SET active = false WHERE node_id = {failed} AND active \
         RETURNING node_id"
    );
    record_change(session, &change, failed, "bdr_failover", details).await
}

/// Marks a node active and writes the event for `reporter`, unless it is active already.
///
/// # Errors
/// [`PostgresError`].
pub async fn record_recovery(
    session: &Session,
    recovered: NodeId,
    reporter: NodeId,
    details: &str,
) -> Result<Option<String>, PostgresError> {
    let change = format!(
        "UPDATE repmgr.nodes SET active = true WHERE node_id = {recovered} AND NOT active \
         RETURNING node_id"
    );
    record_change(session, &change, reporter, "bdr_recovery", details).await
}

/// Marks a node active without an event: its own copy of the row, where the tables do not
/// replicate.
///
/// # Errors
/// [`PostgresError`].
pub async fn mark_active(session: &Session, node: NodeId) -> Result<(), PostgresError> {
    let change =
        format!("UPDATE repmgr.nodes SET active = true WHERE node_id = {node} AND NOT active");
    session.simple(&change, LIMIT).await.map(drop)
}

/// Writes an event row. Gives its time.
///
/// # Errors
/// [`PostgresError`].
pub async fn record_event(
    session: &Session,
    node: NodeId,
    event: &str,
    successful: bool,
    details: &str,
) -> Result<Option<String>, PostgresError> {
    let insert = format!(
        "INSERT INTO repmgr.events (node_id, event, successful, details) \
         VALUES ({node}, {}, {successful}, nullif({}, '')) RETURNING event_timestamp",
        literal(event),
        literal(details)
    );
    timestamp(session, &insert).await
}

async fn record_change(
    session: &Session,
    change: &str,
    node: NodeId,
    event: &str,
    details: &str,
) -> Result<Option<String>, PostgresError> {
    let statement = format!(
        "WITH changed AS ({change}) \
         INSERT INTO repmgr.events (node_id, event, successful, details) \
         SELECT {node}, {}, true, {} FROM changed RETURNING event_timestamp",
        literal(event),
        literal(details)
    );
    timestamp(session, &statement).await
}

async fn timestamp(session: &Session, statement: &str) -> Result<Option<String>, PostgresError> {
    let rows = session.simple(statement, LIMIT).await?;
    Ok(rows
        .into_iter()
        .next()
        .and_then(|mut row| row.remove("event_timestamp")))
}

/// A row as repmgr registers one in BDR mode; a row that is there stays as it is.
fn add_row_sql(node: &Node) -> String {
    format!(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, config_file) \
         SELECT {id}, {name}, 'bdr', {conninfo}, '', '' \
         WHERE NOT EXISTS (SELECT 1 FROM repmgr.nodes WHERE node_id = {id})",
        id = node.node_id,
        name = literal(&node.node_name),
        conninfo = literal(&node.conninfo.original_without_password()),
    )
}
