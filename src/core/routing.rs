//! Which node an entry of a PgBouncer points at, and what it looks like when it points at another.
//!
//! Decides from the configuration alone; where traffic *should* go is [`crate::core::cluster`].

use std::collections::BTreeMap;

use crate::config::{Node, NodeId, PgBouncer};
use crate::conninfo::server_address::{AddressError, ServerAddress};
use crate::core::pooler::EntryState;

/// The entries of one PgBouncer, each with its address on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    entries: BTreeMap<String, BTreeMap<NodeId, ServerAddress>>,
    nodes: BTreeMap<NodeId, ServerAddress>,
}

impl Routing {
    /// Translates the conninfo of each node for each entry of `pgbouncer`.
    ///
    /// # Errors
    /// A conninfo that PgBouncer cannot be given, with the node.
    pub fn new(
        pgbouncer: &PgBouncer,
        nodes: &BTreeMap<NodeId, Node>,
    ) -> Result<Self, (NodeId, AddressError)> {
        let address = |node: &Node, dbname: Option<&str>| {
            let found = ServerAddress::from_conninfo(&node.conninfo, dbname);
            found
                .map(|address| (node.node_id, address))
                .map_err(|error| (node.node_id, error))
        };
        let on_every_node = |dbname: Option<&str>| {
            nodes
                .values()
                .map(|node| address(node, dbname))
                .collect::<Result<BTreeMap<_, _>, _>>()
        };
        let mut entries = BTreeMap::new();
        for database in pgbouncer.databases.values() {
            entries.insert(
                database.name.clone(),
                on_every_node(database.dbname.as_deref())?,
            );
        }
        Ok(Self {
            entries,
            nodes: on_every_node(None)?,
        })
    }

    /// Whether an entry is ours.
    #[must_use]
    pub fn has(&self, entry: &str) -> bool {
        self.entries.contains_key(entry)
    }

    /// The names of our entries.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.keys().copied()
    }

    /// What an entry of ours looks like when it points at `node`.
    #[must_use]
    pub fn address(&self, entry: &str, node: NodeId) -> Option<&ServerAddress> {
        self.entries.get(entry)?.get(&node)
    }

    /// The node that an entry of ours points at: host and port count, not the database.
    #[must_use]
    pub fn node_of(&self, entry: &str, state: &EntryState) -> Option<NodeId> {
        let on = self.entries.get(entry)?;
        on.iter()
            .find(|(_, address)| same_server(address, state))
            .map(|(node, _)| *node)
    }

    /// Whether an entry of ours points at `node`, also where several nodes have one address.
    #[must_use]
    pub fn leads_to(&self, entry: &str, state: &EntryState, node: NodeId) -> bool {
        self.address(entry, node)
            .is_some_and(|address| same_server(address, state))
    }

    /// Whether an entry, of whomever, points at `node`.
    #[must_use]
    pub fn is_at(&self, state: &EntryState, node: NodeId) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|address| same_server(address, state))
    }
}

fn same_server(address: &ServerAddress, state: &EntryState) -> bool {
    address.host == state.host && address.port == state.port
}
