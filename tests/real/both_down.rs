//! No node is left, and then one comes back.

use crate::fixture::{Cluster, Pooler, Settings};
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, start_daemon, wait_for_decision,
    wait_for_events,
};

#[test]
fn traffic_goes_to_the_node_that_returns_first_whatever_pgbouncers_led_to() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    let before: Vec<String> = poolers.iter().map(|pooler| pooler.file_text()).collect();

    node1.kill9();
    node2.kill9();
    for node in [1, 2] {
        let down = format!("unable to reconnect to node {node}");
        daemons[0].wait_for_log(&down, DEADLINE);
    }
    daemons[0].wait_for_log("no other node is available", DEADLINE);
    for (pooler, before) in poolers.iter().zip(before) {
        assert_eq!(pooler.file_text(), before);
        assert_eq!(pooler.served_port("app"), node2.port());
        assert!(!pooler.paused("app"));
    }

    let mark = daemons[0].mark();
    node1.start();
    daemons[0].wait_for_log_after(mark, "next available node is \"node1\"", DEADLINE);
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&poolers, node1, decided);
    wait_for_events(node1, "repoint_redirect", 1);
    for pooler in poolers {
        assert_serves(pooler, node1);
    }
}
