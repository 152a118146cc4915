//! Asking a node everything that its checks and its status are made of.
//!
//! What cannot be asked is kept with its reason, and does not keep the rest from being asked.

use std::time::Duration;

use tokio::time::timeout;

use crate::cli::connection::Target;
use crate::cluster_db::node_records::{self, NodeRecord};
use crate::cluster_db::{node_state, replication};
use crate::config::{NodeId, Replication};
use crate::conninfo::Conninfo;
use crate::core::node_check::{Archiver, Facts, Known, Record, Slot};
use crate::edge::postgres::{PostgresError, Session};

/// For all questions together: Nagios gives a plugin ten seconds.
const LIMIT: Duration = Duration::from_secs(7);

/// A node as it was found.
pub(super) struct Look {
    /// Its name: that of its record, else that of the configuration, else what was connected to.
    pub(super) name: String,
    pub(super) record: Option<NodeRecord>,
    pub(super) facts: Facts,
}

/// Asks everything.
pub(super) async fn at(session: &Session, target: &Target) -> Known<Look> {
    match timeout(LIMIT, ask(session, target)).await {
        Ok(look) => Ok(look),
        Err(_) => Err(format!("connected, but no answer within {LIMIT:?}")),
    }
}

/// What the node is called without asking it: by its configuration, or by what was connected to.
pub(super) fn name(target: &Target) -> (String, Option<NodeId>) {
    match &target.config {
        Some(config) => (config.local().node_name.clone(), Some(config.node_id)),
        None => (target.conninfo.redacted(), None),
    }
}

async fn ask(session: &Session, target: &Target) -> Look {
    let configured = target.config.as_ref().and_then(|config| config.replication);
    let membership = membership(session, configured).await;
    let records = node_records::usable(session).await;
    let records = records.map(|(records, _)| records).map_err(text);
    let own = records.clone().and_then(|records| {
        let own_name = membership.as_ref().map(|member| member.own_name.as_deref());
        own(target, &records, own_name)
    });
    let record = own.clone().ok().flatten();
    let mut feeds = Vec::new();
    if let Some(own) = record.as_ref().filter(|record| record.kind == "bdr") {
        let peers = records.into_iter().flatten();
        for peer in peers.filter(|peer| peer.kind == "bdr" && peer.node_id != own.node_id) {
            let (own, peer) = (&own.node_name, &peer.node_name);
            let fed = replication::feeds_peer(session, None, configured, own, peer).await;
            let fed = fed.map(|feed| feed.map(drop));
            feeds.push(fed.map_err(text));
        }
    }
    let brief = |record: NodeRecord| Record {
        kind: record.kind,
        active: record.active,
    };
    let facts = Facts {
        record: own.map(|record| record.map(brief)),
        in_recovery: node_state::in_recovery(session).await.map_err(text),
        member: membership.map(|membership| membership.member),
        feeds,
        slots: slots(session).await,
        archiver: archiver(session).await,
    };
    let name = record.as_ref().map(|record| record.node_name.clone());
    Look {
        name: name.unwrap_or_else(|| self::name(target).0),
        record,
        facts,
    }
}

/// What the replication says of this database.
struct Membership {
    member: Result<(), String>,
    own_name: Option<String>,
}

/// The only place that asks which replication there is.
async fn membership(session: &Session, configured: Option<Replication>) -> Known<Membership> {
    let adapter = match replication::find(session, configured).await {
        Ok(adapter) => adapter,
        Err(PostgresError::Unusable(reason)) => {
            return Ok(Membership {
                member: Err(reason),
                own_name: None,
            });
        }
        Err(error) => return Err(text(error)),
    };
    let is_member = replication::ask(session, &adapter.is_member()).await;
    let name = adapter.extension();
    let member = match is_member.map_err(text)?.as_deref() == Some("t") {
        true => Ok(()),
        false => Err(format!("its database is no member of {name} replication")),
    };
    let own_name = replication::ask(session, &adapter.local_node_name()).await;
    Ok(Membership {
        member,
        own_name: own_name.map_err(text)?,
    })
}

/// The row of this node: by the configured id, or else by what the replication calls it, or else by
/// where we have connected to.
fn own(
    target: &Target,
    records: &[NodeRecord],
    own_name: Result<Option<&str>, &String>,
) -> Known<Option<NodeRecord>> {
    if let Some(config) = &target.config {
        let own = records.iter().find(|r| r.node_id == config.node_id);
        return Ok(own.cloned());
    }
    if let Some(own_name) = own_name.map_err(Clone::clone)? {
        return Ok(records.iter().find(|r| r.node_name == own_name).cloned());
    }
    let addresses = target.conninfo.addresses();
    let is_here = |record: &&NodeRecord| {
        let conninfo = Conninfo::parse(&record.conninfo);
        conninfo.and_then(|conninfo| conninfo.addresses()) == addresses
    };
    let here = records.iter().find(is_here).cloned();
    let unknown = "which node this is cannot be told; name its configuration with -f";
    here.map(Some).ok_or_else(|| unknown.to_owned())
}

async fn slots(session: &Session) -> Known<Vec<Slot>> {
    let slots = node_state::slots(session).await.map_err(text)?;
    let slot = |slot: node_state::Slot| Slot {
        name: slot.name,
        active: slot.active,
        unconfirmed_bytes: slot.behind_bytes.filter(|_| slot.of_this_database),
    };
    Ok(slots.into_iter().map(slot).collect())
}

async fn archiver(session: &Session) -> Known<Archiver> {
    let node_state::Archiver { on, failed, ready } =
        node_state::archiver(session).await.map_err(text)?;
    Ok(Archiver { on, failed, ready })
}

fn text(error: PostgresError) -> String {
    error.to_string()
}
