//! The replication between the nodes: what is asked of it, and where each kind keeps the answer.
//!
//! One small adapter for each kind, behind [`Adapter`], which gives SQL: asking is the caller's,
//! and the same for all of them. The only sign that a peer replicates is its slot on the other
//! node. Names that changed between PostgreSQL 9.4 and 18 are chosen here, by the server's version.

use std::time::Duration;

use super::literal;
use crate::config::Replication;
use crate::edge::postgres::{PostgresError, Row, Session};

mod bdr;
mod pgactive;
mod pglogical;
#[cfg(test)]
mod tests;

const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The replication set that repmgr's tables are in, where tables can be put into one.
pub const SET: &str = "repmgr";

/// What every kind of replication can be asked. Each method gives a query with one row, one column
/// `answer`, unless it says something else.
pub trait Adapter: Send + Sync + std::fmt::Debug {
    /// The extension's name, as in `pg_extension`.
    fn extension(&self) -> &'static str;
    /// What messages call it, with the version that is supported.
    fn title(&self) -> &'static str;
    /// The last major version of the extension that has the catalogues read here.
    fn major_max(&self) -> Option<u32>;
    /// Whether the database is a member: `t` or `f`.
    fn is_member(&self) -> String;
    /// What the replication calls the local node.
    fn local_node_name(&self) -> String;
    /// The nodes as the local one knows them, in a fixed order: `node_name`, `dsn`, `status`.
    fn members(&self) -> String;
    /// The names of the slots on the local node through which the peer may be pulling: any number
    /// of rows, one column.
    fn slots_of_peer(&self, peer_name: &str) -> String;
    /// A query for the peer, where that is the only one to know its slot's name: `answer` in any
    /// number of rows.
    fn slots_named_by_peer(&self, _node_name: &str) -> Option<String> {
        None
    }
    /// A statement of DDL (every object with its schema) as it has to be run.
    fn ddl(&self, statement: &str) -> String {
        statement.to_owned()
    }
    /// Whether [`Adapter::ddl`] reaches the peer as well.
    fn ddl_replicates(&self) -> bool {
        false
    }
    /// Whether rows of a new table are sent to the peer at once, so that the peer needs the table
    /// before there are any: a row for a table that is not there stops replication altogether.
    fn sends_new_tables(&self) -> bool {
        false
    }
    /// What the local node has to be told so that these tables of the schema `repmgr` replicate.
    fn offer(&self, node_name: &str, tables: &[String]) -> Vec<Change>;
    /// Whether the local node offers the tables: `t` or `f`.
    fn offers(&self) -> String;
    /// What the local node has to be told so that it takes the tables that `peer_name` offers.
    fn take(&self, peer_name: &str) -> Vec<Change>;
    /// Whether what the local node writes into these tables is sent at all, as far as can be
    /// known.
    fn carries(&self, _node_name: &str, _table: &str) -> String {
        "SELECT true AS answer".to_owned()
    }
}

/// Something to change, unless it is right already: some changes take a lock on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// For people: `add …`, `create …`.
    pub what: String,
    /// A query: `t` when it has to be done.
    pub needed: String,
    /// What does it.
    pub sql: String,
}

/// A node as the replication knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The replication's name for it.
    pub node_name: String,
    /// How its peers connect to it; may hold a password, and need not be a conninfo.
    pub dsn: Option<String>,
    /// As the replication writes it; BDR's `r` means ready.
    pub status: Option<String>,
}

/// The replication of a database.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub adapter: &'static dyn Adapter,
    /// The extension's version, such as `2.0.6.0`.
    pub version: String,
}

impl Found {
    /// Whether the version is one whose catalogues are known.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        let digits = |c: char| !c.is_ascii_digit();
        let end = self.version.find(digits).unwrap_or(self.version.len());
        let major = self.version[..end].parse::<u32>();
        match (self.adapter.major_max(), major) {
            (Some(max), Ok(major)) => major <= max,
            (Some(_), Err(_)) => false,
            (None, _) => true,
        }
    }
}

/// That a peer pulls changes, and how far behind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// From the peer's last confirmed position to the end of the write-ahead log, in bytes.
    pub lag_bytes: Option<u64>,
}

/// BDR first: a database that has it must change its schema through it, whatever else is there.
const ADAPTERS: [&dyn Adapter; 3] = [&bdr::Bdr, &pgactive::Pgactive, &pglogical::Pglogical];

/// Looks which replication the database has: the configured one, or the first whose extension is
/// there.
///
/// # Errors
/// The session's.
pub async fn look(
    session: &Session,
    configured: Option<Replication>,
) -> Result<Option<Found>, PostgresError> {
    let query = "SELECT extname, extversion FROM pg_catalog.pg_extension";
    let rows = session.simple(query, QUERY_TIMEOUT).await?;
    let named = ADAPTERS.iter().filter(|adapter| match configured {
        Some(kind) => adapter.extension() == kind.extension(),
        None => true,
    });
    let found = |adapter: &&'static dyn Adapter| {
        let is_it = |row: &&Row| {
            row.get("extname")
                .is_some_and(|name| name == adapter.extension())
        };
        let row = rows.iter().find(is_it)?;
        Some(Found {
            adapter: *adapter,
            version: row.get("extversion").cloned().unwrap_or_default(),
        })
    };
    Ok(named.copied().find_map(|adapter| found(&adapter)))
}

/// Finds the adapter: the configured one, or the first whose extension the database has.
///
/// # Errors
/// The session's, or that no extension is there, or that its version is not known here.
pub async fn find(
    session: &Session,
    configured: Option<Replication>,
) -> Result<&'static dyn Adapter, PostgresError> {
    let found = look(session, configured).await?.ok_or_else(|| {
        let known: Vec<&str> = ADAPTERS.iter().map(|adapter| adapter.extension()).collect();
        let meant = configured.map_or(known.join(" or "), |kind| kind.extension().to_owned());
        PostgresError::Unusable(format!("the database has no extension {meant}"))
    })?;
    if !found.is_supported() {
        let (name, title) = (found.adapter.extension(), found.adapter.title());
        return Err(PostgresError::Unusable(format!(
            "repoint can only work with {title}; the database has {name} {}",
            found.version
        )));
    }
    Ok(found.adapter)
}

/// Asks one of the adapter's questions; no row is `None`, and so is NULL.
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

/// The nodes of the replication, in its own order.
///
/// # Errors
/// The session's.
pub async fn members(
    session: &Session,
    adapter: &dyn Adapter,
) -> Result<Vec<Member>, PostgresError> {
    let rows = session.simple(&adapter.members(), QUERY_TIMEOUT).await?;
    let member = |mut row: Row| Member {
        node_name: row.remove("node_name").unwrap_or_default(),
        dsn: row.remove("dsn"),
        status: row.remove("status"),
    };
    Ok(rows.into_iter().map(member).collect())
}

/// Whether replication runs from the session's node to its peer; if not, why not. The peer's own
/// session is asked for its slot's name where only the peer knows it; without one, what the local
/// node knows has to do.
///
/// # Errors
/// The session's.
pub async fn feeds_peer(
    session: &Session,
    peer: Option<&Session>,
    configured: Option<Replication>,
    node_name: &str,
    peer_name: &str,
) -> Result<Result<Feed, String>, PostgresError> {
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
    let own = own.as_deref().unwrap_or(node_name);
    let slots = match (adapter.slots_named_by_peer(own), peer) {
        (Some(question), Some(peer)) => named_slots(peer, &question).await?,
        (None, _) | (Some(_), None) => adapter.slots_of_peer(peer_name),
    };
    let rows = session
        .simple(&slot_state(&slots, session.version_num()), QUERY_TIMEOUT)
        .await?;
    let row = rows.into_iter().next().unwrap_or_default();
    if row.get("active").is_some_and(|active| active == "t") {
        let lag: Option<i64> = row.get("lag").and_then(|lag| lag.parse().ok());
        // The positions are not read at one instant, so the difference can be below nothing.
        let lag_bytes = lag.map(|lag| u64::try_from(lag).unwrap_or(0));
        return Ok(Ok(Feed { lag_bytes }));
    }
    Ok(Err(format!(
        "no active replication slot for `{peer_name}` on `{node_name}`"
    )))
}

/// What the peer says, as a list of names.
async fn named_slots(peer: &Session, question: &str) -> Result<String, PostgresError> {
    let rows = peer.simple(question, QUERY_TIMEOUT).await?;
    let names = rows.iter().filter_map(|row| row.get("answer"));
    let names: Vec<String> = names.map(|name| literal(name)).collect();
    Ok(match names.is_empty() {
        // A list must not be empty.
        true => "NULL".to_owned(),
        false => names.join(", "),
    })
}

/// One row: `active`, and `lag` in bytes.
fn slot_state(slots: &str, version: u32) -> String {
    format!(
        "SELECT bool_or(s.active) AS active, max({})::bigint AS lag \
         FROM pg_catalog.pg_replication_slots s WHERE s.slot_name IN ({slots})",
        slot_lag(version)
    )
}

/// How far the slot `s` is behind, with the names that the server's version has for it.
fn slot_lag(version: u32) -> &'static str {
    match version {
        100_000.. => {
            "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.confirmed_flush_lsn)"
        }
        90_600..100_000 => {
            "pg_catalog.pg_xlog_location_diff(pg_catalog.pg_current_xlog_location(), \
             s.confirmed_flush_lsn)"
        }
        0..90_600 => {
            "pg_catalog.pg_xlog_location_diff(pg_catalog.pg_current_xlog_location(), \
             s.restart_lsn)"
        }
    }
}
