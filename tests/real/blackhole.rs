//! A node falls silent: connections to it stay open, new ones are accepted, nothing is answered.

use crate::fixture::{Cluster, Pooler, Settings, Writer, wait_until};
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, start_daemon, wait_for_decision,
    wait_for_events,
};

/// Clients that wait inside of the silent node for ever are not freed, but hold up nobody else.
#[test]
fn new_clients_commit_within_a_second_of_the_decision_though_old_ones_hang() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    let writer = Writer::start(&cluster, 2);
    wait_until(DEADLINE, "commits on node2", || {
        writer.so_far().acknowledged.len() > 50
    });

    node2.freeze();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&poolers, node1, decided);

    let log = daemons[0].log();
    assert!(log.contains("fault=blackhole"), "{log}");
    for pooler in poolers {
        assert_serves(pooler, node1);
    }
    let redirects = wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(redirects[0]["successful"], "t", "{redirects:?}");
}
