//! No node is left, and then one comes back.

use std::time::Duration;

use crate::fixture::{Cluster, Pooler, Settings, wait_until};
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, assert_stays, is_active, start_daemon,
    wait_for_decision, wait_for_events,
};

/// pglogical may take several seconds to begin again.
const REPLICATION_DEADLINE: Duration = Duration::from_secs(60);
/// Many times the interval at which a returned node is looked at.
const A_WHILE: Duration = Duration::from_secs(3);

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

/// Node 2 fails, PgBouncers go to node 1; node 1 fails, and there is nobody left; node 2 comes back
/// alone, where nothing can replicate; node 1 comes back.
#[test]
fn fault_7_a_node_that_had_failed_and_returns_alone_is_used_and_the_other_one_recovers_later() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    let told = cluster.home().path("told");
    let settings = Settings {
        lines: format!(
            "event_notification_command = 'echo \"%n %e %s %c %a\" >> {}'\n\
             event_notifications = \"bdr_failover, bdr_recovery\"",
            told.display()
        ),
        ..Settings::default()
    };
    let calls = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &settings));

    node2.kill9();
    wait_for_events(node1, "bdr_failover", 1);
    for pooler in &poolers {
        assert_serves(pooler, node1);
    }
    for daemon in &daemons {
        daemon.wait_for_log("unable to reconnect to node 2", DEADLINE);
    }
    node1.kill9();
    for daemon in &daemons {
        daemon.wait_for_log("unable to reconnect to node 1", DEADLINE);
        daemon.wait_for_log("no other node is available", DEADLINE);
    }
    node2.start();
    let rows = wait_for_events(node2, "bdr_failover", 1);
    let begin = "node \"node1\" (ID: 1) detected as failed; next available node is \"node2\" \
                 (ID: 2); 2 of 2 PgBouncers serve node 2";
    assert!(rows[0]["details"].starts_with(begin), "{rows:?}");
    assert_eq!([&rows[0]["node_id"], &rows[0]["successful"]], ["1", "t"]);
    for pooler in &poolers {
        assert_serves(pooler, node2);
    }
    assert!(is_active(node2, 2) && !is_active(node2, 1));

    node1.start();
    cluster.hasten_replication();
    wait_until(REPLICATION_DEADLINE, "a recovery", || is_active(node2, 1));
    let recovery = wait_for_events(node2, "bdr_recovery", 1);
    assert_eq!(recovery[0]["node_id"], "2");
    let begin = "node \"node1\" (ID: 1) has recovered after ";
    assert!(recovery[0]["details"].starts_with(begin), "{recovery:?}");
    wait_until(DEADLINE, "both active on both", || {
        [1, 2]
            .iter()
            .all(|id| is_active(node1, *id) && is_active(node2, *id))
    });
    let (conninfo1, conninfo2) = (node1.conninfo(), node2.conninfo());
    let expected = [
        format!("2 bdr_failover 1 {conninfo1} node1"),
        format!("1 bdr_failover 1 {conninfo2} node2"),
        format!("2 bdr_recovery 1 {conninfo1} node1"),
    ];
    assert_stays(A_WHILE, "these calls", || calls() == expected);
    for pooler in &poolers {
        assert_serves(pooler, node2);
    }
}

/// With replicated tables, or by hand, the row of the node that returns alone may say that it is
/// inactive.
#[test]
fn the_only_node_that_lives_is_marked_active_whatever_its_row_says() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemon = start_daemon(&cluster, 1, &Settings::default());
    wait_until(DEADLINE, "repmgr's rows", || {
        let rows = node2.try_rows("select 1 from repmgr.nodes");
        rows.is_ok_and(|rows| rows.len() == 2)
    });
    node2.rows("update repmgr.nodes set active = false where node_id = 2");
    node2.kill9();
    wait_for_events(node1, "bdr_failover", 1);
    node1.kill9();
    daemon.wait_for_log("no other node is available", DEADLINE);
    node2.start();
    wait_for_events(node2, "bdr_failover", 1);
    assert_serves(cluster.pooler(1), node2);
    assert!(is_active(node2, 2) && !is_active(node2, 1));
}
