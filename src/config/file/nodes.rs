//! The nodes: `[[node]]`, and repmgr's `node_id`, `node_name` and `conninfo` at the top level or in
//! a `repmgr.conf`.
//!
//! Decides whether they are different servers of which one is this host's, and as many as the kind
//! of replication has.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::{NAME_BYTES_MAX, SQL_INTEGER_MAX, conninfo_of, keyword, lacking, node_id_of, server};
use crate::config::reader::{Table, Value, all};
use crate::config::{Node, NodeId, Peers, RecordDetails, ReplicationType};
use crate::conninfo::Conninfo;

/// A value with its place; without one when it comes from the `repmgr.conf`.
type Placed<'a, T> = (T, Option<Value<'a>>);

/// A node as far as it could be read, with the places for messages.
struct Draft<'a> {
    line: Option<usize>,
    node_id: Option<Placed<'a, NodeId>>,
    node_name: Option<Placed<'a, String>>,
    conninfo: Option<Placed<'a, Conninfo>>,
}

/// The nodes that the configuration knows.
pub(super) struct Nodes {
    /// Which of them is this host's.
    pub(super) local: NodeId,
    pub(super) all: BTreeMap<NodeId, Node>,
    pub(super) peers: Peers,
}

/// Reads them; `base` is this host's as the `repmgr.conf` describes it.
pub(super) fn read(
    top: &mut Table<'_>,
    base: Option<&Node>,
    kind: Option<ReplicationType>,
) -> Option<Nodes> {
    let local = local_id(top, base);
    let list = top.get("node");
    let tables = list
        .as_ref()
        .map(|list| list.tables("[[node]]", label))
        .unwrap_or_default();
    let mut drafts: Vec<Draft<'_>> = tables.into_iter().map(draft).collect();
    let at_top = draft_at_top(top, local.as_ref().map(|(id, _)| *id), base, &drafts);
    drafts.extend(at_top);
    let peers = match list {
        Some(_) => Peers::Listed,
        None => Peers::Registered,
    };
    let enough = enough(top, peers, kind, drafts.len());
    let different = all_different(top, &drafts);
    let nodes: Option<BTreeMap<_, _>> = all(drafts.into_iter().map(node));
    enough.and(different)?;
    let all = nodes?;
    let (local, place) = local?;
    let nodes = Nodes { local, all, peers };
    if !nodes.all.contains_key(&local) {
        note(top, place.as_ref(), "node_id", nodes.no_such());
        return None;
    }
    Some(nodes)
}

impl Nodes {
    /// What is wrong with another id.
    pub(super) fn no_such(&self) -> String {
        let ids: Vec<String> = self.all.keys().map(|id| format!("`{id}`")).collect();
        format!("no node has this id; write one of {}", ids.join(", "))
    }
}

fn local_id<'a>(top: &mut Table<'a>, base: Option<&Node>) -> Option<Placed<'a, NodeId>> {
    match (top.get("node_id"), base) {
        (Some(value), _) => Some((node_id_of(&value)?, Some(value))),
        (None, Some(base)) => Some((base.node_id, None)),
        (None, None) => {
            top.missing("node_id", "node_id = 1");
            None
        }
    }
}

/// What repmgr keeps in this host's row, and only shows.
pub(super) fn record_details(top: &mut Table<'_>, base: &RecordDetails) -> Option<RecordDetails> {
    let location = top
        .get("location")
        .map_or(Some(base.location.as_str()), |value| value.string());
    let priority = top.get("priority").map_or(Some(base.priority), |value| {
        value.integer(0..=SQL_INTEGER_MAX)
    });
    Some(RecordDetails {
        location: location?.to_owned(),
        priority: priority?,
    })
}

/// A problem at its place, or at the file's beginning.
fn note(top: &Table<'_>, place: Option<&Value<'_>>, key: &str, message: String) {
    match place {
        Some(value) => value.problem(message),
        None => top.problem(key, message),
    }
}

fn label(entries: &DeTable<'_>) -> Option<String> {
    let id = entries.get("node_id")?.get_ref().as_integer()?;
    Some(id.to_string())
}

fn draft(mut table: Table<'_>) -> Draft<'_> {
    let draft = Draft {
        line: Some(table.line()),
        node_id: table
            .require("node_id", "node_id = 1")
            .and_then(|value| Some((node_id_of(&value)?, Some(value)))),
        node_name: table
            .require("node_name", "node_name = \"…\"")
            .and_then(name),
        conninfo: table
            .require("conninfo", "conninfo = \"host=… dbname=… user=…\"")
            .and_then(conninfo),
    };
    table.finish();
    draft
}

/// The node that a user of repmgr may describe at the top level: that of this host. The keys that
/// are not there are those of the `repmgr.conf`; a `[[node]]` of this host goes over it.
fn draft_at_top<'a>(
    top: &mut Table<'a>,
    local: Option<NodeId>,
    base: Option<&Node>,
    others: &[Draft<'a>],
) -> Option<Draft<'a>> {
    let (node_name, text) = (top.get("node_name"), top.get("conninfo"));
    let first = node_name.as_ref().or(text.as_ref());
    let line = first.map(Value::line);
    let same_id =
        |other: &&Draft<'_>| local.is_some() && other.node_id.as_ref().map(|(id, _)| *id) == local;
    if let Some(other) = others.iter().find(same_id) {
        first?.problem(format!(
            "the node of this host is also described by the `[[node]]` on line {}; keep one",
            other.line.unwrap_or_default()
        ));
        return None;
    }
    if first.is_none() && base.is_none() {
        return None;
    }
    let of_base = |value: &Option<Value<'_>>| base.filter(|_| value.is_none());
    let (base_name, base_text) = (of_base(&node_name), of_base(&text));
    if node_name.is_none() && base.is_none() {
        top.missing("node_name", "node_name = \"…\"");
    }
    if text.is_none() && base.is_none() {
        top.missing("conninfo", "conninfo = \"host=… dbname=… user=…\"");
    }
    Some(Draft {
        line,
        node_id: local.map(|local| (local, top.get("node_id"))),
        node_name: base_name
            .map(|node| (node.node_name.clone(), None))
            .or_else(|| name(node_name?)),
        conninfo: base_text
            .map(|node| (node.conninfo.clone(), None))
            .or_else(|| conninfo(text?)),
    })
}

fn name(value: Value<'_>) -> Option<Placed<'_, String>> {
    let name = value.string()?;
    let bytes = name.len();
    if (1..=NAME_BYTES_MAX).contains(&bytes) {
        return Some((name.to_owned(), Some(value)));
    }
    value.problem(format!(
        "{bytes} bytes long; a name has 1 to {NAME_BYTES_MAX} bytes"
    ));
    None
}

fn conninfo(value: Value<'_>) -> Option<Placed<'_, Conninfo>> {
    let conninfo = conninfo_of(&value)?;
    let lacking: Vec<&str> = lacking(&conninfo).collect();
    for message in &lacking {
        value.problem(*message);
    }
    lacking.is_empty().then_some((conninfo, Some(value)))
}

/// An active-active pair is listed whole, or its other half is registered in the database. Of
/// streaming replication any number may be listed.
fn enough(
    top: &Table<'_>,
    peers: Peers,
    kind: Option<ReplicationType>,
    count: usize,
) -> Option<()> {
    let message = match (peers, kind?) {
        (Peers::Registered, _) if count == 1 => return Some(()),
        (Peers::Registered, _) => {
            "no node is described; describe this host's with `node_name` and \
             `conninfo` (the others are read from repmgr.nodes), or each in a `[[node]]`"
                .to_owned()
        }
        (Peers::Listed, ReplicationType::Bdr) if count == 2 => return Some(()),
        (Peers::Listed, ReplicationType::Bdr) => {
            format!("two nodes are needed, found {count}; describe each in a `[[node]]` of its own")
        }
        (Peers::Listed, ReplicationType::Physical) if count > 0 => return Some(()),
        (Peers::Listed, ReplicationType::Physical) => {
            "a node is needed, found 0; describe each in a `[[node]]` of its own".to_owned()
        }
    };
    top.problem("node", message);
    None
}

/// Notes what two nodes have in common and must not.
fn all_different(top: &Table<'_>, drafts: &[Draft<'_>]) -> Option<()> {
    let mut different = Some(());
    for (index, this) in drafts.iter().enumerate() {
        for other in &drafts[..index] {
            let same = [
                (
                    "node_id",
                    common(&this.node_id, &other.node_id, |a, b| a == b),
                ),
                (
                    "node_name",
                    common(&this.node_name, &other.node_name, |a, b| a == b),
                ),
                (
                    "conninfo",
                    common(&this.conninfo, &other.conninfo, same_database),
                ),
            ];
            let which = other.line.map_or_else(
                || "of the node of the repmgr.conf".to_owned(),
                |line| format!("of the node on line {line}"),
            );
            for (key, place) in same {
                let Some(place) = place else { continue };
                different = None;
                let message = format!("the same as that {which}; two different nodes are needed");
                note(top, place, key, message);
            }
        }
    }
    different
}

/// The place of what is common, which may be the `repmgr.conf`.
fn common<'v, 'a, T>(
    this: &'v Option<Placed<'a, T>>,
    other: &Option<Placed<'a, T>>,
    same: impl Fn(&T, &T) -> bool,
) -> Option<Option<&'v Value<'a>>> {
    let ((this, place), (other, _)) = (this.as_ref()?, other.as_ref()?);
    same(this, other).then_some(place.as_ref())
}

fn same_database(this: &Conninfo, other: &Conninfo) -> bool {
    server(this) == server(other) && keyword(this, "dbname") == keyword(other, "dbname")
}

fn node(draft: Draft<'_>) -> Option<(NodeId, Node)> {
    let node_id = draft.node_id?.0;
    let (node_name, conninfo) = (draft.node_name?.0, draft.conninfo?.0);
    Some((
        node_id,
        Node {
            node_id,
            node_name,
            conninfo,
        },
    ))
}
