//! The pair of nodes: `[[node]]`, and repmgr's `node_name` and `conninfo` at the top level.
//!
//! Decides whether they are two different servers of which one is this host's.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::{NAME_BYTES_MAX, NODE_ID_MAX, conninfo_of, keyword, node_id_of, server};
use crate::config::reader::{Table, Value, all};
use crate::config::{Node, NodeId, RecordDetails};
use crate::conninfo::Conninfo;

/// A node as far as it could be read, with the places for messages.
struct Draft<'a> {
    line: usize,
    node_id: Option<(NodeId, Value<'a>)>,
    node_name: Option<(String, Value<'a>)>,
    conninfo: Option<(Conninfo, Value<'a>)>,
}

/// Both nodes; `local` is the top level's `node_id` with its place.
pub(super) fn read<'a>(
    top: &mut Table<'a>,
    local: Option<&(NodeId, Value<'a>)>,
) -> Option<BTreeMap<NodeId, Node>> {
    let list = top.get("node");
    let tables = list
        .as_ref()
        .map(|list| list.tables("[[node]]", label))
        .unwrap_or_default();
    let mut drafts: Vec<Draft<'a>> = tables.into_iter().map(draft).collect();
    let at_top = draft_at_top(top, local, &drafts);
    drafts.extend(at_top);
    let two = exactly_two(top, &drafts);
    let different = all_different(&drafts);
    let nodes: Option<BTreeMap<_, _>> = all(drafts.into_iter().map(node));
    two.and(different)?;
    let nodes = nodes?;
    let (local, place) = local?;
    if !nodes.contains_key(local) {
        let ids: Vec<String> = nodes.keys().map(|id| format!("`{id}`")).collect();
        place.problem(format!(
            "no node has this id; write one of {}",
            ids.join(", ")
        ));
        return None;
    }
    Some(nodes)
}

/// What repmgr keeps in this host's row, and only shows.
pub(super) fn record_details(top: &mut Table<'_>) -> Option<RecordDetails> {
    let location = top
        .get("location")
        .map_or(Some("default"), |value| value.string());
    let priority = top
        .get("priority")
        .map_or(Some(100), |value| value.integer(0..=NODE_ID_MAX));
    Some(RecordDetails {
        location: location?.to_owned(),
        priority: priority?,
    })
}

fn label(entries: &DeTable<'_>) -> Option<String> {
    let id = entries.get("node_id")?.get_ref().as_integer()?;
    Some(id.to_string())
}

fn draft(mut table: Table<'_>) -> Draft<'_> {
    let draft = Draft {
        line: table.line(),
        node_id: table
            .require("node_id", "node_id = 1")
            .and_then(|value| Some((node_id_of(&value)?, value))),
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

/// The node that a user of repmgr may describe at the top level: that of this host.
fn draft_at_top<'a>(
    top: &mut Table<'a>,
    local: Option<&(NodeId, Value<'a>)>,
    others: &[Draft<'a>],
) -> Option<Draft<'a>> {
    let (node_name, text) = (top.get("node_name"), top.get("conninfo"));
    let line = node_name.as_ref().or(text.as_ref())?.line();
    let same_id = |other: &&Draft<'_>| {
        let other_id = other.node_id.as_ref().map(|(id, _)| id);
        local.is_some() && other_id == local.map(|(id, _)| id)
    };
    if let Some(other) = others.iter().find(same_id) {
        let place = node_name.as_ref().or(text.as_ref())?;
        place.problem(format!(
            "the node of this host is also described by the `[[node]]` on line {}; keep one",
            other.line
        ));
        return None;
    }
    if node_name.is_none() {
        top.missing("node_name", "node_name = \"…\"");
    }
    if text.is_none() {
        top.missing("conninfo", "conninfo = \"host=… dbname=… user=…\"");
    }
    Some(Draft {
        line,
        node_id: top.get("node_id").and_then(|value| Some((local?.0, value))),
        node_name: node_name.and_then(name),
        conninfo: text.and_then(conninfo),
    })
}

fn name(value: Value<'_>) -> Option<(String, Value<'_>)> {
    let name = value.string()?;
    let bytes = name.len();
    if (1..=NAME_BYTES_MAX).contains(&bytes) {
        return Some((name.to_owned(), value));
    }
    value.problem(format!(
        "{bytes} bytes long; a name has 1 to {NAME_BYTES_MAX} bytes"
    ));
    None
}

fn conninfo(value: Value<'_>) -> Option<(Conninfo, Value<'_>)> {
    let conninfo = conninfo_of(&value)?;
    let host = keyword(&conninfo, "host").or_else(|| keyword(&conninfo, "hostaddr"));
    if host.is_none() {
        value.problem("no `host` or `hostaddr`; PgBouncer needs one");
    }
    let dbname = keyword(&conninfo, "dbname");
    if dbname.is_none() {
        value.problem("no `dbname`; PgBouncer needs one");
    }
    host.and(dbname)?;
    Some((conninfo, value))
}

fn exactly_two(top: &Table<'_>, drafts: &[Draft<'_>]) -> Option<()> {
    if drafts.len() == 2 {
        return Some(());
    }
    top.problem(
        "node",
        format!(
            "two nodes are needed, found {}; describe each in a `[[node]]` of its own",
            drafts.len()
        ),
    );
    None
}

/// Notes what two nodes have in common and must not.
fn all_different(drafts: &[Draft<'_>]) -> Option<()> {
    let mut different = Some(());
    for (index, this) in drafts.iter().enumerate() {
        for other in &drafts[..index] {
            let common = [
                common(&this.node_id, &other.node_id, |a, b| a == b),
                common(&this.node_name, &other.node_name, |a, b| a == b),
                common(&this.conninfo, &other.conninfo, same_database),
            ];
            for place in common.into_iter().flatten() {
                different = None;
                place.problem(format!(
                    "the same as that of the node on line {}; two different nodes are needed",
                    other.line
                ));
            }
        }
    }
    different
}

fn common<'v, 'a, T>(
    this: &'v Option<(T, Value<'a>)>,
    other: &Option<(T, Value<'a>)>,
    same: impl Fn(&T, &T) -> bool,
) -> Option<&'v Value<'a>> {
    let ((this, place), (other, _)) = (this.as_ref()?, other.as_ref()?);
    same(this, other).then_some(place)
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
