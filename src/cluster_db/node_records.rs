//! The rows of `repmgr.nodes`, as repmgr 4 and 5 have them.
//!
//! Reads; who writes is [`super::repmgr_tables`]. A row may have been written by anybody who may
//! write there: nothing of it is believed before it was checked by whoever uses it.

use std::time::Duration;

use super::literal;
use crate::config::NodeId;
use crate::edge::postgres::{PostgresError, Row, Session};

const LIMIT: Duration = Duration::from_secs(5);
/// More nodes than any cluster has; a reader is not made to read whatever somebody has put there.
const ROWS_MAX: u32 = 1000;

/// A row of `repmgr.nodes`.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its `node_id`.
    pub node_id: NodeId,
    /// The node that it follows, in streaming replication.
    pub upstream_node_id: Option<NodeId>,
    /// Whether it is marked active.
    pub active: bool,
    /// Its name.
    pub node_name: String,
    /// `primary`, `standby`, `witness` or `bdr`.
    pub kind: String,
    /// Free text.
    pub location: String,
    /// For streaming replication.
    pub priority: i32,
    /// How to connect to it; may hold a password.
    pub conninfo: String,
}

impl std::fmt::Debug for NodeRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeRecord")
            .field("node_id", &self.node_id)
            .field("node_name", &self.node_name)
            .field("kind", &self.kind)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// All rows, by id; one that cannot be is an error.
///
/// # Errors
/// [`PostgresError`]; SQLSTATE 42P01 or 3F000 when the table or the schema is absent.
pub async fn all(session: &Session) -> Result<Vec<NodeRecord>, PostgresError> {
    let (records, unusable) = usable(session).await?;
    match unusable.into_iter().next() {
        Some(problem) => Err(PostgresError::Unusable(problem)),
        None => Ok(records),
    }
}

/// The rows that can be, by id, and a sentence for each one that cannot: for whoever shows the
/// others all the same.
///
/// # Errors
/// As [`all`].
pub async fn usable(session: &Session) -> Result<(Vec<NodeRecord>, Vec<String>), PostgresError> {
    let query = |text: AsText| {
        let [name, location, conninfo] = ["node_name", "location", "conninfo"].map(text);
        format!(
            "SELECT node_id, upstream_node_id, active, {name} AS node_name, type, \
             {location} AS location, priority, {conninfo} AS conninfo \
             FROM repmgr.nodes ORDER BY node_id LIMIT {ROWS_MAX}"
        )
    };
    let rows = rows_of_text(session, query, LIMIT).await?;
    let (mut records, mut unusable) = (Vec::new(), Vec::new());
    for row in &rows {
        match record(row) {
            Ok(record) => records.push(record),
            Err(problem) => unusable.push(problem),
        }
    }
    Ok((records, unusable))
}

/// How a query names a column of text.
pub(super) type AsText = fn(&str) -> String;

/// A database without an encoding (`SQL_ASCII`) may hold bytes that are no text, and then refuses
/// to send any row (SQLSTATE 22021): it is asked again to spell such bytes out, as `\344`.
pub(super) async fn rows_of_text(
    session: &Session,
    query: impl Fn(AsText) -> String,
    limit: Duration,
) -> Result<Vec<Row>, PostgresError> {
    let plain: AsText = str::to_owned;
    // Other backslashes are doubled by `encode`, and undoubled again.
    let spelled_out: AsText = |column| {
        let bytes = format!("pg_catalog.convert_to({column}, 'SQL_ASCII')");
        let bytes = format!("pg_catalog.encode({bytes}, 'escape')");
        let (doubled, single) = (literal(r"\\"), literal(r"\"));
        format!("pg_catalog.replace({bytes}, {doubled}, {single})")
    };
    match session.simple(&query(plain), limit).await {
        Err(PostgresError::Answered { sqlstate, .. }) if sqlstate == "22021" => {
            session.simple(&query(spelled_out), limit).await
        }
        answer => answer,
    }
}

fn record(row: &Row) -> Result<NodeRecord, String> {
    let text = |name: &str| row.get(name).cloned().unwrap_or_default();
    let id = |name: &str| row.get(name).and_then(|id| id.parse().ok()).map(NodeId);
    let node_id = id("node_id").filter(|id| id.0 > 0).ok_or_else(|| {
        let found = text("node_id");
        format!("repmgr.nodes has a row with node_id {found}, which is no id of a node")
    })?;
    Ok(NodeRecord {
        node_id,
        upstream_node_id: id("upstream_node_id"),
        active: text("active") == "t",
        node_name: text("node_name"),
        kind: text("type"),
        location: text("location"),
        priority: text("priority").parse().unwrap_or_default(),
        conninfo: text("conninfo"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_usable_id_is_told_apart() {
        for (id, usable) in [("1", true), ("0", false), ("-5", false), ("", false)] {
            let row = Row::from([("node_id".to_owned(), id.to_owned())]);
            assert_eq!(record(&row).is_ok(), usable, "{id}");
        }
    }
}
