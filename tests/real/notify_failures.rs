//! What `repoint notify` cannot do, it says, in time and with its exit status.

use std::time::{Duration, Instant};

use crate::fixture::{Cluster, Settings};
use crate::notify::{cluster, configuration, told, wait_for_login_retry};
use crate::watching::serves;

/// What it may take longer than it was told, on a loaded machine.
const SLACK: Duration = Duration::from_secs(2);

struct Called {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Calls `notify` for the failure of node 2; it has to end within its time.
#[track_caller]
fn call(cluster: &Cluster, timeout_seconds: u64) -> Called {
    let (file, timeout) = (configuration(cluster, 1), timeout_seconds.to_string());
    let conninfo = cluster.node1().conninfo();
    let begun = Instant::now();
    let output = cluster.repoint(&[
        "-f",
        &file,
        "notify",
        "2",
        "bdr_failover",
        "1",
        &conninfo,
        "node1",
        "--timeout",
        &timeout,
    ]);
    let took = begun.elapsed();
    let (code, stdout, stderr) = told(&output);
    let limit = Duration::from_secs(timeout_seconds) + SLACK;
    assert!(took < limit, "{took:?}, {stdout}{stderr}");
    Called {
        code,
        stdout,
        stderr,
    }
}

/// One of two is out of reach: the other one is moved, and the message names the first.
#[track_caller]
fn assert_only_pgb1_moves(cluster: &Cluster, reason: &str) {
    let called = call(cluster, 5);
    let lines: Vec<&str> = called.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", called.stdout);
    assert!(
        lines[0].starts_with("pgb1: redirected `app` ("),
        "{}",
        lines[0]
    );
    let beginning = format!("pgb2: NOT redirected: {reason}");
    assert!(lines[1].starts_with(&beginning), "{}", lines[1]);
    assert_eq!(called.code, 1);
    assert_says_what_to_do(&called, 1);
    assert!(serves(cluster, 1, 1));
    wait_for_login_retry(&cluster.poolers()[..1]);
}

/// The last words on standard error.
#[track_caller]
fn assert_says_what_to_do(called: &Called, missing: usize) {
    let last = called.stderr.lines().last().unwrap_or_default();
    let begin = format!("repoint: {missing} of 2 PgBouncers not redirected: pgb");
    assert!(last.starts_with(&begin), "{}", called.stderr);
    let end = "; when the cause is gone, run the same command again, or `repoint notify --again`";
    assert!(last.ends_with(end), "{}", called.stderr);
}

/// The reason is told, and neither file nor PgBouncer has been touched.
#[track_caller]
fn assert_nothing_changes(cluster: &Cluster, timeout_seconds: u64, reason: &str) {
    let state = || {
        let poolers = cluster.poolers().iter();
        poolers
            .map(|pooler| {
                let reloads = pooler.log().matches("RELOAD").count();
                (pooler.file_text(), pooler.served_port("app"), reloads)
            })
            .collect::<Vec<_>>()
    };
    let before = state();
    let called = call(cluster, timeout_seconds);
    assert_eq!((called.code, called.stdout.as_str()), (1, ""));
    let head = "repoint: nothing was changed: ";
    assert!(called.stderr.contains(head), "{}", called.stderr);
    assert!(called.stderr.contains(reason), "{}", called.stderr);
    assert_eq!(before, state());
}

#[test]
fn a_pgbouncer_that_hangs_delays_no_other_and_is_named() {
    let cluster = cluster();
    cluster.node2().kill9();
    cluster.pooler(2).freeze();
    assert_only_pgb1_moves(&cluster, "log in to the admin console at `127.0.0.1`:");
    cluster.pooler(2).thaw();
    assert!(serves(&cluster, 2, 2), "it was not moved");
    // Once it can be reached, the same call moves it.
    let called = call(&cluster, 10);
    assert_eq!(called.code, 0, "{}{}", called.stdout, called.stderr);
    assert!(serves(&cluster, 2, 1));
}

#[test]
fn a_host_that_is_down_delays_no_other_and_is_named() {
    let cluster = cluster();
    cluster.node2().kill9();
    cluster.pooler(2).stop_sshd();
    assert_only_pgb1_moves(&cluster, "connect to `pgb2` by ssh: ");
}

#[test]
fn a_host_that_hangs_delays_no_other_and_is_named() {
    let cluster = cluster();
    cluster.node2().kill9();
    cluster.pooler(2).sshd().freeze();
    assert_only_pgb1_moves(&cluster, "connect to `pgb2` by ssh: ");
    cluster.pooler(2).sshd().thaw();
}

#[test]
fn a_pgbouncer_that_is_down_delays_no_other_and_is_named() {
    let cluster = cluster();
    cluster.node2().kill9();
    cluster.pooler(2).kill9();
    assert_only_pgb1_moves(&cluster, "log in to the admin console at `127.0.0.1`:");
}

/// The conninfo of the failed node allows more time than there is.
#[test]
fn a_node_that_hangs_does_not_take_the_time_of_the_pgbouncers() {
    let cluster = cluster();
    cluster.node2().freeze();
    let file = cluster.write_config(1, &Settings::pausing(), |text| {
        *text = text.replace("connect_timeout=2", "connect_timeout=600");
    });
    let file = file.display().to_string();
    let event = [
        "notify",
        "2",
        "bdr_failover",
        "1",
        "",
        "",
        "--timeout",
        "10",
    ];
    let again = ["notify", "--again", "--timeout", "10"];
    for (words, expected) in [
        (event.as_slice(), "pgb1: redirected `app` ("),
        (&again, "pgb1: left alone: it serves node 1 already\n"),
    ] {
        let begun = Instant::now();
        let arguments = [&["-f", &file], words].concat();
        let (code, stdout, stderr) = told(&cluster.repoint(&arguments));
        assert!(begun.elapsed() < Duration::from_secs(10) + SLACK);
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert!(stdout.starts_with(expected), "{stdout}{stderr}");
    }
    assert!(serves(&cluster, 1, 1) && serves(&cluster, 2, 1));
    cluster.node2().thaw();
    wait_for_login_retry(cluster.poolers());
}

#[test]
fn nobody_is_sent_to_a_node_that_is_not_healthy() {
    let cluster = cluster();
    cluster.node1().kill9();
    let unhealthy = "node \"node1\" (ID: 1) is not healthy: refused";
    assert_nothing_changes(&cluster, 10, unhealthy);
    cluster.node1().start();
    cluster.node1().freeze();
    assert_nothing_changes(&cluster, 10, "node \"node1\" (ID: 1) is not healthy: ");
    assert_nothing_changes(
        &cluster,
        1,
        "--timeout is over before the next node has answered",
    );
    cluster.node1().thaw();
}

#[test]
fn silence_everywhere_ends_in_time_too() {
    let cluster = cluster();
    cluster.node2().freeze();
    for pooler in cluster.poolers() {
        pooler.freeze();
    }
    let called = call(&cluster, 1);
    assert_eq!(called.code, 1);
    assert_says_what_to_do(&called, 2);
    let lines: Vec<&str> = called.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", called.stdout);
    assert!(
        lines.iter().all(|line| line.contains(": NOT redirected")),
        "{lines:?}"
    );
    for pooler in cluster.poolers() {
        pooler.thaw();
    }
}
