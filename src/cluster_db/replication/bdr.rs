//! BDR 1 and 2 (seen: 2.0.6 on PostgreSQL 9.6).
//!
//! A node is known by system identifier, timeline and database; a slot's name is made of the three
//! and of the provider's database, by a function of the extension.

use super::{Adapter, Change, SET};
use crate::cluster_db::literal;

#[derive(Debug)]
pub(super) struct Bdr;

impl Adapter for Bdr {
    fn extension(&self) -> &'static str {
        "bdr"
    }

    fn title(&self) -> &'static str {
        "BDR 2.x"
    }

    fn major_max(&self) -> Option<u32> {
        Some(2)
    }

    fn is_member(&self) -> String {
        "SELECT bdr.bdr_is_active_in_db() AS answer".to_owned()
    }

    fn local_node_name(&self) -> String {
        "SELECT bdr.bdr_get_local_node_name() AS answer".to_owned()
    }

    /// A node with status `k` was killed: it stays in the table and is no member. BDR 1 has no
    /// column `node_seq_id`, so it is looked up by name.
    fn members(&self) -> String {
        "SELECT n.node_name, n.node_local_dsn AS dsn, n.node_status AS status \
         FROM bdr.bdr_nodes n WHERE n.node_status <> 'k' \
         ORDER BY (row_to_json(n) ->> 'node_seq_id')::int, n.node_name"
            .to_owned()
    }

    fn slots_of_peer(&self, peer_name: &str) -> String {
        format!(
            "SELECT bdr.bdr_format_slot_name(n.node_sysid, n.node_timeline, n.node_dboid, d.oid) \
             FROM bdr.bdr_nodes n, pg_catalog.pg_database d \
             WHERE n.node_name = {} AND d.datname = current_database()",
            literal(peer_name)
        )
    }

    /// Plain DDL is refused.
    fn ddl(&self, statement: &str) -> String {
        format!(
            "SELECT bdr.bdr_replicate_ddl_command({})",
            literal(statement)
        )
    }

    fn ddl_replicates(&self) -> bool {
        true
    }

    /// As repmgr: the connection takes the set as well, and the tables are in no other.
    fn offer(&self, node_name: &str, tables: &[String]) -> Vec<Change> {
        let node = literal(node_name);
        let sets = format!("coalesce(bdr.connection_get_replication_sets({node}), '{{default}}')");
        let connection = Change {
            what: format!("add replication set \"{SET}\" to the connection of node {node_name:?}"),
            needed: format!("SELECT NOT '{SET}' = ANY ({sets}) AS answer"),
            sql: format!(
                "SELECT bdr.connection_set_replication_sets({sets} || '{{{SET}}}'::text[], {node})"
            ),
        };
        let table = |table: &String| {
            let name = format!(
                "{}::regclass",
                literal(&format!("repmgr.{}", identifier(table)))
            );
            Change {
                what: format!("put table \"repmgr.{table}\" into replication set \"{SET}\""),
                needed: format!(
                    "SELECT NOT '{SET}' = ANY (bdr.table_get_replication_sets({name})) AS answer"
                ),
                sql: format!("SELECT bdr.table_set_replication_sets({name}, '{{{SET}}}'::text[])"),
            }
        };
        std::iter::once(connection)
            .chain(tables.iter().map(table))
            .collect()
    }

    fn offers(&self) -> String {
        format!(
            "SELECT CASE WHEN to_regclass('repmgr.nodes') IS NULL THEN false ELSE \
             '{SET}' = ANY (bdr.table_get_replication_sets(to_regclass('repmgr.nodes'))) END \
             AS answer"
        )
    }

    /// Nothing: a connection's sets are the node's own, see [`Bdr::offer`].
    fn take(&self, _peer_name: &str) -> Vec<Change> {
        Vec::new()
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
