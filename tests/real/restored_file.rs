//! An operator puts an old file back, from a backup or from configuration management.

use crate::fixture::{Cluster, Settings, wait_until};
use crate::scene::{DEADLINE, assert_serves, start_daemon, wait_for_decision, wait_for_events};

#[test]
fn a_pgbouncer_that_leads_to_the_dead_node_again_is_moved_again() {
    let cluster = Cluster::builder().poolers(2).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let old = pooler.file_text();
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    node2.kill9();
    wait_for_decision(&daemons);
    wait_for_events(node1, "repoint_redirect", 1);
    assert_serves(pooler, node1);
    let untouched = cluster.pooler(2).file_text();

    pooler.write_file(&old);
    pooler.admin("RELOAD");
    let what = format!("a second redirect:\n{}", daemons[0].log());
    wait_until(DEADLINE, what, || pooler.served_port("app") == node1.port());

    assert_serves(pooler, node1);
    let text = pooler.file_text();
    assert!(text.starts_with(";repoint v1 generation="), "{text}");
    assert_eq!(cluster.pooler(2).file_text(), untouched);
}
