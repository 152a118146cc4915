//! The schema `repoint`: which agents live (`repoint.agents`), and what is paused
//! (`repoint.pauses`).
//!
//! Each node has tables of its own, which need not replicate (`agents` cannot: it is unlogged).
//! Agents and `service pause` write on every node that they reach, and [`crate::core::pause`] tells
//! which of two copies is the newer. Times of a heartbeat are those of the server that holds the
//! row, and are compared with its clock only. Statements are for PostgreSQL 9.4 and later, hence an
//! update and an insert where 9.5 has `ON CONFLICT`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{literal, schema};
use crate::config::NodeId;
use crate::conninfo::Conninfo;
use crate::core::pause::{CHANGE_MAX, Pause, Scope, scope_number};
use crate::edge::postgres::{self, PostgresError, Row, Session};

const LIMIT: Duration = Duration::from_secs(5);
const DDL_LIMIT: Duration = Duration::from_secs(20);
/// "rept", 4: held while the tables are being made.
const LOCK: &str = "SELECT pg_advisory_lock(1919250548, 4)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(1919250548, 4)";
/// A reader is not made to read whatever somebody has put there.
const ROWS_MAX: u32 = 100;

/// What an agent tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Its node.
    pub node_id: NodeId,
    /// Its host's name.
    pub host_name: String,
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it began, with the zone.
    pub started_at: String,
    /// What it sees: `node_id=health`, separated by spaces.
    pub sees: String,
    /// What it honours, see [`crate::core::pause::Pauses::honoured`].
    pub honours: String,
}

/// A row of `repoint.agents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// What it told.
    pub beat: Beat,
    /// How long ago, by the clock of the server.
    pub age: Duration,
    /// Whether it has ended in order.
    pub stopped: bool,
}

/// Both tables of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// The agents that wrote there, by node.
    pub agents: BTreeMap<NodeId, Agent>,
    /// The pauses.
    pub pauses: Vec<Pause>,
}

/// Opens a session for these tables: nothing that it does waits long for anybody.
///
/// # Errors
/// [`PostgresError`].
pub async fn open(conninfo: &Conninfo, limit: Duration) -> Result<Session, PostgresError> {
    let session = postgres::connect(conninfo, limit).await?;
    let mut settings = String::from(
        "SET application_name = 'repoint agents'; SET synchronous_commit TO 'local'; \
         SET lock_timeout = 1000; SET statement_timeout = 4000; SET tcp_keepalives_idle = 2; \
         SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3",
    );
    if session.version_num() >= 140_000 {
        settings.push_str("; SET idle_session_timeout = 0");
    }
    session.simple(&settings, LIMIT).await?;
    Ok(session)
}

/// Makes what is absent. `true`: something was made.
///
/// # Errors
/// [`PostgresError`]; SQLSTATE 42501 when the user may not.
pub async fn prepare(session: &Session) -> Result<bool, PostgresError> {
    if missing(session).await?.is_empty() {
        return Ok(false);
    }
    session.simple(LOCK, LIMIT).await?;
    // Another agent may have been faster.
    let missing = missing(session).await?;
    if !missing.is_empty() {
        run_ddl(session, &missing).await?;
    }
    session.simple(UNLOCK, LIMIT).await?;
    Ok(!missing.is_empty())
}

/// Whether both tables are there.
///
/// # Errors
/// [`PostgresError`].
pub async fn exist(session: &Session) -> Result<bool, PostgresError> {
    Ok(missing(session).await?.is_empty())
}

/// Everything at once; nothing where the tables are absent.
///
/// # Errors
/// [`PostgresError`].
pub async fn tables(session: &Session) -> Result<Option<Tables>, PostgresError> {
    if !exist(session).await? {
        return Ok(None);
    }
    let query = format!(
        "SELECT node_id, left(host_name, 255) AS host_name, pid, left(version, 63) AS version, \
         to_char(started_at, 'YYYY-MM-DD HH24:MI:SSOF') AS started_at, stopped_at, \
         left(sees, 255) AS sees, left(honours, 1023) AS honours, \
         abs(extract(epoch FROM clock_timestamp() - last_seen) * 1000)::bigint AS age_ms \
         FROM repoint.agents ORDER BY node_id LIMIT {ROWS_MAX}"
    );
    let agents = session.simple(&query, LIMIT).await?;
    Ok(Some(Tables {
        agents: agents.iter().filter_map(agent).collect(),
        pauses: pauses(session).await?,
    }))
}

/// The pauses of one node.
///
/// # Errors
/// [`PostgresError`]; SQLSTATE 42P01 or 3F000 when the table or the schema is absent.
pub async fn pauses(session: &Session) -> Result<Vec<Pause>, PostgresError> {
    let query = format!(
        "SELECT node_id, paused, change, \
         to_char(changed_at, 'YYYY-MM-DD HH24:MI:SSOF') AS changed_at, \
         left(changed_by, 255) AS changed_by, left(reason, 1023) AS reason FROM repoint.pauses \
         WHERE node_id >= 0 AND change BETWEEN 1 AND {CHANGE_MAX} ORDER BY node_id LIMIT {ROWS_MAX}"
    );
    let rows = session.simple(&query, LIMIT).await?;
    Ok(rows.iter().filter_map(pause).collect())
}

/// The pauses as the holder of a claim reads them: not longer than a second for a lock that
/// somebody has, so that its session stays of use.
///
/// # Errors
/// As [`pauses`].
pub async fn pauses_in_time(session: &Session) -> Result<Vec<Pause>, PostgresError> {
    session.simple("SET lock_timeout = 1000", LIMIT).await?;
    pauses(session).await
}

/// Writes a change unless the node has it, or a newer one.
///
/// # Errors
/// [`PostgresError`].
pub async fn write_pause(session: &Session, pause: &Pause) -> Result<(), PostgresError> {
    let sql = write_pause_sql(pause);
    match session.simple(&sql, LIMIT).await {
        // Somebody else has inserted the row in between: it is there now, to be updated.
        Err(PostgresError::Answered { sqlstate, .. }) if sqlstate == "23505" => {
            session.simple(&sql, LIMIT).await.map(drop)
        }
        result => result.map(drop),
    }
}

/// Writes an agent's row.
///
/// # Errors
/// [`PostgresError`].
pub async fn write_beat(session: &Session, beat: &Beat) -> Result<(), PostgresError> {
    session.simple(&write_beat_sql(beat), LIMIT).await.map(drop)
}

/// Marks an agent's row: it has ended in order. Another process that wrote there since is not.
///
/// # Errors
/// [`PostgresError`].
pub async fn write_end(session: &Session, beat: &Beat) -> Result<(), PostgresError> {
    let sql = format!(
        "UPDATE repoint.agents SET stopped_at = clock_timestamp() \
         WHERE node_id = {} AND pid = {} AND host_name = {}",
        beat.node_id,
        beat.pid,
        literal(&beat.host_name)
    );
    session.simple(&sql, LIMIT).await.map(drop)
}

/// The statements that make what is absent. A schema that an administrator has made for the user
/// is used: making one needs a right on the database.
async fn missing(session: &Session) -> Result<Vec<&'static str>, PostgresError> {
    let query = "SELECT n.nspname AS schema, c.relname AS relation \
                 FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_class c \
                 ON c.relnamespace = n.oid AND c.relname IN ('agents', 'pauses') \
                 WHERE n.nspname = 'repoint'";
    let rows = session.simple(query, LIMIT).await?;
    let has = |name: &str| {
        rows.iter()
            .any(|row| row.get("relation").is_some_and(|found| found == name))
    };
    let needed = [
        (rows.is_empty(), "CREATE SCHEMA IF NOT EXISTS repoint"),
        (!has("agents"), CREATE_AGENTS),
        (!has("pauses"), CREATE_PAUSES),
    ];
    let needed = needed.into_iter().filter(|(absent, _)| *absent);
    Ok(needed.map(|(_, statement)| statement).collect())
}

/// Runs statements that change the schema, as the replication of the database wants it. BDR 1 and 2
/// refuse them but through their own function, which runs them on every member and may wait for
/// one that is slow. A member that has the object already, because its own agent was as fast, must
/// not stumble over it: its replication would stop there for good. Hence `IF NOT EXISTS`.
async fn run_ddl(session: &Session, statements: &[&str]) -> Result<(), PostgresError> {
    let adapter = schema::adapter(session).await?;
    let run = |statement: &&str| match adapter {
        Some(adapter) => adapter.ddl(statement),
        None => (*statement).to_owned(),
    };
    let sql: Vec<String> = statements.iter().map(run).collect();
    session
        .simple("SET statement_timeout = 15000", LIMIT)
        .await?;
    session.simple(&sql.join("; "), DDL_LIMIT).await.map(drop)
}

/// Unlogged: no signs of life in the write-ahead log, so none in the replication either, where the
/// same row from two sides would be a conflict every two seconds. What a crash empties is written
/// again with the next sign of life.
const CREATE_AGENTS: &str = "CREATE UNLOGGED TABLE IF NOT EXISTS repoint.agents (\
     node_id integer NOT NULL PRIMARY KEY, \
     host_name text NOT NULL, \
     pid integer NOT NULL, \
     version text NOT NULL, \
     started_at timestamptz NOT NULL, \
     last_seen timestamptz NOT NULL, \
     stopped_at timestamptz NULL, \
     sees text NOT NULL, \
     honours text NOT NULL)";

/// `node_id` 0 is the whole cluster.
const CREATE_PAUSES: &str = "CREATE TABLE IF NOT EXISTS repoint.pauses (\
     node_id integer NOT NULL PRIMARY KEY, \
     paused boolean NOT NULL, \
     change bigint NOT NULL, \
     changed_at timestamptz NOT NULL, \
     changed_by text NOT NULL, \
     reason text NULL)";

fn write_pause_sql(pause: &Pause) -> String {
    let scope = scope_number(pause.scope);
    let (paused, change) = (pause.paused, pause.change);
    let (at, by) = (literal(&pause.changed_at), literal(&pause.changed_by));
    let reason = pause.reason.as_deref().map(literal);
    let reason = reason.unwrap_or_else(|| "NULL".to_owned());
    // Numbers that are none of ours give way.
    format!(
        "UPDATE repoint.pauses SET paused = {paused}, change = {change}, changed_at = {at}, \
         changed_by = {by}, reason = {reason} WHERE node_id = {scope} \
         AND ((change, paused) < ({change}, {paused}) OR change > {CHANGE_MAX}); \
         INSERT INTO repoint.pauses (node_id, paused, change, changed_at, changed_by, reason) \
         SELECT {scope}, {paused}, {change}, {at}, {by}, {reason} \
         WHERE NOT EXISTS (SELECT 1 FROM repoint.pauses WHERE node_id = {scope})"
    )
}

fn write_beat_sql(beat: &Beat) -> String {
    let (node, pid) = (beat.node_id, beat.pid);
    let (host, version) = (literal(&beat.host_name), literal(&beat.version));
    let (started, sees) = (literal(&beat.started_at), literal(&beat.sees));
    let honours = literal(&beat.honours);
    format!(
        "UPDATE repoint.agents SET host_name = {host}, pid = {pid}, version = {version}, \
         started_at = {started}, last_seen = clock_timestamp(), stopped_at = NULL, sees = {sees}, \
         honours = {honours} WHERE node_id = {node}; \
         INSERT INTO repoint.agents (node_id, host_name, pid, version, started_at, last_seen, \
         sees, honours) SELECT {node}, {host}, {pid}, {version}, {started}, clock_timestamp(), \
         {sees}, {honours} \
         WHERE NOT EXISTS (SELECT 1 FROM repoint.agents WHERE node_id = {node})"
    )
}

fn agent(row: &Row) -> Option<(NodeId, Agent)> {
    let text = |name: &str| row.get(name).cloned().unwrap_or_default();
    let node_id = NodeId(row.get("node_id")?.parse().ok()?);
    let beat = Beat {
        node_id,
        host_name: text("host_name"),
        pid: row.get("pid")?.parse().ok()?,
        version: text("version"),
        started_at: text("started_at"),
        sees: text("sees"),
        honours: text("honours"),
    };
    let age = Duration::from_millis(row.get("age_ms")?.parse().ok()?);
    let stopped = row.contains_key("stopped_at");
    Some((node_id, Agent { beat, age, stopped }))
}

fn pause(row: &Row) -> Option<Pause> {
    let text = |name: &str| row.get(name).cloned().unwrap_or_default();
    let scope = match row.get("node_id")?.parse().ok()? {
        0 => Scope::Cluster,
        id => Scope::Node(NodeId(id)),
    };
    Some(Pause {
        scope,
        paused: row.get("paused")? == "t",
        change: row.get("change")?.parse().ok()?,
        changed_at: text("changed_at"),
        changed_by: text("changed_by"),
        reason: row.get("reason").cloned(),
    })
}
