//! The log of a failover and of a recovery, in the words of repmgr's page.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::scene::{DEADLINE, is_active, start_daemon};

/// pglogical may take several seconds to begin again.
const REPLICATION_DEADLINE: Duration = Duration::from_secs(60);

/// Checks that lines with these texts come in this order, each behind the one before it.
#[track_caller]
fn assert_in_order(daemon: &Daemon, texts: &[&str]) {
    let log = daemon.log();
    let mut lines = log.lines();
    for text in texts {
        let found = lines.any(|line| line.contains(text));
        assert!(found, "{text:?} is not where it should be in:\n{log}");
    }
}

#[test]
fn the_lines_of_the_page_name_the_node_and_count_the_attempts() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let settings = Settings {
        reconnect_attempts: 3,
        reconnect_interval: "1s".into(),
        lines: "log_status_interval = \"1s\"\nevent_notifications = \"bdr_failover\"\n\
                event_notification_command = \"true\""
            .to_owned(),
        ..Settings::default()
    };
    let daemon = start_daemon(&cluster, 1, &settings);
    let status = "INFO monitoring BDR replication status on node \"node1\" (ID: 1)";
    let mark = daemon.mark();
    daemon.wait_for_log_after(mark, status, DEADLINE);
    node2.kill9();
    daemon.wait_for_log("event_notification_command ended", DEADLINE);
    let degraded = "monitoring node \"node2\" (ID: 2) in degraded mode";
    daemon.wait_for_log(degraded, DEADLINE);
    assert_in_order(
        &daemon,
        &[
            "INFO starting continuous BDR node monitoring",
            status,
            status,
            "WARN unable to connect to node \"node2\" (ID 2)",
            "INFO checking state of node 2, 1 of 3 attempts",
            "INFO sleeping 1 seconds until next reconnection attempt",
            "INFO checking state of node 2, 2 of 3 attempts",
            "INFO sleeping 1 seconds until next reconnection attempt",
            "INFO checking state of node 2, 3 of 3 attempts",
            "WARN unable to reconnect to node 2 after 3 attempts",
            "node \"node2\" (ID: 2) detected as failed; next available node is \"node1\" (ID: 1)",
            "INFO setting node record for node 2 to inactive",
            "INFO executing notification command for event \"bdr_failover\"",
            status,
            degraded,
        ],
    );
    let sleeps = daemon.log().matches("sleeping 1 seconds").count();
    assert_eq!(sleeps, 2, "not after the last attempt: {}", daemon.log());

    node2.start();
    cluster.hasten_replication();
    wait_until(REPLICATION_DEADLINE, "a recovery", || is_active(node1, 2));
    daemon.wait_for_log("has recovered", DEADLINE);
    let mark = daemon.mark();
    daemon.wait_for_log_after(mark, status, DEADLINE);
    assert_in_order(
        &daemon,
        &[
            degraded,
            "INFO active replication slot for node \"node2\" found after ",
            "INFO node \"node2\" (ID: 2) has recovered after ",
            status,
        ],
    );
    let log = daemon.log();
    let recovered = log.find("has recovered after").expect("it was waited for");
    assert!(!log[recovered..].contains("degraded"), "{log}");
}
