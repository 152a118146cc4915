//! pglogical 2 (seen: 2.4.2): a subscription each way.
//!
//! A set says which kinds of change it replicates, and `repmgr.events` has no key, so there are two
//! sets: `repmgr` with `repmgr.nodes`, and `repmgr_events`, which replicates inserts only. A
//! subscription to a set that its provider has not got stops altogether, so a node takes the sets
//! once its peer offers them.

use super::{Adapter, Change, SET};
use crate::cluster_db::literal;

/// The set of `repmgr.events`.
const EVENTS_SET: &str = "repmgr_events";

#[derive(Debug)]
pub(super) struct Pglogical;

impl Adapter for Pglogical {
    fn extension(&self) -> &'static str {
        "pglogical"
    }

    fn title(&self) -> &'static str {
        "pglogical 2"
    }

    fn major_max(&self) -> Option<u32> {
        Some(2)
    }

    fn is_member(&self) -> String {
        "SELECT count(*) > 0 AS answer FROM pglogical.local_node".to_owned()
    }

    fn local_node_name(&self) -> String {
        "SELECT n.node_name AS answer FROM pglogical.node n \
         JOIN pglogical.local_node l ON l.node_id = n.node_id"
            .to_owned()
    }

    /// The local node and those that it subscribes to; who subscribes to it is not known here.
    fn members(&self) -> String {
        "SELECT n.node_name, (SELECT i.if_dsn FROM pglogical.node_interface i \
         WHERE i.if_nodeid = n.node_id ORDER BY i.if_id LIMIT 1) AS dsn, NULL AS status \
         FROM pglogical.node n \
         WHERE n.node_id IN (SELECT node_id FROM pglogical.local_node) \
         OR n.node_id IN (SELECT sub_origin FROM pglogical.subscription) ORDER BY n.node_name"
            .to_owned()
    }

    /// Any slot of this database: a slot's name holds the subscription's name, which is the peer's
    /// secret. Where the peer can be asked, [`Pglogical::slots_named_by_peer`] is exact.
    fn slots_of_peer(&self, _peer_name: &str) -> String {
        "SELECT p.slot_name FROM pg_catalog.pg_replication_slots p \
         WHERE p.plugin = 'pglogical_output' AND p.database = current_database()"
            .to_owned()
    }

    fn slots_named_by_peer(&self, node_name: &str) -> Option<String> {
        Some(format!(
            "SELECT s.sub_slot_name AS answer FROM pglogical.subscription s \
             JOIN pglogical.node n ON n.node_id = s.sub_origin WHERE n.node_name = {}",
            literal(node_name)
        ))
    }

    fn offer(&self, _node_name: &str, _tables: &[String]) -> Vec<Change> {
        vec![
            create_set(SET, "true, true, true, false"),
            create_set(EVENTS_SET, "true, false, false, false"),
            add_table(SET, "nodes"),
            add_table(EVENTS_SET, "events"),
        ]
    }

    fn offers(&self) -> String {
        format!(
            "SELECT count(DISTINCT t.set_name) = 2 AS answer FROM pglogical.tables t \
             WHERE t.set_name IN ('{SET}', '{EVENTS_SET}') AND t.nspname = 'repmgr'"
        )
    }

    fn take(&self, peer_name: &str) -> Vec<Change> {
        let peer = literal(peer_name);
        let subscriptions = format!(
            "pglogical.subscription s JOIN pglogical.node n ON n.node_id = s.sub_origin \
             WHERE n.node_name = {peer}"
        );
        let take = |set: &str| Change {
            what: format!("subscribe to replication set \"{set}\" of node {peer_name:?}"),
            needed: format!(
                "SELECT count(*) > 0 AND NOT bool_or('{set}' = ANY (s.sub_replication_sets)) \
                 AS answer FROM {subscriptions}"
            ),
            // One of them, should there be several: a row must not come twice.
            sql: format!(
                "SELECT pglogical.alter_subscription_add_replication_set(f.sub_name, '{set}') \
                 FROM (SELECT s.sub_name FROM {subscriptions} ORDER BY s.sub_name LIMIT 1) f"
            ),
        };
        vec![take(SET), take(EVENTS_SET)]
    }
}

/// `kinds`: whether inserts, updates, deletes and truncations are replicated.
fn create_set(set: &str, kinds: &str) -> Change {
    Change {
        what: format!("create replication set \"{set}\""),
        needed: format!(
            "SELECT count(*) = 0 AS answer FROM pglogical.replication_set r \
             JOIN pglogical.local_node l ON l.node_id = r.set_nodeid WHERE r.set_name = '{set}'"
        ),
        sql: format!("SELECT pglogical.create_replication_set('{set}', {kinds})"),
    }
}

fn add_table(set: &str, table: &str) -> Change {
    Change {
        what: format!("put table \"repmgr.{table}\" into replication set \"{set}\""),
        needed: format!(
            "SELECT count(*) = 0 AS answer FROM pglogical.tables t WHERE t.set_name = '{set}' \
             AND t.nspname = 'repmgr' AND t.relname = '{table}'"
        ),
        sql: format!("SELECT pglogical.replication_set_add_table('{set}', 'repmgr.{table}')"),
    }
}
