//! Entries that are in no configuration of `repoint` are never touched, but not forgotten either.

use crate::fixture::{Cluster, Pooler, Settings};
use crate::scene::{
    assert_new_clients_commit, assert_serves, start_daemon, wait_for_decision, wait_for_events,
};

#[test]
fn an_entry_of_an_operator_that_still_points_at_the_failed_node_is_named() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let (moved, left_alone) = (cluster.pooler(1), cluster.pooler(2));
    let (from, to) = (node2.port().to_string(), node1.port().to_string());
    left_alone.write_file(&left_alone.file_text().replace(&from, &to));
    let inis = [moved, left_alone].map(|pooler| add_other_entry(&cluster, pooler));
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];

    node2.kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&[moved, left_alone], node1, decided);

    let redirects = wait_for_events(node1, "repoint_redirect", 1);
    let named = "note: `other` still point at node 2";
    let details = &redirects[0]["details"];
    let (first, second) = details.split_once("; pgb2: ").expect("both are there");
    assert!(first.contains(named) && second.contains(named), "{details}");
    let log = daemons[0].log();
    assert_eq!(log.matches(named).count(), 3, "{log}"); // the redirect's own, and the summary
    for (pooler, ini) in [moved, left_alone].into_iter().zip(inis) {
        assert_serves(pooler, node1);
        assert_eq!(pooler.served_port("other"), node2.port());
        assert_eq!(ini_text(pooler), ini);
    }
}

/// Gives the new text of its `pgbouncer.ini`.
fn add_other_entry(cluster: &Cluster, pooler: &Pooler) -> String {
    let port = cluster.node2().port();
    let entry = format!("\n[databases]\nother = host=127.0.0.1 port={port} dbname=bdrtest\n");
    let text = ini_text(pooler) + &entry;
    let ini = pooler.socket_dir().join("pgbouncer.ini");
    cluster.home().write(&ini, &text);
    pooler.admin("RELOAD");
    assert_eq!(pooler.served_port("other"), port);
    text
}

fn ini_text(pooler: &Pooler) -> String {
    let ini = pooler.socket_dir().join("pgbouncer.ini");
    std::fs::read_to_string(ini).expect("the fixture has written it")
}
