//! Two notifications with opposite targets at once: one of them wins everywhere.

use std::thread;

use crate::fixture::Cluster;
use crate::notify::{cluster, configuration, told, wait_for_login_retry};

/// Calls both at the same moment; the configurations are those of these nodes' hosts.
fn race(cluster: &Cluster, files: [&str; 2]) -> [(i32, String, String); 2] {
    let call = |file: &str, failed: &str, next: &crate::fixture::Node| {
        told(&cluster.repoint(&[
            "-f",
            file,
            "notify",
            failed,
            "bdr_failover",
            "1",
            &next.conninfo(),
            next.name(),
            "--timeout",
            "20",
        ]))
    };
    thread::scope(|scope| {
        let to_node1 = scope.spawn(|| call(files[0], "2", cluster.node1()));
        let to_node2 = scope.spawn(|| call(files[1], "1", cluster.node2()));
        [to_node1, to_node2].map(|call| call.join().expect("it ends"))
    })
}

#[track_caller]
fn assert_one_wins(cluster: &Cluster, called: &[(i32, String, String); 2]) {
    let ports: Vec<u16> = cluster
        .poolers()
        .iter()
        .map(|pooler| {
            assert!(!pooler.paused("app"), "{called:?}");
            pooler.served_port("app")
        })
        .collect();
    assert_eq!(ports[0], ports[1], "split: {called:?}");
    let winner = usize::from(ports[0] == cluster.node2().port());
    assert_eq!(called[winner].0, 0, "{winner} has won: {called:?}");
    let (code, stdout, _) = &called[1 - winner];
    let told = stdout.contains("NOT redirected: its file holds a newer decision");
    assert_eq!(*code == 1, told, "the other one says why: {called:?}");
}

#[test]
fn from_the_hosts_of_both_nodes() {
    let cluster = cluster();
    let files = [1, 2].map(|node_id| configuration(&cluster, node_id));
    for _ in 0..3 {
        let called = race(&cluster, [&files[0], &files[1]]);
        assert_one_wins(&cluster, &called);
    }
    wait_for_login_retry(cluster.poolers());
}

#[test]
fn from_one_host() {
    let cluster = cluster();
    let file = configuration(&cluster, 1);
    for _ in 0..3 {
        let called = race(&cluster, [&file, &file]);
        assert_one_wins(&cluster, &called);
    }
    wait_for_login_retry(cluster.poolers());
}
