//! The nodes that a command concerns, with a session to each that can be reached.
//!
//! Which nodes there are is what `repmgr.nodes` says where the command connects to; a configuration
//! that lists them does where that server is down or nothing is registered.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::cli::connection::Target;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::say::Voice;
use crate::cli::table::printable;
use crate::cluster_db::agents;
use crate::cluster_db::node_records::{self, NodeRecord};
use crate::config::{Config, NodeId};
use crate::conninfo::Conninfo;
use crate::edge::postgres::{PostgresError, Session, attempt_limit};

/// A node.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) record: NodeRecord,
    pub(super) session: Result<Session, PostgresError>,
}

impl Member {
    pub(super) fn id(&self) -> NodeId {
        self.record.node_id
    }

    /// As repmgr names nodes in lines about pauses: `1 (node1)`, whatever the name is.
    pub(super) fn name(&self) -> String {
        let name = printable(&self.record.node_name);
        format!("{} ({name})", self.record.node_id)
    }
}

/// Finds the nodes, and connects to all of them at the same time.
pub(super) async fn reach(target: &Target, voice: Voice) -> Result<Vec<Member>, Failure> {
    let records = records(target, voice).await?;
    let mut attempts = JoinSet::new();
    for record in records {
        let conninfo = conninfo(target, &record);
        attempts.spawn(async move {
            let session = match conninfo {
                Ok(conninfo) => open(&conninfo).await,
                Err(error) => Err(error),
            };
            Member { record, session }
        });
    }
    let mut members = attempts.join_all().await;
    members.sort_by_key(Member::id);
    Ok(members)
}

async fn open(conninfo: &Conninfo) -> Result<Session, PostgresError> {
    let limit: Duration = attempt_limit(conninfo);
    agents::open(conninfo, limit).await
}

async fn records(target: &Target, voice: Voice) -> Result<Vec<NodeRecord>, Failure> {
    let listed = target.config.as_ref().map(listed).unwrap_or_default();
    let session = match target.connect().await {
        Ok(session) => session,
        // The peer may live, and its row be known.
        Err(failure) if listed.len() > 1 => {
            voice.warning(&failure.message);
            if let Some(detail) = &failure.detail {
                voice.detail(detail);
            }
            return Ok(listed);
        }
        Err(failure) => return Err(target.point_to_others(failure)),
    };
    let absent = |sqlstate: &str| ["42P01", "3F000"].contains(&sqlstate);
    let registered = match node_records::all(&session).await {
        Ok(records) => records,
        Err(PostgresError::Answered { sqlstate, .. }) if absent(&sqlstate) => Vec::new(),
        Err(error) => {
            let failure = Failure::new(Exit::DbQuery, "unable to read repmgr.nodes");
            return Err(failure.detail(printable(&error.to_string())));
        }
    };
    match (registered.is_empty(), listed.is_empty()) {
        (false, _) => Ok(registered),
        (true, false) => Ok(listed),
        (true, true) => Err(
            Failure::new(Exit::BadConfig, "no node is registered in repmgr.nodes")
                .hint("`repoint bdr register` registers one; -f names a file that lists them"),
        ),
    }
}

/// What a configuration knows of the nodes, in the shape of their rows.
fn listed(config: &Config) -> Vec<NodeRecord> {
    let record = |node: &crate::config::Node| NodeRecord {
        node_id: node.node_id,
        upstream_node_id: None,
        active: true,
        node_name: node.node_name.clone(),
        kind: "bdr".to_owned(),
        location: config.record.location.clone(),
        priority: i32::try_from(config.record.priority).unwrap_or(i32::MAX),
        conninfo: String::new(),
    };
    config.nodes.values().map(record).collect()
}

/// The configuration's own string is preferred: that of the row has no password. Either is the
/// daemon's, too: what is made for the one is for the other to use. What the command line names is
/// only where the rows are read.
fn conninfo(target: &Target, record: &NodeRecord) -> Result<Conninfo, PostgresError> {
    let config = target.config.as_ref();
    match config.and_then(|config| config.nodes.get(&record.node_id)) {
        Some(node) => Ok(node.conninfo.clone()),
        None => Conninfo::parse(&record.conninfo)
            .map_err(|error| PostgresError::Unusable(format!("conninfo in repmgr.nodes: {error}"))),
    }
}
