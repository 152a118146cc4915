//! A PgBouncer that leads to the surviving node has nothing to do with the failure of the other.

use crate::fixture::{Cluster, Settings};
use crate::scene::{
    assert_new_clients_commit, assert_serves, reloads, start_daemon, wait_for_decision,
    wait_for_events,
};

#[test]
fn a_pgbouncer_that_serves_the_surviving_node_is_left_alone() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let (there, other) = (cluster.pooler(1), cluster.pooler(2));
    let (from, to) = (node2.port().to_string(), node1.port().to_string());
    there.write_file(&there.file_text().replace(&from, &to));
    there.admin("RELOAD");
    assert_serves(there, node1);
    let modified = || std::fs::metadata(there.file()).and_then(|file| file.modified());
    let before = (there.file_text(), modified().expect("it is there"));
    let (reloads_there, reloads_other) = (reloads(there), reloads(other));
    assert_eq!(reloads_there, reloads_other + 1, "{}", there.log());
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];

    node2.kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&[other], node1, decided);
    let redirects = wait_for_events(node1, "repoint_redirect", 1);

    let details = &redirects[0]["details"];
    assert!(
        details.contains("2 of 2 PgBouncers serve node 1"),
        "{details}"
    );
    assert!(details.contains("pgb1: left alone"), "{details}");
    assert_serves(other, node1);
    assert_serves(there, node1);
    let after = (there.file_text(), modified().expect("it is there"));
    assert_eq!(after, before);
    assert_eq!(reloads(there), reloads_there, "{}", there.log());
    assert!(reloads(other) > reloads_other, "{}", other.log());
    assert_eq!(there.config("server_login_retry"), "15");
}
