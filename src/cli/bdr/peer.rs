//! The other node of the pair, as far as registration needs it.
//!
//! Where DDL and sets are each node's own, both nodes have to be told; where rows were written
//! before both replicated, they have to be copied. Nothing here is decided for the peer alone.

use std::time::{Duration, Instant};

use super::{one_line, query_failed};
use crate::cli::failure::Failure;
use crate::cli::say::Voice;
use crate::cluster_db::node_records::{self, NodeRecord};
use crate::cluster_db::registration;
use crate::cluster_db::replication::{Adapter, Change, Member, ask};
use crate::cluster_db::schema::{self, Tables};
use crate::config::{Config, NodeId};
use crate::conninfo::Conninfo;
use crate::edge::postgres::{PostgresError, Session, attempt_limit, connect};

/// How long a row may take to get to the peer before it is written there: replication that has just
/// been told of a new set begins again, and may have left the row out.
const ARRIVAL: Duration = Duration::from_secs(8);
const ARRIVAL_POLL: Duration = Duration::from_millis(200);

/// The peer, with a session if it can be reached.
pub(super) struct Peer {
    pub(super) node_name: String,
    pub(super) session: Result<Session, String>,
}

impl Peer {
    /// The member that is not `own`; a group of one node has none.
    pub(super) async fn of(config: &Config, members: &[Member], own: &str) -> Option<Self> {
        let member = members.iter().find(|member| member.node_name != own)?;
        let name = &member.node_name;
        let configured = config.nodes.values().find(|node| &node.node_name == name);
        let conninfo = match (configured, &member.dsn) {
            (Some(node), _) => Ok(node.conninfo.clone()),
            (None, Some(dsn)) => Conninfo::parse(dsn)
                .map_err(|error| format!("its dsn is no connection string: {error}")),
            (None, None) => Err("the replication has no dsn for it".to_owned()),
        };
        let session = match conninfo {
            Ok(conninfo) => open(&conninfo).await,
            Err(why) => Err(why),
        };
        Some(Self {
            node_name: name.clone(),
            session,
        })
    }

    /// Its rows; `None` when it cannot be asked, or has no tables yet.
    pub(super) async fn records(&self) -> Option<Vec<NodeRecord>> {
        let session = self.session.as_ref().ok()?;
        if schema::look(session).await.ok()? != Tables::There {
            return None;
        }
        node_records::all(session).await.ok()
    }

    /// Whether it has registered itself.
    pub(super) async fn is_registered(&self) -> bool {
        let records = self.records().await.unwrap_or_default();
        records.iter().any(|row| row.node_name == self.node_name)
    }
}

async fn open(conninfo: &Conninfo) -> Result<Session, String> {
    let session = connect(conninfo, attempt_limit(conninfo)).await;
    let session = session.map_err(|error| error.to_string())?;
    let begun = registration::begin(&session).await;
    begun.map_err(|error| error.to_string())?;
    Ok(session)
}

/// What has to be changed so that each node takes what the other offers, with the session for it.
/// Empty as long as one of them offers nothing.
pub(super) async fn takes<'a>(
    adapter: &dyn Adapter,
    local: &'a Session,
    own: &str,
    peer: &'a Peer,
    voice: Voice,
) -> Result<Vec<(&'a Session, Change)>, Failure> {
    let asked = query_failed("ask this node for its replication sets");
    let ours = needed(adapter, local, &peer.node_name).await;
    let ours = ours.map_err(asked)?;
    let other = match &peer.session {
        Ok(other) => other,
        Err(why) => {
            if ours.is_some_and(|ours| !ours.is_empty()) {
                let name = one_line(&peer.node_name);
                voice.warning(&format!("unable to connect to node \"{name}\""));
                voice.detail(&one_line(why));
                voice.hint(
                    "register there, or here again with --force, once it is up: until then \
                            neither takes the other's rows",
                );
            }
            return Ok(Vec::new());
        }
    };
    let theirs = match needed(adapter, other, own).await {
        Ok(theirs) => theirs,
        Err(error) => {
            let name = one_line(&peer.node_name);
            voice.warning(&format!("node \"{name}\" cannot be asked for its sets"));
            voice.detail(&one_line(&error.to_string()));
            None
        }
    };
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return Ok(Vec::new());
    };
    let ours = ours.into_iter().map(|change| (local, change));
    let theirs = theirs.into_iter().map(|change| (other, change));
    Ok(ours.chain(theirs).collect())
}

/// What a node does not take from another, yet; `None`: it offers nothing itself.
async fn needed(
    adapter: &dyn Adapter,
    session: &Session,
    from: &str,
) -> Result<Option<Vec<Change>>, PostgresError> {
    let changes = adapter.take(from);
    if changes.is_empty() {
        return Ok(Some(changes));
    }
    if ask(session, &adapter.offers()).await?.as_deref() != Some("t") {
        return Ok(None);
    }
    let mut needed = Vec::new();
    for change in changes {
        if registration::is_needed(session, &change).await? {
            needed.push(change);
        }
    }
    Ok(Some(needed))
}

/// Waits until the row has come to the peer; when it does not come, writes it there.
pub(super) async fn see_row_arrive(
    local: &Session,
    peer: &Peer,
    node_id: NodeId,
) -> Result<(), PostgresError> {
    let Ok(session) = &peer.session else {
        return Ok(());
    };
    let deadline = Instant::now() + ARRIVAL;
    loop {
        let records = node_records::all(session).await?;
        if records.iter().any(|record| record.node_id == node_id) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return registration::copy_missing(local, session).await.map(drop);
        }
        tokio::time::sleep(ARRIVAL_POLL).await;
    }
}
