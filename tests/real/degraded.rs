//! Daemons that start, or go on, while not all is well.

use std::time::Duration;

use crate::fixture::{Cluster, Settings, wait_until};
use crate::scene::{DEADLINE, assert_serves, assert_stays, events, is_active, wait_for_events};

/// pglogical may take several seconds to begin again.
const REPLICATION_DEADLINE: Duration = Duration::from_secs(60);
const A_WHILE: Duration = Duration::from_secs(2);

fn with(lines: &str) -> Settings {
    Settings {
        lines: lines.to_owned(),
        ..Settings::default()
    }
}

/// The original refuses to start.
#[test]
fn fault_12_a_daemon_whose_own_row_is_inactive_starts_in_degraded_mode() {
    let cluster = Cluster::builder().poolers(1).first_node(1).start();
    let node2 = cluster.node2();
    let disabled = "select pglogical.alter_subscription_disable('node1_from_node2', true)";
    cluster.node1().rows(disabled);
    let first = cluster.daemon(1, &Settings::default());
    first.wait_for_log("monitoring node \"node2\"", DEADLINE);
    for node in cluster.nodes() {
        wait_until(DEADLINE, "repmgr's rows", || {
            let rows = node.try_rows("select 1 from repmgr.nodes");
            rows.is_ok_and(|rows| rows.len() == 2)
        });
        node.rows("update repmgr.nodes set active = false where node_id = 2");
    }
    assert!(first.terminate().success());

    let daemon = cluster.daemon(2, &with("log_status_interval = \"1s\""));
    daemon.wait_for_log(
        "the record of node \"node2\" (ID: 2) says that it is inactive",
        DEADLINE,
    );
    let mark = daemon.mark();
    let monitoring = "monitoring BDR replication status on node \"node2\" (ID: 2)";
    daemon.wait_for_log_after(mark, monitoring, DEADLINE);
    daemon.wait_for_log_after(
        mark,
        "monitoring node \"node2\" (ID: 2) in degraded mode",
        DEADLINE,
    );
    assert!(!is_active(node2, 2));
    let enable = "select pglogical.alter_subscription_enable('node1_from_node2', true)";
    cluster.node1().rows(enable);
    wait_until(REPLICATION_DEADLINE, "a recovery", || is_active(node2, 2));
    daemon.wait_for_log("node \"node2\" (ID: 2) has recovered", DEADLINE);
    let mark = daemon.mark();
    daemon.wait_for_log_after(mark, monitoring, DEADLINE);
    daemon.wait_for_log_after(mark, monitoring, DEADLINE);
    let log = daemon.log();
    let after: Vec<&str> = log.lines().skip(mark).collect();
    let degraded = after.iter().any(|line| line.contains("degraded"));
    assert!(!degraded, "{after:?}");
}

#[test]
fn a_daemon_that_starts_while_the_other_node_is_down_finds_out_and_adds_no_second_event() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    node2.kill9();
    let down = "unable to reconnect to node 2 after 2 attempts";
    let first = cluster.daemon(1, &Settings::default());
    first.wait_for_log(down, DEADLINE);
    // Nobody saw it alive: the failure happened while no daemon ran.
    assert_eq!(wait_for_events(node1, "bdr_failover", 1)[0]["node_id"], "2");
    first.wait_for_log("redirect complete", DEADLINE);
    assert_serves(cluster.pooler(1), node1);
    assert!(!is_active(node1, 2));
    assert!(first.terminate().success());

    let file = cluster.write_config(1, &Settings::default(), |_| ());
    let again = cluster.daemon_with_filter(1, &file, "repoint=debug");
    again.wait_for_log(down, DEADLINE);
    again.wait_for_log("record for node 2 has already been set inactive", DEADLINE);
    again.wait_for_log("the failover is recorded already", DEADLINE);
    assert_eq!(events(node1, "bdr_failover").len(), 1);

    node2.start();
    cluster.hasten_replication();
    wait_until(REPLICATION_DEADLINE, "a recovery", || is_active(node1, 2));
    assert_eq!(events(node1, "bdr_recovery").len(), 1);
}

/// The original stops watching for `bdr_recovery_timeout` in each round.
#[test]
fn fault_10_a_recovery_that_does_not_come_delays_no_failover() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let daemon = cluster.daemon(1, &with("bdr_recovery_timeout = \"1s\""));
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    node2.rows("select pglogical.alter_subscription_disable('node2_from_node1', true)");
    node2.kill9();
    wait_for_events(node1, "bdr_failover", 1);
    node2.start();
    let late = |seconds: u32| {
        format!("no active replication slot for node \"node2\" found after {seconds} seconds")
    };
    let warning = daemon.wait_for_log(&late(1), DEADLINE);
    assert!(warning.text.contains("WARN"), "{}", warning.text);
    daemon.wait_for_log(&late(2), DEADLINE);
    assert_eq!(daemon.log().matches(&late(1)).count(), 1);
    assert_stays(A_WHILE, "no recovery", || {
        events(node1, "bdr_recovery").is_empty() && !is_active(node1, 2)
    });

    let mark = daemon.mark();
    node1.kill9();
    let died = std::time::Instant::now();
    let decided = daemon.wait_for_log_after(mark, "failover decided", DEADLINE);
    // Two tries, a tenth of a second apart; the rest is for a busy machine.
    let took = decided.instant.saturating_duration_since(died);
    assert!(took < Duration::from_secs(5), "{took:?}");
    daemon.wait_for_log_after(mark, "redirect complete", DEADLINE);
    assert_serves(pooler, node2);
    assert!(is_active(node2, 2));
}
