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
/// "rept", 3: held by a transaction that looks whether there is a row before it writes one.
const RECORD_LOCK: &str = "SELECT pg_advisory_xact_lock(1919250548, 3)";

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

/// Marks a node inactive, and the one that traffic goes to instead active. Gives the time if this
/// changed the failed node's row, which happens once for each failure, whoever else tries.
///
/// # Errors
/// [`PostgresError`].
pub async fn set_inactive(
    session: &Session,
    failed: NodeId,
    next: NodeId,
) -> Result<Option<String>, PostgresError> {
    // One message is one transaction.
    let change = format!(
        "UPDATE repmgr.nodes SET active = true WHERE node_id = {next} AND NOT active; \
         UPDATE repmgr.nodes SET active = false WHERE node_id = {failed} AND active \
         RETURNING current_timestamp AS event_timestamp"
    );
    timestamp(session, &change).await
}

/// A row `bdr_failover`.
#[derive(Debug, Clone, Copy)]
pub struct FailoverEvent<'a> {
    /// The node that failed.
    pub failed: NodeId,
    /// When: the time of the decision, as the server gave it, or so long ago.
    pub at: EventTime<'a>,
    /// `successful`.
    pub successful: bool,
    /// `details`.
    pub details: &'a str,
    /// The row tells of a later success: only these rows count as written already.
    pub later: Option<Later<'a>>,
    /// With [`EventTime::Ago`]: when an event row before that begins like one of these, the failed
    /// node was active (again) then, and an older failover is another one.
    pub activations: &'a [Activation],
}

/// Besides a success: which rows leave no room for a row about a later success.
#[derive(Debug, Clone, Copy)]
pub enum Later<'a> {
    /// None: whoever writes it knows all.
    OfOwn,
    /// Those of another agent's that name the operator's command, but not its success.
    OfOther {
        /// The words before what became of the command.
        command: &'a str,
        /// The words when it ended well.
        succeeded: &'a str,
    },
}

/// When an event was.
#[derive(Debug, Clone, Copy)]
pub enum EventTime<'a> {
    /// As a server gave it.
    At(&'a str),
    /// So long ago.
    Ago(Duration),
}

/// How an event row that makes a node active begins.
#[derive(Debug, Clone)]
pub struct Activation {
    /// `event`.
    pub event: &'static str,
    /// The beginning of `details`.
    pub details: String,
}

/// Writes a row `bdr_failover`, unless another agent has written it: for the same failure, there is
/// one already. Gives its time if it was written.
///
/// # Errors
/// [`PostgresError`].
pub async fn record_failover(
    session: &Session,
    event: &FailoverEvent<'_>,
) -> Result<Option<String>, PostgresError> {
    let (failed, successful) = (event.failed, event.successful);
    let decided = match event.at {
        EventTime::At(time) => format!("{}::timestamptz", literal(time)),
        EventTime::Ago(ago) => {
            let ms = ago.as_millis();
            format!("(current_timestamp - interval '{ms} milliseconds')")
        }
    };
    let since = match event.at {
        EventTime::At(_) => decided.clone(),
        EventTime::Ago(_) => active_before(failed, &decided, event.activations),
    };
    let at = match event.later {
        Some(_) => "clock_timestamp()".to_owned(),
        None => decided,
    };
    let counts = match event.later {
        None => String::new(),
        Some(Later::OfOwn) => "AND e.successful".to_owned(),
        Some(Later::OfOther { command, succeeded }) => format!(
            "AND (e.successful OR (position({} in e.details) > 0 \
             AND position({} in e.details) = 0))",
            literal(command),
            literal(succeeded)
        ),
    };
    let insert = format!(
        "{RECORD_LOCK}; \
         INSERT INTO repmgr.events (node_id, event, successful, event_timestamp, details) \
         SELECT {failed}, 'bdr_failover', {successful}, {at}, {details} WHERE NOT EXISTS (\
         SELECT 1 FROM repmgr.events e WHERE e.event = 'bdr_failover' \
         AND e.node_id = {failed} AND e.event_timestamp >= {since} {counts}) \
         RETURNING event_timestamp",
        details = literal(event.details),
    );
    timestamp(session, &insert).await
}

/// The last time before `decided` when an event row says that a node became active.
fn active_before(node: NodeId, decided: &str, activations: &[Activation]) -> String {
    let begins = |activation: &Activation| {
        let (event, details) = (literal(activation.event), literal(&activation.details));
        format!("OR a.event = {event} AND position({details} in a.details) = 1 ")
    };
    let begins: String = activations.iter().map(begins).collect();
    format!(
        "coalesce((SELECT max(a.event_timestamp) FROM repmgr.events a \
         WHERE a.event_timestamp < {decided} AND \
         (a.event = 'bdr_register' AND a.node_id = {node} {begins})), '-infinity')"
    )
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

/// Whether a node's row says that it is active.
///
/// # Errors
/// [`PostgresError`].
pub async fn is_active(session: &Session, node: NodeId) -> Result<bool, PostgresError> {
    let query = format!("SELECT 1 AS found FROM repmgr.nodes WHERE node_id = {node} AND active");
    Ok(!session.simple(&query, LIMIT).await?.is_empty())
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
        .find_map(|mut row| row.remove("event_timestamp")))
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
