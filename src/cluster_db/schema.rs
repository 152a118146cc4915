//! The schema `repmgr`: its extension where the server has it, else tables of the same shape.
//!
//! What is there is used as it is, whoever made it. What is made is made under a lock, through the
//! replication's own way of changing a schema, so that two agents that start together make it once
//! and BDR's refusal of plain DDL is not met. Rows are [`super::repmgr_tables`]' and
//! [`super::registration`]'s.

use std::time::Duration;

use super::replication::{self, Adapter};
use crate::edge::postgres::{PostgresError, Session};

const LIMIT: Duration = Duration::from_secs(5);
/// "rept", 2.
const LOCK: &str = "SELECT pg_advisory_lock(1919250548, 2)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(1919250548, 2)";

/// Where repmgr's tables are, or how they will be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// They are there.
    There,
    /// The server has the extension, and this user may create it.
    Extension,
    /// Tables of the same shape, and why not the extension.
    Plain(Reason),
}

/// Why tables are made without the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The server has it not.
    NotAvailable,
    /// Only a superuser may create it.
    NoSuperuser,
    /// One of the tables is there already, or the extension is there without them.
    InPart,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAvailable => "the server has no extension \"repmgr\"",
            Self::NoSuperuser => "only a superuser may create extension \"repmgr\"",
            Self::InPart => "a part of the schema \"repmgr\" is there already",
        })
    }
}

/// Looks what is there.
///
/// # Errors
/// [`PostgresError`].
pub async fn look(session: &Session) -> Result<Tables, PostgresError> {
    let query = "SELECT (SELECT count(*) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'repmgr' AND c.relname IN ('nodes', 'events')) AS tables, \
         (SELECT count(*) FROM pg_catalog.pg_extension WHERE extname = 'repmgr') AS installed, \
         (SELECT count(*) FROM pg_catalog.pg_available_extensions WHERE name = 'repmgr') \
         AS available, current_setting('is_superuser') AS superuser";
    let rows = session.simple(query, LIMIT).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let is = |name: &str, value: &str| row.get(name).is_some_and(|found| found == value);
    Ok(if is("tables", "2") {
        Tables::There
    } else if !is("tables", "0") || is("installed", "1") {
        Tables::Plain(Reason::InPart)
    } else if !is("available", "1") {
        Tables::Plain(Reason::NotAvailable)
    } else if !is("superuser", "on") {
        Tables::Plain(Reason::NoSuperuser)
    } else {
        Tables::Extension
    })
}

/// Held by the session while tables and their first rows are being made, so that two agents that
/// start together do not both make them. Ends with the session at the latest.
///
/// # Errors
/// [`PostgresError`].
pub async fn lock(session: &Session, limit: Duration) -> Result<(), PostgresError> {
    session.simple(LOCK, limit).await.map(drop)
}

/// Ends [`lock`].
///
/// # Errors
/// [`PostgresError`].
pub async fn unlock(session: &Session) -> Result<(), PostgresError> {
    session.simple(UNLOCK, LIMIT).await.map(drop)
}

/// Makes the tables if they are not there; gives what was found before. The caller has the
/// [`lock`], which is this node's only: what BDR runs on its other member may be there by now, and
/// would stop replication there for good if that were an error.
///
/// # Errors
/// [`PostgresError`]; [`PostgresError::Unusable`] says what has to be granted when the tables are
/// there and this user may not use them.
pub async fn ensure(
    session: &Session,
    adapter: Option<&dyn Adapter>,
    limit: Duration,
) -> Result<Tables, PostgresError> {
    let tables = look(session).await?;
    let statements = match tables {
        Tables::There => Vec::new(),
        Tables::Extension => vec!["CREATE EXTENSION IF NOT EXISTS repmgr"],
        Tables::Plain(_) => CREATE.to_vec(),
    };
    let statements: Vec<String> = statements
        .into_iter()
        .map(|statement| match adapter {
            Some(adapter) => adapter.ddl(statement),
            None => statement.to_owned(),
        })
        .collect();
    if !statements.is_empty() {
        // One message is one transaction.
        session.simple(&statements.join("; "), limit).await?;
    }
    if tables == Tables::There {
        check_grants(session).await?;
    }
    Ok(tables)
}

/// The adapter through which the schema of this database has to be changed: that of a replication
/// which it really takes part in.
///
/// # Errors
/// [`PostgresError`].
pub async fn adapter(session: &Session) -> Result<Option<&'static dyn Adapter>, PostgresError> {
    let Some(found) = replication::look(session, None).await? else {
        return Ok(None);
    };
    let member = replication::ask(session, &found.adapter.is_member()).await;
    Ok(match member {
        Ok(Some(member)) if member == "t" => Some(found.adapter),
        // Nothing that can be asked takes part in nothing; a user who may not ask finds out when
        // the schema has to be changed.
        Ok(_) | Err(PostgresError::Answered { .. }) => None,
        Err(error) => return Err(error),
    })
}

/// Whether the session's user may use the tables, which somebody else may have made.
///
/// # Errors
/// [`PostgresError::Unusable`] with what has to be granted.
pub async fn check_grants(session: &Session) -> Result<(), PostgresError> {
    let query = "SELECT quote_ident(current_user) AS name, bool_and(\
         has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') \
         AND has_table_privilege(c.oid, 'INSERT') AND (c.relname = 'events' \
         OR has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))) \
         AS granted FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'repmgr' AND c.relname IN ('nodes', 'events')";
    let rows = session.simple(query, LIMIT).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    if row.get("granted").is_none_or(|granted| granted == "t") {
        return Ok(());
    }
    let user = row.get("name").cloned().unwrap_or_default();
    Err(PostgresError::Unusable(format!(
        "user {user} may not use the tables of the schema repmgr; as a superuser, run \
         GRANT USAGE ON SCHEMA repmgr TO {user}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA repmgr TO {user}"
    )))
}

/// The ordinary tables of the schema: those of the extension are more than two.
///
/// # Errors
/// [`PostgresError`].
pub async fn tables(session: &Session) -> Result<Vec<String>, PostgresError> {
    let query = "SELECT c.relname FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'repmgr' AND c.relkind = 'r' ORDER BY c.relname";
    let rows = session.simple(query, LIMIT).await?;
    Ok(rows
        .into_iter()
        .filter_map(|mut row| row.remove("relname"))
        .collect())
}

/// repmgr 4's and 5's tables, with every object's schema, as BDR wants it.
const CREATE: [&str; 3] = [
    "CREATE SCHEMA IF NOT EXISTS repmgr",
    "CREATE TABLE IF NOT EXISTS repmgr.nodes (\
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
     config_file text NOT NULL)",
    "CREATE TABLE IF NOT EXISTS repmgr.events (\
     node_id integer NOT NULL, \
     event text NOT NULL, \
     successful boolean NOT NULL DEFAULT true, \
     event_timestamp timestamp with time zone NOT NULL DEFAULT current_timestamp, \
     details text NULL)",
];
