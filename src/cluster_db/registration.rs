//! Registration: a node's own row in `repmgr.nodes`, and the rows of its peer.
//!
//! What repmgr writes for a node of BDR: type `bdr`, no upstream, empty `repluser` and
//! `config_file`. Which rows may be written is decided by `cli::bdr`.

use std::time::Duration;

use super::literal;
use super::replication::Change;
use crate::config::NodeId;
use crate::edge::postgres::{PostgresError, Row, Session};

const LIMIT: Duration = Duration::from_secs(5);
/// BDR takes a lock on every node for some changes.
pub const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnRecord {
    /// Its id.
    pub node_id: NodeId,
    /// Its name.
    pub node_name: String,
    /// As configured, password included: whoever is to connect has nothing else.
    pub conninfo: String,
    /// Free text.
    pub location: String,
    /// For streaming replication.
    pub priority: u32,
}

/// A session for changes: with the time limit of the server as well, so that nothing goes on
/// waiting there, and without waiting for a synchronous standby, as repmgr does.
///
/// # Errors
/// [`PostgresError`].
pub async fn begin(session: &Session) -> Result<(), PostgresError> {
    let limit_ms = CHANGE_LIMIT.as_millis() - 1000;
    // A user called repmgr has the schema repmgr in his path; BDR wants every name with its schema,
    // those that it makes of a regclass included.
    let settings = format!(
        "SET synchronous_commit TO 'local'; SET search_path = ''; \
         SET statement_timeout = {limit_ms}"
    );
    session.simple(&settings, LIMIT).await.map(drop)
}

/// Whether a change has to be made.
///
/// # Errors
/// [`PostgresError`].
pub async fn is_needed(session: &Session, change: &Change) -> Result<bool, PostgresError> {
    let rows = session.simple(&change.needed, LIMIT).await?;
    let answer = rows.first().and_then(|row| row.get("answer"));
    Ok(answer.is_some_and(|answer| answer == "t"))
}

/// Makes a change.
///
/// # Errors
/// [`PostgresError`].
pub async fn make(session: &Session, change: &Change) -> Result<(), PostgresError> {
    session.simple(&change.sql, CHANGE_LIMIT).await.map(drop)
}

/// Writes the node's own row, over the one that is there if there is one.
///
/// # Errors
/// [`PostgresError`].
pub async fn write(session: &Session, own: &OwnRecord) -> Result<(), PostgresError> {
    let OwnRecord {
        node_id, priority, ..
    } = own;
    let name = literal(&own.node_name);
    let (conninfo, location) = (literal(&own.conninfo), literal(&own.location));
    let statement = format!(
        "UPDATE repmgr.nodes SET upstream_node_id = NULL, active = true, node_name = {name}, \
         type = 'bdr', location = {location}, priority = {priority}, conninfo = {conninfo}, \
         repluser = '', slot_name = NULL, config_file = '' WHERE node_id = {node_id}; \
         INSERT INTO repmgr.nodes (node_id, node_name, type, location, priority, conninfo, \
         repluser, config_file) \
         SELECT {node_id}, {name}, 'bdr', {location}, {priority}, {conninfo}, '', '' \
         WHERE NOT EXISTS (SELECT 1 FROM repmgr.nodes WHERE node_id = {node_id})"
    );
    session.simple(&statement, LIMIT).await.map(drop)
}

/// Removes the row of a node; `false`: there was none.
///
/// # Errors
/// [`PostgresError`].
pub async fn remove(session: &Session, node_id: NodeId) -> Result<bool, PostgresError> {
    let statement = format!("DELETE FROM repmgr.nodes WHERE node_id = {node_id} RETURNING node_id");
    Ok(!session.simple(&statement, LIMIT).await?.is_empty())
}

/// Copies the rows that the other node has and this one has not. Gives how many the other has.
///
/// # Errors
/// [`PostgresError`].
pub async fn copy_missing(from: &Session, to: &Session) -> Result<usize, PostgresError> {
    let query = "SELECT node_id, upstream_node_id, active, node_name, type, location, priority, \
                 conninfo, repluser, slot_name, config_file FROM repmgr.nodes ORDER BY node_id";
    let rows = from.simple(query, LIMIT).await?;
    let statements: Vec<String> = rows.iter().map(copy_sql).collect();
    if !statements.is_empty() {
        to.simple(&statements.join("; "), LIMIT).await?;
    }
    Ok(rows.len())
}

fn copy_sql(row: &Row) -> String {
    let columns = [
        ("node_id", "int"),
        ("upstream_node_id", "int"),
        ("active", "boolean"),
        ("node_name", "text"),
        ("type", "text"),
        ("location", "text"),
        ("priority", "int"),
        ("conninfo", "text"),
        ("repluser", "text"),
        ("slot_name", "text"),
        ("config_file", "text"),
    ];
    let names = columns.map(|(name, _)| name).join(", ");
    let values = columns.map(|(name, kind)| match row.get(name) {
        Some(value) => format!("{}::{kind}", literal(value)),
        None => format!("NULL::{kind}"),
    });
    format!(
        "INSERT INTO repmgr.nodes ({names}) SELECT {} \
         WHERE NOT EXISTS (SELECT 1 FROM repmgr.nodes WHERE node_id = {})",
        values.join(", "),
        values[0]
    )
}
