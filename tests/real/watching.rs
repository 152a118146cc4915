//! Two daemons at work, as each test that needs a failover begins.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};

/// For anything that a daemon does by itself; generous, for a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The daemons of both nodes, each of which has seen both nodes up and has the tables ready.
pub(crate) fn watched(cluster: &Cluster, settings: &Settings) -> [Daemon; 2] {
    let daemons = [1, 2].map(|node_id| cluster.daemon(node_id, settings));
    wait_until_watching(cluster, &daemons);
    daemons
}

/// Waits until daemons have seen both nodes up and have the tables ready.
#[track_caller]
pub(crate) fn wait_until_watching(cluster: &Cluster, daemons: &[Daemon]) {
    for daemon in daemons {
        for node in cluster.nodes() {
            // On a busy machine the first probe may come to nothing.
            let name = node.name();
            let up = [
                format!("monitoring node \"{name}\""),
                format!("node \"{name}\" (ID: {}) answers again", node.id()),
            ];
            wait_until(DEADLINE, &up[0], || {
                let log = daemon.log();
                up.iter().any(|line| log.contains(line))
            });
        }
    }
    for node in cluster.nodes() {
        wait_until(DEADLINE, "repmgr's tables", || {
            let rows = node.try_rows("select node_id from repmgr.nodes");
            rows.is_ok_and(|rows| rows.len() == 2)
        });
    }
}

/// Waits until every PgBouncer says that it serves a node, and none is paused.
#[track_caller]
pub(crate) fn wait_until_served(cluster: &Cluster, node_id: u32) {
    for pooler in cluster.poolers() {
        let what = format!("{} serves node {node_id}", pooler.name());
        wait_until(DEADLINE, what, || serves(cluster, pooler.number(), node_id));
    }
}

/// Whether a PgBouncer's entry points at a node and is not paused.
pub(crate) fn serves(cluster: &Cluster, pooler: usize, node_id: u32) -> bool {
    let port = cluster.node(node_id).port().to_string();
    let rows = cluster.pooler(pooler).try_admin("SHOW DATABASES");
    rows.is_ok_and(|rows| {
        let mut rows = rows.iter();
        rows.any(|row| row["name"] == "app" && row["port"] == port && row["paused"] == "0")
    })
}
