//! The nodes of the other hosts, as `repmgr.nodes` has them: reads the rows, and believes none
//! before it was checked.
//!
//! A row may have been written by anybody who may write there. What is wrong with one is an error
//! that names the node and repeats nothing of the row that was not checked; whoever asked goes on
//! with what was known before. SQL is [`node_records`]'s; when to ask is `cli`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::cluster_db::node_records::{self, NodeRecord};
use crate::config::{Config, Node, NodeId, Peers};
use crate::conninfo::Conninfo;
use crate::edge::postgres::{PostgresError, attempt_limit, connect};

/// For the answer to one question, login included.
pub const LIMIT: Duration = Duration::from_secs(5);
/// Names in PostgreSQL are no longer.
const NAME_BYTES_MAX: usize = 63;
/// Several times what repmgr stores.
const CONNINFO_BYTES_MAX: usize = 4096;
/// A peer's row is read again after this many monitoring intervals, within these bounds.
const REREAD_INTERVALS: u32 = 10;
const REREAD_MIN: Duration = Duration::from_secs(5);
const REREAD_MAX: Duration = Duration::from_secs(60);

/// Why the nodes are not known from `repmgr.nodes`.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// No answer that could be read.
    #[error("repmgr.nodes cannot be read on node {node:?}: {why}")]
    Unread {
        /// The node that was asked.
        node: String,
        /// Why not.
        why: String,
    },
    /// There is no such table.
    #[error("there is no table repmgr.nodes in the database of node {node:?}")]
    NoTable {
        /// The node that was asked.
        node: String,
    },
    /// This host's node has no row.
    #[error("node {name:?} (ID: {id}) has no row in repmgr.nodes")]
    NotRegistered {
        /// The configuration's.
        id: NodeId,
        /// The configuration's.
        name: String,
    },
    /// This host's node has another name there.
    #[error("the row of node {id} in repmgr.nodes has another name than {name:?}")]
    Renamed {
        /// The configuration's.
        id: NodeId,
        /// The configuration's.
        name: String,
    },
    /// No other node has a row.
    #[error("no other node has a row in repmgr.nodes")]
    NoPeer,
    /// More nodes than a pair has.
    #[error("{0} nodes are in repmgr.nodes; repoint works with two")]
    TooMany(usize),
    /// A PgBouncer prefers a node that has no row.
    #[error(
        "the configuration names node {home} as `home` of PgBouncer {pgbouncer:?}, and no such \
         node is in repmgr.nodes"
    )]
    Home {
        /// The PgBouncer.
        pgbouncer: String,
        /// Its `home`.
        home: NodeId,
    },
    /// A row that will not do.
    #[error("the row of node {id} in repmgr.nodes will not do: {reason}")]
    Row {
        /// Whose.
        id: NodeId,
        /// Why.
        reason: String,
    },
}

impl MembershipError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unread { .. } => None,
            Self::NoTable { .. } | Self::NotRegistered { .. } => {
                Some("register this node with `repoint bdr register`")
            }
            Self::Renamed { .. } => Some(
                "register this node again with `repoint bdr register -F`, or mend node_name in \
                 the configuration",
            ),
            Self::Home { .. } => Some("mend `home` in the configuration, or register that node"),
            Self::NoPeer => Some("register the other node with `repoint bdr register` there"),
            Self::TooMany(_) => {
                Some("take out nodes that are gone with `repoint bdr unregister --node-id`")
            }
            Self::Row { .. } => {
                Some("register that node again with `repoint bdr register -F` on its host")
            }
        }
    }

    /// Whether only this host's operator can mend it: a daemon that is being started gives up.
    #[must_use]
    pub fn is_of_this_node(&self) -> bool {
        match self {
            Self::NoTable { .. }
            | Self::NotRegistered { .. }
            | Self::Renamed { .. }
            | Self::Home { .. } => true,
            Self::Unread { .. } | Self::NoPeer | Self::TooMany(_) | Self::Row { .. } => false,
        }
    }
}

/// Which clusters will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    /// Both nodes take writes: rows of type `bdr`.
    ActiveActive,
    /// Streaming replication as well.
    Any,
}

/// A configuration whose nodes are all known: the one that was given if it lists them, else
/// completed from `repmgr.nodes` on this host's node. For who only looks up nodes: streaming
/// replication will do.
///
/// # Errors
/// [`MembershipError`]; no later than `deadline`.
pub async fn complete(config: &Config, deadline: Instant) -> Result<Config, MembershipError> {
    match config.peers {
        Peers::Listed => Ok(config.clone()),
        Peers::Registered => {
            let rows = rows(config.local(), deadline).await?;
            completed(config, Kinds::Any, &rows)
        }
    }
}

/// As [`complete`], for who moves traffic from one node to the other: both have to take writes.
///
/// # Errors
/// As [`complete`].
pub async fn complete_active_active(
    config: &Config,
    deadline: Instant,
) -> Result<Config, MembershipError> {
    match config.peers {
        Peers::Listed => Ok(config.clone()),
        Peers::Registered => {
            let rows = rows(config.local(), deadline).await?;
            let completed = completed(config, Kinds::ActiveActive, &rows)?;
            tell_difference(config.local(), &rows);
            Ok(completed)
        }
    }
}

/// The other hosts know this node by its row.
fn tell_difference(local: &Node, rows: &[NodeRecord]) {
    let own = rows.iter().find(|row| row.node_id == local.node_id);
    let registered = own.and_then(|own| Conninfo::parse(&own.conninfo).ok());
    let configured = local.conninfo.without_password();
    if registered.is_none_or(|registered| registered.without_password() != configured) {
        tracing::warn!(
            "the row of node {:?} (ID: {}) in repmgr.nodes has another conninfo than the \
             configuration; the other host goes by the row (hint: bring it up to date with \
             `repoint bdr register -F`)",
            local.node_name,
            local.node_id
        );
    }
}

/// As [`complete_active_active`], for a configuration that was completed before: where this host's
/// node does not answer, the other one is asked.
///
/// # Errors
/// As [`complete`]; when the other node has no answer that will do, why this host's has none.
pub async fn complete_active_active_again(
    config: &Config,
    deadline: Instant,
) -> Result<Config, MembershipError> {
    // The other node needs its part of the time.
    let now = Instant::now();
    let half = now + deadline.saturating_duration_since(now) / 2;
    let unread = match rows(config.local(), half).await {
        Ok(rows) => return completed(config, Kinds::ActiveActive, &rows),
        Err(error @ MembershipError::Unread { .. }) => error,
        Err(error) => return Err(error),
    };
    let mut others = config.nodes.values();
    let Some(other) = others.find(|node| node.node_id != config.node_id) else {
        return Err(unread);
    };
    let there = rows(other, deadline).await;
    let there = there.and_then(|rows| completed(config, Kinds::ActiveActive, &rows));
    there.map_err(|_| unread)
}

/// How long after one look at the rows the next is due.
#[must_use]
pub fn reread_interval(monitor_interval: Duration) -> Duration {
    let interval = monitor_interval.saturating_mul(REREAD_INTERVALS);
    interval.clamp(REREAD_MIN, REREAD_MAX)
}

/// What is different in `new`, a sentence for each; no password in any.
#[must_use]
pub fn changes(old: &BTreeMap<NodeId, Node>, new: &BTreeMap<NodeId, Node>) -> Vec<String> {
    let ids: BTreeSet<NodeId> = old.keys().chain(new.keys()).copied().collect();
    let mut all = Vec::new();
    for id in ids {
        let (before, after) = match (old.get(&id), new.get(&id)) {
            (Some(before), Some(after)) => (before, after),
            (Some(before), None) => {
                all.push(format!("node {:?} (ID: {id}) is gone", before.node_name));
                continue;
            }
            (None, Some(after)) => {
                let (name, conninfo) = (&after.node_name, after.conninfo.redacted());
                all.push(format!("node {name:?} (ID: {id}) is new, at {conninfo}"));
                continue;
            }
            (None, None) => continue,
        };
        let name = &before.node_name;
        if after.node_name != *name {
            all.push(format!(
                "node {name:?} (ID: {id}) is now called {:?}",
                after.node_name
            ));
        }
        if after.conninfo == before.conninfo {
            continue;
        }
        let (was, is) = (before.conninfo.redacted(), after.conninfo.redacted());
        all.push(match was == is {
            true => format!("node {name:?} (ID: {id}) has another password in its conninfo"),
            false => format!("conninfo of node {name:?} (ID: {id}) is now {is}"),
        });
    }
    all
}

fn completed(
    config: &Config,
    kinds: Kinds,
    rows: &[NodeRecord],
) -> Result<Config, MembershipError> {
    let nodes = judge(config, kinds, rows)?;
    for pgbouncer in config.pgbouncers.values() {
        let home = pgbouncer.home.filter(|home| !nodes.contains_key(home));
        if let Some(home) = home {
            let pgbouncer = pgbouncer.name.clone();
            return Err(MembershipError::Home { pgbouncer, home });
        }
    }
    Ok(Config {
        nodes,
        ..config.clone()
    })
}

async fn rows(on: &Node, deadline: Instant) -> Result<Vec<NodeRecord>, MembershipError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let read = async {
        let session = connect(&on.conninfo, attempt_limit(&on.conninfo)).await?;
        node_records::all(&session).await
    };
    let read = tokio::time::timeout(left, read).await;
    let node = on.node_name.clone();
    match read.unwrap_or(Err(PostgresError::Silent(left))) {
        Ok(rows) => Ok(rows),
        Err(PostgresError::Answered { sqlstate, .. })
            if sqlstate == "42P01" || sqlstate == "3F000" =>
        {
            Err(MembershipError::NoTable { node })
        }
        Err(error) => {
            let why = error.to_string();
            Err(MembershipError::Unread { node, why })
        }
    }
}

/// Both nodes: this host's as the configuration has it, the other's from its row.
fn judge(
    config: &Config,
    kinds: Kinds,
    rows: &[NodeRecord],
) -> Result<BTreeMap<NodeId, Node>, MembershipError> {
    let local = config.local();
    let (id, name) = (local.node_id, local.node_name.clone());
    let Some(own) = rows.iter().find(|row| row.node_id == id) else {
        return Err(MembershipError::NotRegistered { id, name });
    };
    if own.node_name != name {
        return Err(MembershipError::Renamed { id, name });
    }
    // A witness of streaming replication holds no data.
    let members = rows.iter().filter(|row| row.kind != "witness");
    let others: Vec<&NodeRecord> = members.filter(|row| row.node_id != id).collect();
    let peer = match others[..] {
        [] => return Err(MembershipError::NoPeer),
        [peer] => peer,
        _ => return Err(MembershipError::TooMany(others.len() + 1)),
    };
    for row in [own, peer] {
        if kinds == Kinds::ActiveActive && row.kind != "bdr" {
            let reason = "its type is not \"bdr\", the only one whose nodes both take writes";
            return Err(unfit(row, reason));
        }
    }
    let peer = node(peer, local)?;
    Ok([local.clone(), peer]
        .map(|node| (node.node_id, node))
        .into())
}

/// The other node, if its row will do.
fn node(row: &NodeRecord, local: &Node) -> Result<Node, MembershipError> {
    let bytes = row.node_name.len();
    if !(1..=NAME_BYTES_MAX).contains(&bytes) {
        let reason = format!("its name has {bytes} bytes, not 1 to {NAME_BYTES_MAX}");
        return Err(unfit(row, reason));
    }
    if row.node_name.chars().any(char::is_control) {
        return Err(unfit(row, "its name holds a control character"));
    }
    if row.node_name == local.node_name {
        return Err(unfit(row, "it has the name of this host's node"));
    }
    let bytes = row.conninfo.len();
    if bytes > CONNINFO_BYTES_MAX {
        let reason = format!("its conninfo has {bytes} bytes, more than {CONNINFO_BYTES_MAX}");
        return Err(unfit(row, reason));
    }
    let conninfo = match Conninfo::parse(&row.conninfo) {
        Ok(conninfo) => conninfo,
        Err(error) => {
            let reason = format!("its conninfo is not a connection string: {error}");
            return Err(unfit(row, reason));
        }
    };
    // A URI can spell one out, too.
    if conninfo
        .iter()
        .any(|(_, value)| value.chars().any(char::is_control))
    {
        return Err(unfit(row, "its conninfo holds a control character"));
    }
    let named = ["host", "hostaddr"].map(|keyword| conninfo.get(keyword));
    if named == [None, None] {
        return Err(unfit(row, "its conninfo has no `host` or `hostaddr`"));
    }
    if conninfo.get("dbname").is_none() {
        return Err(unfit(row, "its conninfo has no `dbname`"));
    }
    if place(&conninfo) == place(&local.conninfo) {
        return Err(unfit(row, "its conninfo leads to this host's node"));
    }
    Ok(Node {
        node_id: row.node_id,
        node_name: row.node_name.clone(),
        conninfo,
    })
}

/// What tells one server's database from another's.
fn place(conninfo: &Conninfo) -> [Option<&str>; 4] {
    let port = conninfo.get("port").unwrap_or("5432");
    let get = |keyword| conninfo.get(keyword);
    [get("host"), get("hostaddr"), Some(port), get("dbname")]
}

fn unfit(row: &NodeRecord, reason: impl Into<String>) -> MembershipError {
    MembershipError::Row {
        id: row.node_id,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;

    fn config() -> Config {
        let text = "node_id = 1\nnode_name = \"node1\"\n\
                    conninfo = \"host=10.0.0.11 dbname=bdrtest user=repmgr\"\n";
        file::parse(Path::new("repoint.toml"), text).expect("it will do")
    }

    fn row(id: u32) -> NodeRecord {
        NodeRecord {
            node_id: NodeId(id),
            upstream_node_id: None,
            active: true,
            node_name: format!("node{id}"),
            kind: "bdr".to_owned(),
            location: "default".to_owned(),
            priority: 100,
            conninfo: format!("host=10.0.0.1{id} dbname=bdrtest user=repmgr"),
        }
    }

    fn refused(rows: &[NodeRecord]) -> String {
        let error = judge(&config(), Kinds::ActiveActive, rows).expect_err("it is refused");
        let text = error.to_string();
        assert!(text.len() < 250, "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
        text
    }

    #[test]
    fn the_other_node_comes_from_its_row_and_this_one_from_the_configuration() {
        let mut own = row(1);
        own.conninfo = "host=elsewhere dbname=x".to_owned();
        let nodes = judge(&config(), Kinds::ActiveActive, &[own, row(2)]).expect("both");
        let conninfos: Vec<&str> = nodes
            .values()
            .map(|node| node.conninfo.original())
            .collect();
        let expected = [
            "host=10.0.0.11 dbname=bdrtest user=repmgr",
            "host=10.0.0.12 dbname=bdrtest user=repmgr",
        ];
        assert_eq!(conninfos, expected);
    }

    #[test]
    fn a_home_that_is_none_of_the_nodes_is_told_and_one_that_is_will_do() {
        let with_home = |home: u32| {
            let text = format!(
                "node_id = 1\nnode_name = \"node1\"\n\
                 conninfo = \"host=10.0.0.11 dbname=bdrtest user=repmgr\"\n\
                 [[pgbouncer]]\nname = \"pgb1\"\nlocal = true\nhome = {home}\n\
                 file = \"/f\"\n\
                 console = \"host=/run user=pgbouncer\"\n\
                 [[pgbouncer.database]]\nname = \"app\"\n"
            );
            let config = file::parse(Path::new("repoint.toml"), &text);
            let config = config.expect("the other nodes are not known yet");
            completed(&config, Kinds::ActiveActive, &[row(1), row(2)])
        };
        assert!(with_home(2).is_ok());
        let error = with_home(3).expect_err("it is refused");
        let expected = "the configuration names node 3 as `home` of PgBouncer \"pgb1\", and no \
                        such node is in repmgr.nodes";
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some() && error.is_of_this_node());
    }

    #[test]
    fn rows_that_are_missing_or_too_many_are_told() {
        let none: [NodeRecord; 0] = [];
        assert_eq!(
            refused(&none),
            "node \"node1\" (ID: 1) has no row in repmgr.nodes"
        );
        assert_eq!(refused(&[row(2)]), refused(&none));
        assert_eq!(
            refused(&[row(1)]),
            "no other node has a row in repmgr.nodes"
        );
        let three = [row(1), row(2), row(3)];
        let expected = "3 nodes are in repmgr.nodes; repoint works with two";
        assert_eq!(refused(&three), expected);
        let mut renamed = row(1);
        renamed.node_name = "evil\n".repeat(2000);
        let expected = "the row of node 1 in repmgr.nodes has another name than \"node1\"";
        assert_eq!(refused(&[renamed, row(2)]), expected);
    }

    #[test]
    fn a_row_of_an_attacker_is_refused_in_few_words() {
        type Edit = fn(&mut NodeRecord);
        let cases: [(Edit, &str); 15] = [
            (
                |row| row.node_name.clear(),
                "its name has 0 bytes, not 1 to 63",
            ),
            (
                |row| row.node_name = "x".repeat(10_000),
                "its name has 10000 bytes, not 1 to 63",
            ),
            (
                |row| row.node_name = "a\n[pgbouncer]".to_owned(),
                "its name holds a control character",
            ),
            (
                |row| row.node_name = "node1".to_owned(),
                "it has the name of this host's node",
            ),
            (
                |row| row.conninfo = "host=x dbname='a\n%include /etc/passwd'".to_owned(),
                "its conninfo holds a control character",
            ),
            (
                |row| row.conninfo = "postgresql://h%0d%0a/x".to_owned(),
                "its conninfo holds a control character",
            ),
            (
                |row| row.conninfo = format!("host={} dbname=a", "x".repeat(10_000)),
                "its conninfo has 10014 bytes, more than 4096",
            ),
            (
                |row| row.conninfo.clear(),
                "its conninfo has no `host` or `hostaddr`",
            ),
            (
                |row| row.conninfo = "host='' dbname=a".to_owned(),
                "its conninfo has no `host` or `hostaddr`",
            ),
            (
                |row| row.conninfo = "host=x user=y".to_owned(),
                "its conninfo has no `dbname`",
            ),
            (
                |row| row.conninfo = "host=x dbname='a".to_owned(),
                "its conninfo is not a connection string: unterminated quoted value of \
                 option `dbname` at byte 14",
            ),
            (
                |row| row.conninfo = "host=10.0.0.11 port=5432 dbname=bdrtest".to_owned(),
                "its conninfo leads to this host's node",
            ),
            (
                |row| row.conninfo = "postgresql://u@10.0.0.11/bdrtest".to_owned(),
                "its conninfo leads to this host's node",
            ),
            (
                |row| row.kind = "standby".to_owned(),
                "its type is not \"bdr\", the only one whose nodes both take writes",
            ),
            (
                |row| row.kind = "bdr\u{1b}[2J".repeat(2000),
                "its type is not \"bdr\", the only one whose nodes both take writes",
            ),
        ];
        for (edit, reason) in cases {
            let mut peer = row(2);
            edit(&mut peer);
            let expected = format!("the row of node 2 in repmgr.nodes will not do: {reason}");
            assert_eq!(refused(&[row(1), peer]), expected);
        }
    }

    #[test]
    fn quotes_in_a_name_are_no_harm() {
        let mut peer = row(2);
        peer.node_name = "n'2\"; drop table repmgr.nodes; --".to_owned();
        let nodes = judge(&config(), Kinds::ActiveActive, &[row(1), peer.clone()]).expect("both");
        assert_eq!(nodes[&NodeId(2)].node_name, peer.node_name);
    }

    #[test]
    fn streaming_replication_will_do_for_who_only_looks_up_nodes() {
        let (mut primary, mut standby, mut witness) = (row(1), row(2), row(3));
        primary.kind = "primary".to_owned();
        standby.kind = "standby".to_owned();
        witness.kind = "witness".to_owned();
        let rows = [primary, standby, witness];
        let nodes = judge(&config(), Kinds::Any, &rows).expect("a pair");
        assert_eq!(nodes.len(), 2);
        judge(&config(), Kinds::ActiveActive, &rows).expect_err("not active-active");
    }

    #[test]
    fn what_changes_is_told_without_a_password() {
        let with = |conninfo: &str| {
            let mut peer = row(2);
            peer.conninfo = conninfo.to_owned();
            judge(&config(), Kinds::ActiveActive, &[row(1), peer]).expect("both")
        };
        let old = with("host=a dbname=b password=old");
        let cases = [
            (old.clone(), vec![]),
            (
                with("host=a dbname=b password=new"),
                vec!["node \"node2\" (ID: 2) has another password in its conninfo"],
            ),
            (
                with("host=c dbname=b password=new"),
                vec![
                    "conninfo of node \"node2\" (ID: 2) is now \
                     host=c dbname=b password=********",
                ],
            ),
        ];
        for (new, expected) in cases {
            assert_eq!(changes(&old, &new), expected);
        }
        let mut third = row(3);
        third.conninfo = "host=d dbname=b".to_owned();
        let new = judge(&config(), Kinds::ActiveActive, &[row(1), third]).expect("both");
        let expected = [
            "node \"node2\" (ID: 2) is gone",
            "node \"node3\" (ID: 3) is new, at host=d dbname=b",
        ];
        assert_eq!(changes(&old, &new), expected);
    }

    #[test]
    fn rows_are_read_again_every_ten_intervals_but_neither_too_often_nor_too_seldom() {
        let secs = Duration::from_secs;
        let cases = [(0, 5), (1, 10), (2, 20), (5, 50), (6, 60), (3600, 60)];
        for (interval, expected) in cases {
            assert_eq!(reread_interval(secs(interval)), secs(expected));
        }
    }
}
