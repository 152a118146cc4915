//! `repoint bdr`: registration in repmgr.nodes.
//!
//! What both commands have in common; each has a file of its own. SQL is `cluster_db`'s.

use std::path::Path;

use clap::Subcommand;

use super::connection::Target;
use super::exit::Exit;
use super::failure::Failure;
use crate::cli::say::Voice;
use crate::cluster_db::node_records::NodeRecord;
use crate::cluster_db::replication::{self, Adapter, Found};
use crate::config::{Replication, ReplicationType};
use crate::conninfo::Conninfo;
use crate::edge::postgres::{PostgresError, Session};

mod announce;
mod checks;
mod peer;
mod register;
mod unregister;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register this node in repmgr.nodes.
    ///
    /// Run it on each node. The first time it makes repmgr's tables, and has them replicate.
    #[command(after_help = register::EXAMPLE)]
    Register(register::Arguments),
    /// Take an inactive node out of repmgr.nodes.
    #[command(after_help = unregister::EXAMPLE)]
    Unregister(unregister::Arguments),
}

impl Command {
    /// How much its user wants to read.
    pub(super) fn voice(&self) -> Voice {
        match self {
            Self::Register(arguments) => arguments.voice,
            Self::Unregister(arguments) => arguments.voice,
        }
    }
}

pub(super) async fn run(file: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    let end = match command {
        Command::Register(arguments) => {
            let target = arguments.connection.target(file, arguments.voice)?;
            refuse_physical(&target, "BDR REGISTER")?;
            register::run(target, &arguments).await
        }
        Command::Unregister(arguments) => {
            let target = arguments.connection.target(file, arguments.voice)?;
            refuse_physical(&target, "BDR UNREGISTER")?;
            unregister::run(target, &arguments).await
        }
    };
    end.map_err(|failure| Failure {
        message: one_line(&failure.message),
        detail: failure.detail.as_deref().map(one_line),
        hint: failure.hint.as_deref().map(one_line),
        ..failure
    })
}

/// repmgr's default is streaming replication.
fn refuse_physical(target: &Target, command: &str) -> Result<(), Failure> {
    let config = target.config.as_ref();
    if config.is_none_or(|config| config.replication_type == ReplicationType::Bdr) {
        return Ok(());
    }
    let message = format!("cannot run {command} on a non-BDR node");
    Err(Failure::new(Exit::BadConfig, message)
        .detail("replication_type is \"physical\", which is the default in a repmgr.conf")
        .hint("write replication_type='bdr', for pgactive and pglogical, too"))
}

/// Without line breaks: names and messages come from a database, where anybody may have put them.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}

/// A query that failed, with what it was for.
fn query_failed(what: &str) -> impl Fn(PostgresError) -> Failure {
    let message = format!("unable to {what}");
    move |error| Failure::new(Exit::DbQuery, message.clone()).detail(error.to_string())
}

/// The replication of the session's database: one that is supported, and that it is a member of.
async fn adapter(
    session: &Session,
    conninfo: &Conninfo,
    configured: Option<Replication>,
    command: &str,
) -> Result<&'static dyn Adapter, Failure> {
    let found = replication::look(session, configured).await;
    let found = found.map_err(query_failed("read pg_extension"))?;
    let not_enabled = |why: String| {
        let dbname = conninfo.get("dbname").unwrap_or("postgres");
        Failure::new(
            Exit::BadConfig,
            format!("database \"{dbname}\" is not BDR-enabled"),
        )
        .detail(why)
        .hint("the tables of repmgr have to be in the database that is replicated; name that one")
    };
    let Some(Found { adapter, .. }) = found else {
        return Err(not_enabled(match configured {
            Some(kind) => format!("it has no extension \"{}\"", kind.extension()),
            None => "it has no extension \"bdr\", \"pgactive\" or \"pglogical\"".to_owned(),
        }));
    };
    if !found.as_ref().is_some_and(Found::is_supported) {
        let version = found.map(|found| found.version).unwrap_or_default();
        return Err(Failure::new(
            Exit::BadConfig,
            format!("\"repoint {command}\" is for {} only", adapter.title()),
        )
        .detail(format!(
            "the database has {} {version}",
            adapter.extension()
        )));
    }
    let member = replication::ask(session, &adapter.is_member()).await;
    let member = member.map_err(query_failed("ask whether the database is replicated"))?;
    match member.as_deref() {
        Some("t") => Ok(adapter),
        _ => Err(not_enabled(format!(
            "it has the extension \"{}\", and is no member of a group",
            adapter.extension()
        ))),
    }
}

/// No row may be of another kind of replication: the tables then belong to another cluster.
fn only_bdr(records: &[NodeRecord]) -> Result<(), Failure> {
    let Some(other) = records.iter().find(|record| record.kind != "bdr") else {
        return Ok(());
    };
    Err(Failure::new(
        Exit::BadConfig,
        "repmgr.nodes has nodes that are not of type \"bdr\"",
    )
    .detail(format!(
        "node \"{}\" (ID: {}) is of type \"{}\"",
        other.node_name, other.node_id, other.kind
    ))
    .hint("streaming and active-active replication cannot be mixed in one cluster"))
}
