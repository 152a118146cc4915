//! `bdr_local_monitoring_only`: each daemon watches the node of its own host.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::scene::{DEADLINE, assert_serves, assert_stays, events, is_active, wait_for_events};

/// pglogical may take several seconds to begin again.
const REPLICATION_DEADLINE: Duration = Duration::from_secs(60);
const A_WHILE: Duration = Duration::from_secs(3);

fn start(cluster: &Cluster, node_id: u32) -> Daemon {
    let settings = Settings {
        lines: "bdr_local_monitoring_only = true".to_owned(),
        ..Settings::default()
    };
    let daemon = cluster.daemon(node_id, &settings);
    let name = cluster.node(node_id).name();
    daemon.wait_for_log(&format!("monitoring node \"{name}\" (ID"), DEADLINE);
    daemon.wait_for_log("PgBouncer is reached", DEADLINE);
    daemon
}

/// The original leaves the row inactive for good, and then refuses to start.
#[test]
fn the_failure_of_the_own_node_is_redirected_and_its_recovery_is_told() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let daemons = [1, 2].map(|id| start(&cluster, id));
    node2.kill9();
    wait_for_events(node1, "bdr_failover", 1);
    assert_serves(pooler, node1);
    assert!(!is_active(node1, 2));
    let quiet = daemons[0].log();
    assert!(!quiet.contains("node 2"), "it does not look: {quiet}");
    let seen = daemons[1].log();
    let (suspect, looked) = (
        "unable to connect to node \"node2\"",
        "monitoring node \"node1\"",
    );
    let place = |text: &str| seen.find(text).unwrap_or_else(|| panic!("{text}: {seen}"));
    assert!(place(suspect) < place(looked), "{seen}");

    node2.start();
    cluster.hasten_replication();
    wait_until(REPLICATION_DEADLINE, "a recovery", || is_active(node1, 2));
    assert_eq!(wait_for_events(node1, "bdr_recovery", 1).len(), 1);
}

#[test]
fn the_failure_of_the_other_node_is_left_to_its_own_daemon() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let daemon = start(&cluster, 1);
    node2.kill9();
    assert_stays(A_WHILE, "nothing happens", || {
        let log = daemon.log();
        !log.contains("unable to connect") && pooler.served_port("app") == node2.port()
    });
    assert_eq!(events(node1, "bdr_failover"), []);
}

#[test]
fn nobody_is_sent_to_the_other_node_when_that_is_down_too() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let daemon = start(&cluster, 2);
    node1.kill9();
    node2.kill9();
    daemon.wait_for_log("no other node is available", DEADLINE);
    assert_stays(A_WHILE, "nothing happens", || {
        pooler.served_port("app") == node2.port()
    });
    node1.start();
    daemon.wait_for_log("redirect complete", DEADLINE);
    assert_serves(pooler, node1);
}
