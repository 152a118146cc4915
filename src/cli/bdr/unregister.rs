//! `bdr unregister`: takes exactly the node that was named out of repmgr.nodes.

use super::announce::{Happening, announce};
use super::{adapter, one_line, only_bdr, query_failed};
use crate::cli::connection::{Connection, Target};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::say::Voice;
use crate::cluster_db::node_records::{self, NodeRecord};
use crate::cluster_db::registration;
use crate::cluster_db::replication::{self, Adapter};
use crate::cluster_db::schema::{self, Tables};
use crate::config::{Config, NodeId};
use crate::conninfo::Conninfo;
use crate::core::event::EventKind;
use crate::edge::postgres::{Session, attempt_limit, connect};

pub(super) const EXAMPLE: &str = "Example, on the node that stays:
  repoint -f /etc/repoint/repoint.toml bdr unregister --node-id=2
  repoint bdr unregister -h node1 -U repmgr -d bdrtest --node-id=2

Without --node-id or --node-name, the node of the configuration is meant.
Exit status: 0 taken out; 1 not possible as things are; 6 no connection; 7 a query failed.";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The node with this id.
    #[arg(long, value_name = "N", conflicts_with = "node_name")]
    node_id: Option<u32>,
    /// The node with this name.
    #[arg(long, value_name = "X")]
    node_name: Option<String>,
    /// Also take out a node that is running and active.
    #[arg(short = 'F', long)]
    force: bool,
    /// Say what would be done; change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    pub(super) voice: Voice,
}

pub(super) async fn run(target: Target, arguments: &Arguments) -> Result<Exit, Failure> {
    let config = target.config.as_ref();
    if config.is_none() && arguments.node_id.is_none() && arguments.node_name.is_none() {
        let message = "\"bdr unregister\" needs to know which node is meant";
        return Err(Failure::new(Exit::BadConfig, message)
            .hint("add --node-id or --node-name, or name the configuration with -f"));
    }
    let session = target.connect().await?;
    let failed = query_failed("set up the session");
    registration::begin(&session).await.map_err(failed)?;
    let kind = config.and_then(|config| config.replication);
    let adapter = adapter(&session, &target.conninfo, kind, "bdr unregister").await?;
    let records = records(&session).await?;
    let record = chosen(&records, arguments, config)?;
    if !arguments.force {
        refuse_if_in_use(record).await?;
    }
    let name = one_line(&record.node_name);
    let name = format!("node \"{name}\" (ID: {})", record.node_id);
    if arguments.dry_run {
        let voice = arguments.voice;
        voice.info(&format!("node record for {name} would be deleted"));
        return Ok(Exit::Success);
    }
    let local = local_id(&session, adapter, &records, config).await;
    remove(&session, arguments.voice, config, record, local).await
}

async fn records(session: &Session) -> Result<Vec<NodeRecord>, Failure> {
    let failed = query_failed("read repmgr.nodes");
    if schema::look(session).await.map_err(&failed)? != Tables::There {
        let message = "no node is registered: there are no tables of repmgr";
        return Err(Failure::new(Exit::BadConfig, message)
            .hint("see that the database is the one that is replicated"));
    }
    let may = schema::check_grants(session).await;
    may.map_err(|error| {
        Failure::new(Exit::BadConfig, "repmgr's tables cannot be used").detail(error.to_string())
    })?;
    let records = node_records::all(session).await.map_err(&failed)?;
    only_bdr(&records)?;
    Ok(records)
}

/// The one node that is meant.
fn chosen<'a>(
    records: &'a [NodeRecord],
    arguments: &Arguments,
    config: Option<&Config>,
) -> Result<&'a NodeRecord, Failure> {
    let own = config.map(|config| config.node_id);
    let id = arguments.node_id.map(NodeId);
    let (what, found): (String, Vec<&NodeRecord>) = match (id, &arguments.node_name) {
        (None, Some(name)) => (
            format!("\"{name}\""),
            records
                .iter()
                .filter(|one| one.node_name == *name)
                .collect(),
        ),
        (id, _) => {
            let id = id.or(own).unwrap_or(NodeId(0));
            let with_id = records.iter().filter(|one| one.node_id == id);
            (format!("with ID {id}"), with_id.collect())
        }
    };
    let known = || {
        let name = |one: &NodeRecord| format!("\"{}\" (ID: {})", one.node_name, one.node_id);
        let names: Vec<String> = records.iter().map(name).collect();
        match names.is_empty() {
            true => "no node is registered".to_owned(),
            false => format!("registered: {}", names.join(", ")),
        }
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let message = format!("no node {what} is registered");
            Err(Failure::new(Exit::BadConfig, message).detail(known()))
        }
        _ => {
            let message = format!("more than one node {what} is registered");
            Err(Failure::new(Exit::BadConfig, message)
                .detail(known())
                .hint("use --node-id"))
        }
    }
}

/// A node that runs and is marked active takes traffic, or will.
async fn refuse_if_in_use(record: &NodeRecord) -> Result<(), Failure> {
    let Ok(conninfo) = Conninfo::parse(&record.conninfo) else {
        return Ok(());
    };
    if !record.active || connect(&conninfo, attempt_limit(&conninfo)).await.is_err() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::BadConfig,
        format!(
            "node \"{}\" (ID: {}) is running and active",
            record.node_name, record.node_id
        ),
    )
    .hint("use -F/--force to take it out all the same"))
}

/// The node that reports: that of the configuration, else the one that the session is on.
async fn local_id(
    session: &Session,
    adapter: &dyn Adapter,
    records: &[NodeRecord],
    config: Option<&Config>,
) -> Option<NodeId> {
    if let Some(config) = config {
        return Some(config.node_id);
    }
    let name = replication::ask(session, &adapter.local_node_name()).await;
    let name = name.ok().flatten()?;
    let own = records.iter().find(|record| record.node_name == name);
    own.map(|record| record.node_id)
}

async fn remove(
    session: &Session,
    voice: Voice,
    config: Option<&Config>,
    record: &NodeRecord,
    local: Option<NodeId>,
) -> Result<Exit, Failure> {
    let removed = registration::remove(session, record.node_id).await;
    let name = one_line(&record.node_name);
    let name = format!("node \"{name}\" (ID: {})", record.node_id);
    let (successful, details) = match &removed {
        Ok(true) => (true, format!("node record deleted for {name}")),
        Ok(false) => (false, format!("node record for {name} is gone already")),
        Err(error) => (
            false,
            format!("node record for {name} was not deleted: {error}"),
        ),
    };
    let happening = Happening {
        node_id: local.unwrap_or(record.node_id),
        kind: EventKind::BdrUnregister,
        successful,
        details: &details,
    };
    let hook = config.map(|config| &config.hook);
    announce(session, hook, voice, happening).await;
    match removed {
        Ok(true) => {
            voice.notice(&format!("bdr {name} successfully unregistered"));
            Ok(Exit::Success)
        }
        Ok(false) => Err(Failure::new(Exit::DbQuery, details)),
        Err(error) => Err(query_failed(&format!("delete the record of {name}"))(error)),
    }
}
