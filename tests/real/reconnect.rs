//! A node that answers again before it counts as down: `bdr_reconnect`.

use std::time::Duration;

use crate::fixture::{Cluster, Settings, wait_until};
use crate::scene::{DEADLINE, assert_stays, events, start_daemon};

const A_WHILE: Duration = Duration::from_secs(2);

#[test]
fn both_daemons_record_it_on_the_node_that_is_back_and_tell_the_hook() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let told = cluster.home().path("told");
    // Half a minute, for a machine that is busy with other things.
    let settings = Settings {
        reconnect_attempts: 60,
        reconnect_interval: "500ms".into(),
        lines: format!(
            "event_notification_command = 'echo \"%n %e %s <%c> <%a>\" >> {}'",
            told.display()
        ),
        ..Settings::default()
    };
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &settings));
    node2.kill9();
    for daemon in &daemons {
        daemon.wait_for_log("checking state of node 2, 3 of 60 attempts", DEADLINE);
    }
    node2.start();
    for daemon in &daemons {
        daemon.wait_for_log("reconnected to node \"node2\" (ID: 2) after ", DEADLINE);
    }
    let calls = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let mut calls: Vec<String> = text.lines().map(str::to_owned).collect();
        calls.sort();
        calls
    };
    let expected = ["1 bdr_reconnect 1 <> <>", "2 bdr_reconnect 1 <> <>"];
    wait_until(DEADLINE, "the hooks", || calls() == expected);
    let mut rows = events(node2, "bdr_reconnect");
    rows.sort_by(|a, b| a["node_id"].cmp(&b["node_id"]));
    for (row, id) in rows.iter().zip(["1", "2"]) {
        assert_eq!([&row["node_id"], &row["successful"]], [id, "t"], "{row:?}");
        let details = &row["details"];
        let seconds = details.strip_prefix("reconnected to node 2 after ");
        let seconds = seconds.and_then(|rest| rest.strip_suffix(" seconds"));
        let seconds: Option<u64> = seconds.and_then(|seconds| seconds.parse().ok());
        assert!(seconds.is_some_and(|seconds| seconds >= 1), "{details}");
    }
    assert_stays(A_WHILE, "two rows, and nothing else", || {
        let others = ["bdr_failover", "bdr_recovery", "repoint_redirect"];
        events(node2, "bdr_reconnect").len() == 2
            && events(node1, "bdr_reconnect").is_empty()
            && others.iter().all(|kind| events(node1, kind).is_empty())
    });
}
