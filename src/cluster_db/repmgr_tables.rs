//! repmgr's tables `repmgr.nodes` and `repmgr.events`: made when absent, used as they are
//! otherwise.
//!
//! Each change is one statement, so that it is whole or not at all, and two agents that do the same
//! at once do it once: an event row is written only by whoever really changed the node's row.
//! Shape: repmgr 4 and 5 (`nodes.type`, `events` without a key).

use std::collections::BTreeMap;
use std::time::Duration;

use super::literal;
use crate::config::{Node, NodeId};
use crate::edge::postgres::{PostgresError, Session};

const LIMIT: Duration = Duration::from_secs(5);
/// "rept", 2: held by the session while the tables are being made, so that two agents that start
/// together do not both make them.
const LOCK: &str = "SELECT pg_advisory_lock(1919250548, 2)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(1919250548, 2)";

/// Makes the tables if they are absent, adds rows for nodes that have none, and gives the nodes
/// that are marked inactive. `true`: the tables were made.
///
/// # Errors
/// [`PostgresError`].
pub async fn prepare(
    session: &Session,
    nodes: &BTreeMap<NodeId, Node>,
) -> Result<(bool, Vec<NodeId>), PostgresError> {
    // As repmgr does for its own sessions: a synchronous standby that is away must not stop us.
    session
        .simple("SET synchronous_commit TO 'local'", LIMIT)
        .await?;
    session.simple(LOCK, LIMIT).await?;
    let made = !tables_exist(session).await?;
    if made {
        // One message is one transaction.
        session.simple(CREATE, LIMIT).await?;
    }
    let rows: Vec<String> = nodes.values().map(add_row_sql).collect();
    session.simple(&rows.join("; "), LIMIT).await?;
    session.simple(UNLOCK, LIMIT).await?;
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
         VALUES ({node}, {}, {successful}, {}) RETURNING event_timestamp",
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

async fn tables_exist(session: &Session) -> Result<bool, PostgresError> {
    let query = "SELECT count(*) AS found FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = 'repmgr' AND c.relname IN ('nodes', 'events')";
    let rows = session.simple(query, LIMIT).await?;
    Ok(rows
        .first()
        .and_then(|row| row.get("found"))
        .is_some_and(|found| found == "2"))
}

const CREATE: &str = "CREATE SCHEMA IF NOT EXISTS repmgr; \
     CREATE TABLE IF NOT EXISTS repmgr.nodes (\
     node_id integer PRIMARY KEY, \
     upstream_node_id integer NULL REFERENCES repmgr.nodes (node_id) DEFERRABLE, \
     active boolean NOT NULL DEFAULT true, \
     node_name text NOT NULL, \
     type text NOT NULL CHECK (type IN ('primary', 'standby', 'witness', 'bdr')), \
     location text NOT NULL DEFAULT 'default', \
     priority integer NOT NULL DEFAULT 100, \
     conninfo text NOT NULL, \
     repluser varchar(63) NOT NULL, \
     slot_name text NULL, \
     config_file text NOT NULL); \
     CREATE TABLE IF NOT EXISTS repmgr.events (\
     node_id integer NOT NULL, \
     event text NOT NULL, \
     successful boolean NOT NULL DEFAULT true, \
     event_timestamp timestamptz NOT NULL DEFAULT current_timestamp, \
     details text NULL)";

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
