//! pgactive 2 (seen: 2.1.9), the descendant of BDR 2 on PostgreSQL 11 and later.
//!
//! The same design under other names. DDL is plain, and not replicated by default. From 2.1.4 on
//! the replication sets of a group with more than one node cannot be changed: a new table is in the
//! set `default`, and is sent as soon as it is there, unless the group was set up to replicate
//! chosen tables only.

use super::{Adapter, Change};
use crate::cluster_db::literal;

#[derive(Debug)]
pub(super) struct Pgactive;

impl Adapter for Pgactive {
    fn extension(&self) -> &'static str {
        "pgactive"
    }

    fn title(&self) -> &'static str {
        "pgactive"
    }

    fn major_max(&self) -> Option<u32> {
        None
    }

    fn is_member(&self) -> String {
        "SELECT pgactive.pgactive_is_active_in_db() AS answer".to_owned()
    }

    fn local_node_name(&self) -> String {
        "SELECT pgactive.pgactive_get_local_node_name() AS answer".to_owned()
    }

    /// A node with status `k` was killed: it stays in the table and is no member.
    fn members(&self) -> String {
        "SELECT n.node_name, n.node_dsn AS dsn, n.node_status AS status \
         FROM pgactive.pgactive_nodes n WHERE n.node_status <> 'k' \
         ORDER BY n.node_seq_id, n.node_name"
            .to_owned()
    }

    fn slots_of_peer(&self, peer_name: &str) -> String {
        format!(
            "SELECT pgactive.pgactive_format_slot_name(\
             n.node_sysid, n.node_timeline, n.node_dboid, d.oid) \
             FROM pgactive.pgactive_nodes n, pg_catalog.pg_database d \
             WHERE n.node_name = {} AND d.datname = current_database()",
            literal(peer_name)
        )
    }

    fn sends_new_tables(&self) -> bool {
        true
    }

    /// Nothing can be changed; see [`Pgactive::carries`].
    fn offer(&self, _node_name: &str, _tables: &[String]) -> Vec<Change> {
        Vec::new()
    }

    fn offers(&self) -> String {
        "SELECT to_regclass('repmgr.nodes') IS NOT NULL AND to_regclass('repmgr.events') \
         IS NOT NULL AS answer"
            .to_owned()
    }

    fn take(&self, _peer_name: &str) -> Vec<Change> {
        Vec::new()
    }

    fn carries(&self, node_name: &str, table: &str) -> String {
        format!(
            "SELECT pgactive.pgactive_get_table_replication_sets({}::regclass) && \
             coalesce(pgactive.pgactive_get_connection_replication_sets({}), '{{default}}') \
             AS answer",
            literal(&format!("repmgr.{table}")),
            literal(node_name)
        )
    }
}
