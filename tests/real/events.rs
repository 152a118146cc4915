//! What `repmgr.events` and the hook are told of a daemon's life and of a failover's real end.

use std::time::{Duration, Instant};

use crate::fixture::{Cluster, Daemon, Node, Row, Settings, wait_until};
use crate::scene::{DEADLINE, events, is_active, start_daemon, start_with, wait_for_events};

/// The limit for the first result, the time in which the agent that takes over looks, and some.
const TAKEN_OVER: Duration = Duration::from_secs(40);
const SENTENCE: &str =
    "node \"node2\" (ID: 2) detected as failed; next available node is \"node1\" (ID: 1)";

/// A hook that appends `line`, with placeholders and variables, to a file of the cluster.
fn hook(cluster: &Cluster, line: &str, further: &str) -> Settings {
    let file = cluster.home().path("told");
    let command = format!("echo \"{line}\" >> {}{further}", file.display());
    Settings {
        lines: format!("event_notification_command = '{command}'"),
        ..Settings::default()
    }
}

fn told(cluster: &Cluster) -> Vec<String> {
    let text = std::fs::read_to_string(cluster.home().path("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Rows about a daemon itself, in order.
fn life(on: &Node) -> Vec<String> {
    let rows = on.try_rows(
        "select node_id || ' ' || event || ' ' || successful || ' ' || details as row \
         from repmgr.events where event like 'repmgrd%' order by event_timestamp",
    );
    let rows = rows.unwrap_or_default();
    rows.into_iter().map(|row| row["row"].clone()).collect()
}

#[test]
fn a_daemon_records_its_start_and_its_end_and_tells_the_hook_of_the_end_alone() {
    let cluster = Cluster::builder().poolers(1).start();
    let node1 = cluster.node1();
    let daemon = start_daemon(&cluster, 1, &hook(&cluster, "%n %e %s <%c> <%a>", ""));
    wait_until(DEADLINE, "the start", || life(node1).len() == 1);
    let version = env!("CARGO_PKG_VERSION");
    let start = format!("1 repmgrd_start true repoint {version}");
    assert_eq!(life(node1).concat(), start);
    // A new configuration is no end and no start.
    let mark = daemon.mark();
    daemon.hup();
    daemon.wait_for_log_after(mark, "monitoring node \"node2\"", DEADLINE);
    assert!(daemon.terminate().success());
    let end = format!("1 repmgrd_shutdown true repoint {version} ends");
    assert_eq!(life(node1), [start, end]);
    assert_eq!(told(&cluster), ["1 repmgrd_shutdown 1 <> <>"]);
}

#[test]
fn a_daemon_whose_node_is_gone_ends_in_time_and_says_so() {
    let cluster = Cluster::builder().poolers(1).first_node(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    for silent in [false, true] {
        let daemon = start_daemon(&cluster, 2, &hook(&cluster, "%n %e", ""));
        match silent {
            false => node2.kill9(),
            true => node2.freeze(),
        }
        daemon.wait_for_log("unable to reconnect to node 2", DEADLINE);
        let (begun, before) = (Instant::now(), life(node1).len());
        assert!(daemon.terminate().success());
        assert!(begun.elapsed() < Duration::from_secs(8), "{}", daemon.log());
        assert_eq!(life(node1).len(), before + 1, "{}", daemon.log());
        let end = told(&cluster).pop();
        assert_eq!(end.as_deref(), Some("2 repmgrd_shutdown"));
        match silent {
            false => node2.start(),
            true => node2.thaw(),
        }
    }
}

#[test]
fn a_failover_without_one_pgbouncer_is_no_success_before_that_one_follows() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, away) = (cluster.node1(), cluster.pooler(2));
    away.stop_sshd();
    let daemon = start_with(&[cluster.pooler(1)], || {
        cluster.daemon(1, &Settings::default())
    });
    daemon.wait_for_log("PgBouncer is not reached", DEADLINE);
    cluster.node2().kill9();
    let first = &wait_for_events(node1, "bdr_failover", 1)[0];
    assert_eq!([&first["node_id"], &first["successful"]], ["2", "f"]);
    let begin = format!("{SENTENCE}; 1 of 2 PgBouncers serve node 1; pgb2: not reached (");
    assert!(first["details"].starts_with(&begin), "{first:?}");
    assert!(!is_active(node1, 2));

    away.start_sshd();
    let rows = wait_for_events(node1, "bdr_failover", 2);
    assert_eq!([&rows[1]["node_id"], &rows[1]["successful"]], ["2", "t"]);
    let all = format!("{SENTENCE}; 2 of 2 PgBouncers serve node 1");
    assert_eq!(rows[1]["details"], all);
}

#[test]
fn a_failover_whose_hook_fails_is_no_success_and_the_hook_was_called_at_once() {
    let cluster = Cluster::builder().poolers(1).start();
    let node1 = cluster.node1();
    let line = "%n %e %s %d <$REPOINT_FAILED_ID $REPOINT_NEXT_ID $REPOINT_REPORTER_ID \
                $REPOINT_GENERATION>";
    let settings = hook(&cluster, line, "; test %e != bdr_failover || exit 3");
    let _daemon = start_daemon(&cluster, 1, &settings);
    cluster.node2().kill9();
    let rows = wait_for_events(node1, "bdr_failover", 1);
    assert_eq!(rows[0]["successful"], "f", "{rows:?}");
    let begin = format!(
        "{SENTENCE}; 1 of 1 PgBouncers serve node 1; \
         event_notification_command ended with exit status 3 after "
    );
    assert!(rows[0]["details"].starts_with(&begin), "{rows:?}");
    let at_once = format!("2 bdr_failover 1 {} <2 1 1 1.1>", SENTENCE.replace('"', ""));
    // The shell's double quotes around the whole line take none of the value's away.
    let told: Vec<String> = told(&cluster).iter().map(|t| t.replace('"', "")).collect();
    assert_eq!(told[0], at_once);
    let ended = wait_for_events(node1, "repoint_notification", 1);
    assert_eq!(ended[0]["successful"], "f", "{ended:?}");
}

#[test]
fn a_hook_that_takes_long_delays_the_row_for_some_seconds_only() {
    let cluster = Cluster::builder().poolers(1).start();
    let node1 = cluster.node1();
    let (go, told) = (cluster.home().path("go"), cluster.home().path("told"));
    let (go_text, told_text) = (go.display(), told.display());
    let wait = format!("echo >> {told_text}; until test -e {go_text}; do sleep 0.1; done");
    let settings = Settings {
        lines: format!(
            "event_notification_command = '{wait}'\nevent_notifications = \"bdr_failover\""
        ),
        ..Settings::default()
    };
    let _daemon = start_daemon(&cluster, 1, &settings);
    cluster.node2().kill9();
    wait_until(DEADLINE, "the hook", || told.exists());
    assert!(!is_active(node1, 2), "at once");
    let rows = wait_for_events(node1, "bdr_failover", 1);
    let end = "; 1 of 1 PgBouncers serve node 1; event_notification_command is still running";
    assert_eq!(rows[0]["details"], format!("{SENTENCE}{end}"));
    assert_eq!(rows[0]["successful"], "f");
    cluster.home().write(&go, "");
    let rows = wait_for_events(node1, "bdr_failover", 2);
    assert_eq!(rows[1]["successful"], "t", "{rows:?}");
}

/// Both daemons; the numbers of the one that has decided, and of the other.
fn both(cluster: &Cluster, settings: &Settings) -> ([Daemon; 2], usize, usize) {
    let daemons = [1, 2].map(|id| {
        let file = cluster.write_config(id, settings, |_| ());
        let poolers: Vec<_> = cluster.poolers().iter().collect();
        start_with(&poolers, || {
            cluster.daemon_with_filter(id, &file, "repoint=debug")
        })
    });
    cluster.node2().kill9();
    let marked = |daemon: &Daemon| daemon.log().contains("setting node record for node 2");
    wait_until(DEADLINE, "a decision", || daemons.iter().any(marked));
    let acting = usize::from(!marked(&daemons[0]));
    (daemons, acting, 1 - acting)
}

fn failovers(on: &Node) -> Vec<Row> {
    events(on, "bdr_failover")
}

#[test]
fn two_agents_write_one_row_together() {
    let cluster = Cluster::builder().poolers(1).start();
    let (daemons, acting, other) = both(&cluster, &Settings::default());
    daemons[other].wait_for_log("has already been set inactive", DEADLINE);
    daemons[other].wait_for_log("the failover is recorded already", TAKEN_OVER);
    let rows = failovers(cluster.node1());
    assert_eq!(rows.len(), 1, "{rows:?}\n{}", daemons[acting].log());
    assert_eq!(rows[0]["successful"], "t", "{rows:?}");
    let redirects = events(cluster.node1(), "repoint_redirect");
    assert_eq!(redirects.len(), 1, "{redirects:?}");
}

#[test]
fn the_row_that_an_agent_did_not_come_to_write_is_written_by_the_other() {
    let cluster = Cluster::builder().poolers(1).start();
    let node1 = cluster.node1();
    let settings = Settings {
        lines: "event_notification_command = 'sleep 60'".to_owned(),
        ..Settings::default()
    };
    let (daemons, acting, _other) = both(&cluster, &settings);
    daemons[acting].kill9();
    assert_eq!(failovers(node1), []);
    wait_until(TAKEN_OVER, "a row", || !failovers(node1).is_empty());
    let rows = failovers(node1);
    let (row, end) = (&rows[0], "; written by the agent that took over");
    assert!(row["details"].starts_with(SENTENCE), "{row:?}");
    assert!(row["details"].ends_with(end), "{row:?}");
    // It finished the redirect, or found it finished.
    let ends = [
        "1 of 1 PgBouncers serve node 1",
        "no PgBouncer points at node 2",
    ];
    let said = |end: &&str| row["details"].contains(*end);
    assert!(ends.iter().any(said), "{row:?}");
    assert_eq!([&row["node_id"], &row["successful"]], ["2", "t"], "{row:?}");
    assert_eq!(rows.len(), 1, "{rows:?}");
}

/// The one that decides is killed with one PgBouncer still missing; the other one finishes.
#[track_caller]
fn finished_by_the_other(exit_status: u32) -> Vec<Row> {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, away) = (cluster.node1(), cluster.pooler(2));
    let settings = Settings {
        lines: format!(
            "event_notification_command = 'test %e != bdr_failover || exit {exit_status}'"
        ),
        ..Settings::default()
    };
    let daemons = [1, 2].map(|id| {
        let file = cluster.write_config(id, &settings, |_| ());
        start_with(&[], || {
            cluster.daemon_with_filter(id, &file, "repoint=debug")
        })
    });
    for daemon in &daemons {
        let reached = || daemon.log().matches("PgBouncer is reached").count();
        wait_until(DEADLINE, "both PgBouncers", || reached() == 2);
    }
    away.stop_sshd();
    cluster.node2().kill9();
    wait_for_events(node1, "bdr_failover", 1);
    let marked = |daemon: &Daemon| daemon.log().contains("setting node record for node 2");
    let acting = daemons.iter().position(marked).expect("one has");
    daemons[acting].kill9();
    let other = &daemons[1 - acting];
    other.wait_for_log("record for node 2 has already been set inactive", DEADLINE);
    away.start_sshd();
    other.wait_for_log("redirect complete", DEADLINE);
    other.wait_for_log("the failover is recorded already", TAKEN_OVER);
    if exit_status == 0 {
        wait_for_events(node1, "bdr_failover", 2);
    } else {
        let mark = "the failover is recorded already";
        wait_until(DEADLINE, "the second look", || {
            other.log().matches(mark).count() == 2
        });
    }
    events(node1, "bdr_failover")
}

#[test]
fn the_success_of_the_agent_that_took_over_is_recorded() {
    let rows = finished_by_the_other(0);
    assert_eq!(
        [&rows[0]["successful"], &rows[1]["successful"]],
        ["f", "t"],
        "{rows:?}"
    );
    let details = format!("{SENTENCE}; 2 of 2 PgBouncers serve node 1");
    assert_eq!(rows[1]["details"], details);
}

#[test]
fn a_hook_that_failed_makes_no_success_of_what_another_agent_finished() {
    let rows = finished_by_the_other(3);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["successful"], "f", "{rows:?}");
}

/// A PgBouncer that stays away keeps the first failover open; that must not hide the next one.
#[test]
fn a_second_failure_while_a_pgbouncer_is_still_away_is_recorded_too() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    cluster.pooler(2).stop_sshd();
    let daemon = start_with(&[cluster.pooler(1)], || {
        cluster.daemon(1, &Settings::default())
    });
    node2.kill9();
    wait_for_events(node1, "bdr_failover", 1);
    node2.start();
    cluster.hasten_replication();
    wait_until(TAKEN_OVER, "a recovery", || is_active(node1, 2));
    daemon.wait_for_log("has recovered after", DEADLINE);
    node2.kill9();
    let rows = wait_for_events(node1, "bdr_failover", 2);
    assert!(!is_active(node1, 2));
    for row in &rows {
        let begin = format!("{SENTENCE}; 1 of 2 PgBouncers serve node 1; pgb2: not reached (");
        assert!(row["details"].starts_with(&begin), "{rows:?}");
        assert_eq!(row["successful"], "f", "{rows:?}");
    }
}

#[test]
fn a_configuration_that_is_read_in_the_middle_leaves_no_row_unwritten() {
    let cluster = Cluster::builder().poolers(1).start();
    let node1 = cluster.node1();
    let settings = Settings {
        lines: "event_notification_command = 'sleep 60'\nevent_notifications = \"bdr_failover\""
            .to_owned(),
        ..Settings::default()
    };
    let file = cluster.write_config(1, &settings, |_| ());
    let daemon = start_with(&[cluster.pooler(1)], || {
        cluster.daemon_with_filter(1, &file, "repoint=debug")
    });
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    daemon.hup();
    let rows = wait_for_events(node1, "bdr_failover", 1);
    let end = "; 1 of 1 PgBouncers serve node 1; event_notification_command is still running";
    assert_eq!(rows[0]["details"], format!("{SENTENCE}{end}"));
    daemon.wait_for_log("the failover is recorded already", TAKEN_OVER);
    let rows = failovers(node1);
    assert_eq!(rows.len(), 1, "{rows:?}");
}
