//! The operator's hook gets what repmgr would have given it: every argument, and only once.

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::watching::{DEADLINE, wait_until_served, watched};

/// Each argument in angle brackets, a call a line.
const SCRIPT: &str = "printf '<%s>' \"$@\"\necho\n";

/// What the calls of a hook were given.
fn calls(cluster: &Cluster, log: &str) -> Vec<String> {
    let text = std::fs::read_to_string(cluster.home().path(log)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The hook of repmgr's documentation, and one with the other placeholders.
fn settings(cluster: &Cluster, filter: &str) -> Settings {
    let home = cluster.home();
    let script = home.path("hook.sh");
    home.write(&script, SCRIPT);
    let (script, directory) = (script.display(), home.directory().display());
    let command = format!(
        "sh {script} %n %e %s \"%c\" \"%a\" >> {directory}/usual.log 2>&1; \
         sh {script} %e \"%t\" \"%d\" \"%p\" >> {directory}/further.log 2>&1"
    );
    Settings {
        lines: format!("event_notification_command = '{command}'\n{filter}"),
        ..Settings::default()
    }
}

#[test]
fn failover_and_recovery_call_it_once_each_with_the_arguments_of_repmgr() {
    let cluster = Cluster::builder().poolers(2).start();
    let filter = "event_notifications = [\"bdr_failover\", \"bdr_recovery\"]";
    let daemons = watched(&cluster, &settings(&cluster, filter));
    let [node1, node2] = cluster.nodes();

    node2.kill9();
    wait_until_served(&cluster, 1);
    let failover = format!("<2><bdr_failover><1><{}><node1>", node1.conninfo());
    let logs = || daemons.each_ref().map(Daemon::log).join("\n");
    let what = std::fmt::from_fn(|f| write!(f, "both have dealt with it: {}", logs()));
    wait_until(DEADLINE, what, || {
        let second = |log: String| log.contains("has already been set inactive");
        daemons.iter().any(|daemon| second(daemon.log()))
            && !calls(&cluster, "further.log").is_empty()
    });
    assert_eq!(calls(&cluster, "usual.log").concat(), failover);
    let event = |name: &str, column: &str| {
        node1.query_one_text(&format!(
            "select {column} from repmgr.events where event = '{name}'"
        ))
    };
    wait_until(DEADLINE, "the row", || {
        event("bdr_failover", "count(*)") == "1"
    });
    let timestamp = event("bdr_failover", "event_timestamp");
    let details =
        r#"node "node2" (ID: 2) detected as failed; next available node is "node1" (ID: 1)"#;
    let further = format!("<bdr_failover><{timestamp}><{details}><>");
    assert_eq!(calls(&cluster, "further.log"), [further]);
    assert_eq!(event("bdr_failover", "count(*)"), "1");

    node2.start();
    cluster.hasten_replication();
    wait_until(DEADLINE, "the hook of the recovery", || {
        calls(&cluster, "further.log").len() > 1
    });
    let recovery = format!("<1><bdr_recovery><1><{}><node2>", node2.conninfo());
    assert_eq!(calls(&cluster, "usual.log"), [failover, recovery]);
    let further = &calls(&cluster, "further.log")[1];
    let timestamp = event("bdr_recovery", "event_timestamp");
    let beginning =
        format!(r#"<bdr_recovery><{timestamp}><node "node2" (ID: 2) has recovered after "#);
    assert!(further.starts_with(&beginning), "{further}");
    let (_, lag) = further
        .split_once(" seconds; replication lag ")
        .expect("the lag");
    let ending = r#" bytes to "node1"><>"#;
    assert!(
        lag.contains(r#" bytes to "node2", "#) && lag.ends_with(ending),
        "{lag}"
    );
}

#[test]
fn without_a_filter_the_end_of_the_redirect_calls_it_too() {
    let cluster = Cluster::builder().poolers(1).start();
    let _daemons = watched(&cluster, &settings(&cluster, ""));
    cluster.node2().kill9();
    let conninfo = cluster.node1().conninfo();
    let end = format!("<1><repoint_redirect><1><{conninfo}><node1>");
    wait_until(DEADLINE, &end, || {
        calls(&cluster, "usual.log").contains(&end)
    });
    let mut calls = calls(&cluster, "usual.log");
    // What does not succeed at once is told, too, and tried again.
    let not_yet = format!("<1><repoint_redirect><0><{conninfo}><node1>");
    calls.retain(|call| *call != not_yet);
    let failover = format!("<2><bdr_failover><1><{conninfo}><node1>");
    assert_eq!(calls, [failover, end]);
}

#[test]
fn an_event_that_is_filtered_out_is_recorded_and_calls_nothing() {
    let cluster = Cluster::builder().poolers(1).start();
    // As repmgr writes it; blanks do not matter.
    let filter = "event_notifications = \"bdr_recovery, standby_promote\"";
    let _daemons = watched(&cluster, &settings(&cluster, filter));
    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
    cluster.node2().start();
    cluster.hasten_replication();
    wait_until(DEADLINE, "the hook of the recovery", || {
        !calls(&cluster, "usual.log").is_empty()
    });
    let recovery = format!(
        "<1><bdr_recovery><1><{}><node2>",
        cluster.node2().conninfo()
    );
    assert_eq!(calls(&cluster, "usual.log"), [recovery]);
    let recorded = cluster
        .node1()
        .query_one_text("select count(*) from repmgr.events where event = 'bdr_failover'");
    assert_eq!(recorded, "1");
}
