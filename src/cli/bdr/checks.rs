//! What has to hold before a node can be registered. Looks, and changes nothing.

use super::peer::Peer;
use super::{only_bdr, query_failed};
use crate::cli::connection::Target;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cluster_db::node_records::{self, NodeRecord};
use crate::cluster_db::registration::OwnRecord;
use crate::cluster_db::replication::{self, Adapter, Member};
use crate::cluster_db::schema::{self, Tables};
use crate::config::Config;
use crate::edge::postgres::{self, PostgresError, Session, attempt_limit};

pub(super) fn members(adapter: &dyn Adapter, members: &[Member]) -> Result<(), Failure> {
    let count = members.len();
    if (1..=2).contains(&count) {
        return Ok(());
    }
    if count == 0 {
        let message = format!("{} knows no node", adapter.title());
        return Err(Failure::new(Exit::BadConfig, message));
    }
    let names: Vec<&str> = members.iter().map(|one| one.node_name.as_str()).collect();
    Err(Failure::new(
        Exit::BadConfig,
        format!(
            "repoint can only support {} clusters with 2 nodes",
            adapter.title()
        ),
    )
    .detail(format!("this one has {count}: {}", names.join(", "))))
}

/// The daemon asks the replication for nodes by their names, so they have to be the same.
pub(super) async fn name(
    session: &Session,
    adapter: &dyn Adapter,
    own: &OwnRecord,
) -> Result<(), Failure> {
    let name = replication::ask(session, &adapter.local_node_name()).await;
    let name = name.map_err(query_failed("ask the replication for this node's name"))?;
    let name = name.unwrap_or_default();
    if name == own.node_name {
        return Ok(());
    }
    let kind = adapter.extension();
    Err(Failure::new(
        Exit::BadConfig,
        format!(
            "node_name is \"{}\", but {kind} calls this node \"{name}\"",
            own.node_name
        ),
    )
    .hint(format!(
        "set node_name to \"{name}\" in the configuration, on both hosts; \
         if this is the wrong node, connect to the right one"
    )))
}

/// The conninfo of the configuration is what peers will use: it has to lead to this server, also
/// when the command line named another way to it.
pub(super) async fn conninfo(
    session: &Session,
    target: &Target,
    config: &Config,
) -> Result<(), Failure> {
    let conninfo = &config.local().conninfo;
    if *conninfo == target.conninfo {
        return Ok(());
    }
    let limit = attempt_limit(conninfo);
    let unable = |error: PostgresError| {
        Failure::new(Exit::DbConn, "unable to connect with the node's conninfo")
            .detail(format!("{}: {error}", conninfo.redacted()))
    };
    let by_conninfo = postgres::connect(conninfo, limit).await.map_err(unable)?;
    let theirs = postgres::identity(&by_conninfo, limit).await;
    let ours = postgres::identity(session, target.limit()).await;
    if theirs.map_err(unable)? == ours.map_err(query_failed("ask which server this is"))? {
        return Ok(());
    }
    Err(Failure::new(
        Exit::BadConfig,
        "the node's conninfo leads to another server than the one named on the command line",
    )
    .detail(conninfo.redacted()))
}

/// The rows as they will be once the peer's were copied.
pub(super) async fn records(
    session: &Session,
    tables: Tables,
    peer: Option<&Peer>,
) -> Result<Vec<NodeRecord>, Failure> {
    let mut records = Vec::new();
    if tables == Tables::There {
        let may = schema::check_grants(session).await;
        may.map_err(|error| {
            Failure::new(Exit::BadConfig, "repmgr's tables cannot be used")
                .detail(error.to_string())
        })?;
        let read = node_records::all(session).await;
        records = read.map_err(query_failed("read repmgr.nodes"))?;
    }
    if let (true, Some(peer)) = (records.is_empty(), peer) {
        records = peer.records().await.unwrap_or_default();
    }
    Ok(records)
}

pub(super) fn registered(
    records: &[NodeRecord],
    own: &OwnRecord,
    force: bool,
) -> Result<(), Failure> {
    only_bdr(records)?;
    let (mine, others): (Vec<&NodeRecord>, Vec<&NodeRecord>) = records
        .iter()
        .partition(|record| record.node_id == own.node_id);
    if let Some(other) = others.iter().find(|one| one.node_name == own.node_name) {
        return Err(Failure::new(
            Exit::BadConfig,
            format!("another node is registered as \"{}\"", other.node_name),
        )
        .detail(format!(
            "it has ID {}, this one is to have {}",
            other.node_id, own.node_id
        ))
        .hint(format!(
            "if it is this node under its old ID: \
             repoint bdr unregister --node-id={} --force",
            other.node_id
        )));
    }
    if others.len() > 1 {
        let name = |one: &&NodeRecord| format!("\"{}\" (ID: {})", one.node_name, one.node_id);
        let names: Vec<String> = others.iter().map(name).collect();
        return Err(
            Failure::new(Exit::BadConfig, "two other nodes are registered already")
                .detail(names.join(", "))
                .hint("take the one that is gone out with \"repoint bdr unregister\""),
        );
    }
    if !mine.is_empty() && !force {
        return Err(
            Failure::new(Exit::BadConfig, "this node is already registered")
                .hint("use -F/--force to write its record again"),
        );
    }
    Ok(())
}
