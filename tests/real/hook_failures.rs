//! A hook that hangs or fails delays nothing, and people are told.

use crate::fixture::{Cluster, Row, Settings, process, wait_until};
use crate::watching::{DEADLINE, wait_until_served, watched};

fn settings(command: &str, timeout: &str) -> Settings {
    Settings {
        lines: format!(
            "event_notification_command = '{command}'\nevent_notification_timeout = \"{timeout}\""
        ),
        ..Settings::default()
    }
}

/// The rows about ends of hooks, in order.
fn notifications(cluster: &Cluster) -> Vec<Row> {
    let rows = cluster.node1().try_rows(
        "select successful, details from repmgr.events where event = 'repoint_notification' \
         order by event_timestamp",
    );
    rows.unwrap_or_default()
}

#[test]
fn fault_14_a_hook_that_never_ends_delays_neither_the_redirect_nor_the_monitoring() {
    let cluster = Cluster::builder().poolers(2).start();
    let (script, pids) = (cluster.home().path("hang.sh"), cluster.home().path("pids"));
    let file = pids.display();
    let text = format!("sleep 1000 &\necho $! >> {file}\necho $$ >> {file}\nsleep 1000\n");
    cluster.home().write(&script, &text);
    let command = format!("sh {} %e", script.display());
    let daemons = watched(&cluster, &settings(&command, "5s"));

    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
    let late = "did not end within 5 s and was ended";
    let lines = |needle: &str| {
        let lines = daemons.iter().flat_map(|daemon| daemon.lines());
        lines
            .filter(|line| line.text.contains(needle))
            .min_by_key(|line| line.instant)
    };
    wait_until(DEADLINE, "the time-out in the log", || {
        lines(late).is_some()
    });
    let complete = lines("redirect complete").expect("it is complete by now");
    let timed_out = lines(late).expect("it is there");
    assert!(
        complete.instant < timed_out.instant,
        "the hook was waited for"
    );
    assert!(timed_out.text.contains("WARN"), "{}", timed_out.text);

    wait_until(DEADLINE, "the time-out as an event", || {
        notifications(&cluster).iter().any(|row| {
            let details = format!("event_notification_command for bdr_failover {late}");
            row["successful"] == "f" && row["details"] == details
        })
    });
    let started = || -> Vec<u32> {
        let text = std::fs::read_to_string(&pids).expect("the hook has run");
        text.lines()
            .map(|pid| pid.parse().expect("a number"))
            .collect()
    };
    assert!(started().len() >= 2);
    // The hook of `repoint_redirect` hangs now, and so will that of the recovery.
    cluster.node2().start();
    cluster.hasten_replication();
    wait_until(DEADLINE, "recovery", || {
        lines("has recovered after").is_some()
    });
    for daemon in &daemons {
        daemon.terminate();
    }
    wait_until(DEADLINE, "no process of a hook is left", || {
        !started().iter().any(|&pid| process::is_alive(pid))
    });
}

#[test]
fn fault_14_the_exit_status_is_logged_and_recorded() {
    let cluster = Cluster::builder().poolers(1).start();
    let daemons = watched(
        &cluster,
        &settings("test %e != bdr_failover || exit 3", "10s"),
    );
    cluster.node2().kill9();
    wait_until(DEADLINE, "two rows", || notifications(&cluster).len() > 1);
    let rows = notifications(&cluster);
    for (row, successful, beginning) in [
        (
            &rows[0],
            "f",
            "event_notification_command for bdr_failover ended with exit status 3 after 0.",
        ),
        (
            &rows[1],
            "t",
            "event_notification_command for repoint_redirect ended with exit status 0 after 0.",
        ),
    ] {
        assert_eq!(row["successful"], successful, "{row:?}");
        assert!(row["details"].starts_with(beginning), "{row:?}");
    }
    let log: String = daemons.iter().map(|daemon| daemon.log()).collect();
    let line = |needle: &str| {
        let found = log.lines().find(|line| line.contains(needle));
        found.unwrap_or_else(|| panic!("no {needle} in {log}"))
    };
    assert!(line("ended with exit status 3").contains(" WARN "), "{log}");
    assert!(
        line("ended with exit status 3").contains("event=\"bdr_failover\""),
        "{log}"
    );
    assert!(line("ended with exit status 0").contains(" INFO "), "{log}");
}

#[test]
fn a_hook_that_is_not_there_is_told_from_the_others() {
    let cluster = Cluster::builder().poolers(1).start();
    let _daemons = watched(&cluster, &settings("/no/such/script %n", "10s"));
    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
    wait_until(DEADLINE, "a row", || {
        notifications(&cluster)
            .iter()
            .any(|row| row["successful"] == "f" && row["details"].contains("exit status 127"))
    });
}
