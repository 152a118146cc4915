//! `repmgr.events`: reading what happened, and removing what is old.
//!
//! Who writes an event is [`super::repmgr_tables`]. The table has no key: BDR and pglogical carry
//! inserts of it, but no deletes, so each node is pruned for itself.

use std::time::Duration;

use super::literal;
use super::node_records::{AsText, rows_of_text};
use crate::config::NodeId;
use crate::edge::postgres::{PostgresError, Row, Session};

/// A table of millions of rows has no index to be read by.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// For a batch: beyond the server's own limit, whose message says more than silence.
const BATCH_LIMIT: Duration = Duration::from_secs(35);
/// Settings of a session that removes rows: no batch holds up the server for long, none waits
/// behind somebody's lock, and none for a standby that is away.
const PRUNE_SETTINGS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '5s'; \
     SET synchronous_commit TO 'local'";
/// Rows of one transaction: some ten milliseconds of work.
const BATCH_ROWS: u64 = 10_000;

/// A row of `repmgr.events`, with the name that the node has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whatever was written there, a node that is gone included.
    pub node_id: i64,
    /// `None`: no node of this id is registered.
    pub node_name: Option<String>,
    /// Its type.
    pub event: String,
    /// Whether what it tells of succeeded.
    pub successful: bool,
    /// `YYYY-MM-DD HH:MM:SS` in the session's time zone.
    pub timestamp: String,
    /// The same moment as `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
    pub timestamp_utc: String,
    /// What there is to say.
    pub details: Option<String>,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this type.
    pub event: Option<String>,
    /// Of these nodes, registered or not; `None`: of any.
    pub nodes: Option<Vec<NodeId>>,
    /// The newest so many; `None`: all.
    pub limit: Option<u32>,
}

/// The events, newest first; those of the same moment in the order of their columns, so that the
/// same rows come in the same order from each node.
///
/// # Errors
/// [`PostgresError`].
pub async fn newest(session: &Session, filter: &Filter) -> Result<Vec<Event>, PostgresError> {
    let query = |text: AsText| newest_sql(filter, text);
    let rows = rows_of_text(session, query, READ_LIMIT).await?;
    Ok(rows.iter().map(event).collect())
}

/// The ids of the nodes with this name: repmgr's table lets several have it.
///
/// # Errors
/// [`PostgresError`].
pub async fn nodes_named(session: &Session, name: &str) -> Result<Vec<NodeId>, PostgresError> {
    let query = format!(
        "SELECT node_id FROM repmgr.nodes WHERE node_name = {} ORDER BY node_id",
        literal(name)
    );
    let rows = session.simple(&query, READ_LIMIT).await?;
    let id = |row: &Row| row.get("node_id")?.parse().ok().map(NodeId);
    Ok(rows.iter().filter_map(id).collect())
}

/// The moment before which events are old, by the server's clock, as a literal for its own use.
///
/// # Errors
/// [`PostgresError`]; SQLSTATE 22008 when so many days ago nothing was.
pub async fn moment_before(session: &Session, days: u32) -> Result<String, PostgresError> {
    session.simple(PRUNE_SETTINGS, READ_LIMIT).await?;
    let query =
        format!("SELECT (pg_catalog.now() - interval '1 day' * {days})::timestamptz AS moment");
    let rows = session.simple(&query, READ_LIMIT).await?;
    let moment = rows.first().and_then(|row| row.get("moment"));
    let none = || PostgresError::Unusable("the server told no time".to_owned());
    moment.map(|moment| literal(moment)).ok_or_else(none)
}

/// How many events are older than a [`moment_before`].
///
/// # Errors
/// [`PostgresError`].
pub async fn count_before(session: &Session, moment: &str) -> Result<u64, PostgresError> {
    let query = format!(
        "SELECT pg_catalog.count(*) AS count FROM repmgr.events \
         WHERE event_timestamp < {moment}::timestamptz"
    );
    count(&session.simple(&query, BATCH_LIMIT).await?)
}

/// Removes some of the events that are older than a [`moment_before`]; gives how many, and whether
/// there may be more.
///
/// # Errors
/// [`PostgresError`]: none of this batch was removed.
pub async fn remove_some_before(
    session: &Session,
    moment: &str,
) -> Result<(u64, bool), PostgresError> {
    let old = format!("event_timestamp < {moment}::timestamptz");
    // There is no key to name rows by. Where a row is holds within one statement.
    let statement = format!(
        "WITH removed AS (DELETE FROM repmgr.events WHERE ctid = ANY (ARRAY(\
         SELECT ctid FROM repmgr.events WHERE {old} LIMIT {BATCH_ROWS})) AND {old} RETURNING 1) \
         SELECT pg_catalog.count(*) AS count FROM removed"
    );
    let removed = count(&session.simple(&statement, BATCH_LIMIT).await?)?;
    Ok((removed, removed == BATCH_ROWS))
}

fn count(rows: &[Row]) -> Result<u64, PostgresError> {
    let count = rows.first().and_then(|row| row.get("count")?.parse().ok());
    count.ok_or_else(|| PostgresError::Unusable("the server told no count".to_owned()))
}

fn newest_sql(filter: &Filter, text: AsText) -> String {
    let [name, event, details] = ["n.node_name", "e.event", "e.details"].map(text);
    let mut conditions = Vec::new();
    if let Some(event) = &filter.event {
        conditions.push(format!("e.event = {}", literal(event)));
    }
    if let Some(nodes) = &filter.nodes {
        let ids: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
        conditions.push(format!("e.node_id IN ({})", ids.join(", ")));
    }
    let conditions = match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {} ", conditions.join(" AND ")),
    };
    let limit = filter.limit;
    let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
    // `to_char` has no word for `infinity`.
    format!(
        "SELECT e.node_id, {name} AS node_name, {event} AS event, e.successful, \
         {details} AS details, \
         coalesce(pg_catalog.to_char(e.event_timestamp, 'YYYY-MM-DD HH24:MI:SS'), \
         e.event_timestamp::text) AS timestamp, \
         coalesce(pg_catalog.to_char(e.event_timestamp AT TIME ZONE 'UTC', \
         'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), e.event_timestamp::text) AS timestamp_utc \
         FROM repmgr.events e LEFT JOIN repmgr.nodes n ON n.node_id = e.node_id {conditions}\
         ORDER BY e.event_timestamp DESC, e.node_id, e.event COLLATE \"C\", e.successful, \
         e.details COLLATE \"C\"{limit}"
    )
}

fn event(row: &Row) -> Event {
    let text = |name: &str| row.get(name).cloned();
    Event {
        node_id: row
            .get("node_id")
            .and_then(|id| id.parse().ok())
            .unwrap_or_default(),
        node_name: text("node_name"),
        event: text("event").unwrap_or_default(),
        successful: row.get("successful").is_some_and(|value| value == "t"),
        timestamp: text("timestamp").unwrap_or_default(),
        timestamp_utc: text("timestamp_utc").unwrap_or_default(),
        details: text("details"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_condition_and_its_values_stay_values() {
        let newest_sql = |filter: &Filter| newest_sql(filter, str::to_owned);
        let all = newest_sql(&Filter::default());
        assert!(!all.contains("WHERE") && !all.contains("LIMIT"), "{all}");
        let filter = Filter {
            event: Some("x' OR true --".to_owned()),
            nodes: Some(vec![NodeId(1), NodeId(7)]),
            limit: Some(20),
        };
        let sql = newest_sql(&filter);
        let expected = "WHERE e.event = E'x'' OR true --' AND e.node_id IN (1, 7) ORDER BY";
        assert!(sql.contains(expected), "{sql}");
        assert!(sql.ends_with(" LIMIT 20"), "{sql}");
    }
}
