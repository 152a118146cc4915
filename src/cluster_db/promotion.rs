//! What a node of a streaming cluster says of itself: primary or standby, its timeline, and what
//! its `repmgr.nodes` says of all.
//!
//! Reads. Who is the primary is decided by `core::primary`. A row of `repmgr.nodes` is data that
//! anybody may have written who may write there: [`node`] takes it apart and checks it.

use std::time::Duration;

use super::node_records::{self, NodeRecord};
use crate::config::{Node, NodeId};
use crate::conninfo::Conninfo;
use crate::conninfo::server_address::ServerAddress;
use crate::edge::postgres::{self, PostgresError, Session};

/// A cluster of repmgr's has a handful of nodes; each row is a server that is connected to.
const ROWS_MAX: usize = 64;
/// PostgreSQL's limit for names, which is repmgr's for `node_name`.
const NAME_BYTES_MAX: usize = 63;
/// A healthy node answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What tells this start of this server from every other (see [`postgres::identity`]).
    pub identity: String,
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// `transaction_read_only` of a new session; always on in recovery.
    pub read_only: bool,
    /// The timeline that is being written; `None` in recovery.
    pub timeline: Option<u32>,
    /// `system_identifier`, from PostgreSQL 9.6 on.
    pub system: Option<String>,
    /// Its `repmgr.nodes`; empty without the table.
    pub records: Vec<NodeRecord>,
}

/// Why a row of `repmgr.nodes` describes no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Empty, too long, or not on one line.
    #[error("node {0} of repmgr.nodes has a name of {1} bytes; 1 to 63 are allowed")]
    NameLength(NodeId, usize),
    /// It could begin a line of its own in a log or a file.
    #[error("node {0} of repmgr.nodes has a name with a control character")]
    NameCharacters(NodeId),
    /// libpq would not take it, or PgBouncer could not be given it.
    #[error("node {0} of repmgr.nodes has a conninfo that cannot be used: {1}")]
    Conninfo(NodeId, String),
}

/// Asks a node, on a connection of its own.
///
/// # Errors
/// [`PostgresError`].
pub async fn standing(conninfo: &Conninfo, limit: Duration) -> Result<Standing, PostgresError> {
    let asks = async {
        let session = postgres::connect(conninfo, limit).await?;
        let identity = postgres::identity(&session, LIMIT).await?;
        let rows = session.simple(&query(session.version_num()), LIMIT).await?;
        let row = rows.into_iter().next().unwrap_or_default();
        let is = |name: &str, value: &str| row.get(name).is_some_and(|found| found == value);
        if !is("in_recovery", "t") && !is("in_recovery", "f") {
            let why = "the server does not say whether it is in recovery";
            return Err(PostgresError::Unusable(why.to_owned()));
        }
        let timeline = row.get("timeline").map(String::as_str).unwrap_or_default();
        Ok(Standing {
            identity,
            in_recovery: is("in_recovery", "t"),
            read_only: !is("read_only", "off"),
            timeline: u32::from_str_radix(timeline, 16).ok(),
            system: row.get("system").cloned(),
            records: records(&session).await?,
        })
    };
    let answer = tokio::time::timeout(limit, asks).await;
    answer.unwrap_or(Err(PostgresError::Silent(limit)))
}

/// The name of the WAL file tells the timeline: the control file learns of a new one only with the
/// first checkpoint after the promotion.
fn query(version_num: u32) -> String {
    let file = match version_num {
        ..100_000 => "pg_xlogfile_name(pg_current_xlog_location())",
        100_000.. => "pg_walfile_name(pg_current_wal_lsn())",
    };
    let system = match version_num {
        ..90_600 => "NULL",
        90_600.. => "(SELECT system_identifier FROM pg_control_system())",
    };
    format!(
        "SELECT pg_is_in_recovery() AS in_recovery, \
         current_setting('transaction_read_only') AS read_only, \
         CASE WHEN NOT pg_is_in_recovery() THEN substr({file}, 1, 8) END AS timeline, \
         {system} AS system"
    )
}

async fn records(session: &Session) -> Result<Vec<NodeRecord>, PostgresError> {
    match node_records::all(session).await {
        Ok(records) if records.len() > ROWS_MAX => Err(PostgresError::Unusable(format!(
            "repmgr.nodes has {} rows; no more than {ROWS_MAX} can be",
            records.len()
        ))),
        Err(PostgresError::Answered { sqlstate, .. })
            if sqlstate == "42P01" || sqlstate == "3F000" =>
        {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// The node that a row describes, if PgBouncer and we can connect to it.
///
/// # Errors
/// [`RecordError`]; no text of it holds more of the row than its id and a keyword.
pub fn node(record: &NodeRecord) -> Result<Node, RecordError> {
    let (node_id, node_name) = (record.node_id, record.node_name.clone());
    if !(1..=NAME_BYTES_MAX).contains(&node_name.len()) {
        return Err(RecordError::NameLength(node_id, node_name.len()));
    }
    if node_name.chars().any(char::is_control) {
        return Err(RecordError::NameCharacters(node_id));
    }
    let unusable = |why: String| RecordError::Conninfo(node_id, why);
    let parsed = Conninfo::parse(&record.conninfo).map_err(|error| unusable(error.to_string()))?;
    // libpq's default, which repmgr connects to as well.
    let conninfo = match (parsed.get("dbname"), parsed.get("user")) {
        (None, Some(user)) => {
            let user = user.to_owned();
            parsed.with("dbname", &user)
        }
        (Some(_), _) | (None, None) => parsed,
    };
    let address = ServerAddress::from_conninfo(&conninfo, None);
    let address = address.map_err(|error| unusable(error.to_string()))?;
    if address.host.starts_with(['/', '@']) {
        let why = "its `host` is a unix socket, which other machines cannot reach";
        return Err(unusable(why.to_owned()));
    }
    Ok(Node {
        node_id,
        node_name,
        conninfo,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(node_name: &str, conninfo: &str) -> NodeRecord {
        NodeRecord {
            node_id: NodeId(2),
            upstream_node_id: None,
            active: true,
            node_name: node_name.to_owned(),
            kind: "primary".to_owned(),
            location: "default".to_owned(),
            priority: 100,
            conninfo: conninfo.to_owned(),
        }
    }

    #[test]
    fn a_row_as_repmgr_writes_it_is_a_node() {
        let found = node(&record("node2", "host=db2 user=repmgr dbname=repmgr")).unwrap();
        assert_eq!(
            (found.node_id, found.node_name.as_str()),
            (NodeId(2), "node2")
        );
        let found = node(&record("it's \"2\"", "postgresql://repmgr@db2:5433")).unwrap();
        assert_eq!(
            found.conninfo.get("dbname"),
            Some("repmgr"),
            "libpq's default"
        );
    }

    #[test]
    fn a_row_that_an_attacker_wrote_is_refused_in_one_line_that_repeats_nothing() {
        let long = "n".repeat(10_000);
        let many = format!("host=x {}", "dbname=y ".repeat(100));
        for (name, conninfo, words) in [
            ("", "host=x dbname=y", "0 bytes"),
            (long.as_str(), "host=x dbname=y", "10000 bytes"),
            ("a\nb", "host=x dbname=y", "control character"),
            ("\u{1b}[31m", "host=x dbname=y", "control character"),
            ("node2", "'", "cannot be used"),
            ("node2", "", "no `host`"),
            ("node2", "host=x", "no `dbname`"),
            ("node2", "host=a,b dbname=y", "2 items"),
            ("node2", "host=x port=99999 dbname=y", "`port`"),
            ("node2", "host=x port=hunter2 dbname=y", "`port`"),
            (
                "node2",
                "host='x\n[pgbouncer]' dbname=y",
                "control character",
            ),
            ("node2", "host=x dbname='y\nz'", "control character"),
            ("node2", "host=/var/run/postgresql dbname=y", "unix socket"),
            ("node2", "host=@socket dbname=y", "unix socket"),
            ("node2", "password=hunter2 nonsense=1", "cannot be used"),
            ("node2", "host=x\0 dbname=y", "cannot be used"),
        ] {
            let error = node(&record(name, conninfo)).expect_err(words).to_string();
            assert!(error.contains(words), "{conninfo:?}: {error}");
            assert!(error.len() < 300 && !error.contains('\n'), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        node(&record("node2", &many)).expect("the last value of an option wins");
    }

    #[test]
    fn the_query_has_the_names_of_the_servers_version() {
        assert!(query(90_624).contains("pg_xlogfile_name") && query(90_624).contains("control"));
        assert!(!query(90_424).contains("pg_control_system"));
        assert!(query(150_018).contains("pg_walfile_name"));
    }
}
