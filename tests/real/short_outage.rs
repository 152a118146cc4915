//! A node is away for less time than the configuration allows it.

use crate::fixture::{Cluster, Daemon, Settings};
use crate::scene::{DEADLINE, assert_serves, events, is_active, reloads, start_daemon};

#[test]
fn a_node_that_is_started_again_in_time_keeps_its_traffic() {
    assert_nothing_changes(|cluster, daemon| {
        cluster.node2().kill9();
        daemon.wait_for_log("checking state of node 2", DEADLINE);
        cluster.node2().start();
    });
}

#[test]
fn a_node_that_is_silent_for_a_moment_keeps_its_traffic() {
    assert_nothing_changes(|cluster, daemon| {
        cluster.node2().freeze();
        daemon.wait_for_log("unable to connect to node \"node2\"", DEADLINE);
        cluster.node2().thaw();
    });
}

#[track_caller]
fn assert_nothing_changes(outage: impl FnOnce(&Cluster, &Daemon)) {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    // Half a minute, for a machine that is busy with other things.
    let settings = Settings {
        reconnect_attempts: 60,
        reconnect_interval: "500ms".into(),
        ..Settings::default()
    };
    let daemon = start_daemon(&cluster, 1, &settings);
    let before = (pooler.file_text(), reloads(pooler));

    outage(&cluster, &daemon);
    daemon.wait_for_log("node \"node2\" (ID: 2) answers again", DEADLINE);

    assert_serves(pooler, node2);
    assert_eq!((pooler.file_text(), reloads(pooler)), before);
    assert!(is_active(node1, 2));
    assert_eq!(events(node1, "bdr_failover"), []);
    assert_eq!(events(node1, "bdr_recovery"), []);
    assert_eq!(events(node1, "repoint_redirect"), []);
    let log = daemon.log();
    assert!(!log.contains("failover decided"), "{log}");
}
