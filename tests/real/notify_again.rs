//! `repoint notify --again`: finishes what an event left undone, and does nothing when it is not
//! certain what that is.

use std::time::Duration;

use crate::fixture::{Cluster, Pooler, Streaming, wait_until};
use crate::notify::{cluster as pair, configuration, told};
use crate::notify_promotion::{assert_refused, state};
use crate::watching::{DEADLINE, serves};

fn again(cluster: &Streaming, host: usize) -> (i32, String, String) {
    told(&cluster.repoint(host, &["notify", "--again", "--timeout", "20"]))
}

#[test]
fn a_primary_that_no_event_told_of_is_found_and_later_nothing_is_left_to_do() {
    let cluster = Streaming::start(2);
    let before = state(&cluster);
    for host in [1, 2] {
        let (code, stdout, stderr) = again(&cluster, host);
        let all_is_well = "pgb1: left alone: it serves node 1 already\n\
                           pgb2: left alone: it serves node 1 already\n";
        assert_eq!((code, stdout.as_str()), (0, all_is_well), "{stderr}");
    }
    assert_eq!(before, state(&cluster));

    cluster.node(1).kill9();
    let nobody = "no node is a writable primary: node \"node1\" (ID: 1) cannot be asked: refused";
    assert_refused(&cluster, || again(&cluster, 2), nobody);

    cluster.node(2).promote(cluster.node(1));
    let (code, stdout, stderr) = again(&cluster, 2);
    assert_eq!(code, 0, "{stdout}{stderr}");
    cluster.assert_writes_reach(2);
    let before = state(&cluster);
    let (code, stdout, stderr) = again(&cluster, 2);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(
        stdout
            .matches("left alone: it serves node 2 already")
            .count(),
        2
    );
    assert_eq!(before, state(&cluster));

    cluster.node(1).start();
    let two = "more than one node is a primary: node \"node1\" (ID: 1) on timeline 1, \
               node \"node2\" (ID: 2) on timeline 2; stop or rejoin the one that is not meant";
    for host in [1, 2] {
        assert_refused(&cluster, || again(&cluster, host), two);
    }
}

#[test]
fn a_pgbouncer_that_was_away_during_the_promotion_is_moved_when_it_is_back() {
    let cluster = Streaming::start(2);
    cluster.node(1).kill9();
    cluster.node(2).promote(cluster.node(1));
    let away: &Pooler = &cluster.poolers()[1];
    away.kill9();
    let event = [
        "notify",
        "2",
        "standby_promote",
        "1",
        "",
        "",
        "--timeout",
        "12",
    ];
    let (code, stdout, stderr) = told(&cluster.repoint(2, &event));
    assert_eq!(code, 1, "{stdout}{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    let words = "repoint: 1 of 2 PgBouncers not redirected: pgb2: log in to the admin console at ";
    assert!(last.starts_with(words), "{stderr}");
    assert!(last.ends_with("or `repoint notify --again`"), "{stderr}");

    away.start();
    assert!(cluster.serves(away, 1), "its file is the old one");
    let (code, stdout, stderr) = again(&cluster, 2);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(
        stdout.starts_with("pgb1: left alone: it serves node 2 already\n"),
        "{stdout}"
    );
    cluster.assert_writes_reach(2);
}

#[test]
fn an_old_primary_that_cannot_see_the_new_one_gets_nobody_back() {
    let cluster = Streaming::start(2);
    cluster.node(2).promote(cluster.node(1));
    let event = ["notify", "2", "standby_promote", "1"];
    let (code, stdout, stderr) = told(&cluster.repoint(2, &event));
    assert_eq!(code, 0, "{stdout}{stderr}");
    // As from a host that is cut off from the new primary, but not from the PgBouncers.
    cluster.node(2).freeze();
    let words = "pgb1 serves node 2, which cannot be asked, and which node 1 takes for an active \
                 one: it may be the primary";
    assert_refused(&cluster, || again(&cluster, 1), words);
    cluster.node(2).thaw();
}

fn again_on(cluster: &Cluster, file: &str) -> (i32, String, String) {
    told(&cluster.repoint(&["-f", file, "notify", "--again", "--timeout", "20"]))
}

#[test]
fn of_a_pair_only_what_was_decided_is_finished() {
    let cluster = pair();
    let file = configuration(&cluster, 1);
    let (code, stdout, stderr) = again_on(&cluster, &file);
    let all_is_well = "pgb1: left alone: it serves node 2 already\n\
                       pgb2: left alone: it serves node 2 already\n";
    assert_eq!((code, stdout.as_str()), (0, all_is_well), "{stderr}");

    cluster.node2().kill9();
    let (code, stdout, stderr) = again_on(&cluster, &file);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let words = "nothing was changed: node 2 does not answer, but nobody has decided to leave it";
    assert!(stderr.contains(words), "{stderr}");
    assert!(serves(&cluster, 1, 2) && serves(&cluster, 2, 2));

    cluster.pooler(2).stop_sshd();
    let event = [
        "-f",
        &file,
        "notify",
        "2",
        "bdr_failover",
        "1",
        "",
        "",
        "--timeout",
        "12",
    ];
    let (code, stdout, stderr) = told(&cluster.repoint(&event));
    assert_eq!(code, 1, "{stdout}{stderr}");
    cluster.pooler(2).start_sshd();
    let (code, stdout, stderr) = again_on(&cluster, &file);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(
        stdout.contains("pgb1: left alone: it serves node 1 already\n"),
        "{stdout}"
    );
    assert!(serves(&cluster, 1, 1) && serves(&cluster, 2, 1));

    cluster.node1().kill9();
    let (code, stdout, stderr) = again_on(&cluster, &file);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(
        stderr.contains("nothing was changed: no node is healthy: "),
        "{stderr}"
    );
}

#[test]
fn what_a_killed_notify_left_behind_is_cleared_up() {
    let cluster = Streaming::start(2);
    let pooler = &cluster.poolers()[0];
    let directory = pooler.file().parent().expect("a directory").to_owned();
    let record = directory.join(".databases.ini.repoint-operation");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let debt = "{\"paused\":[\"app\"],\"settings\":[{\"server_login_retry\":\"2\"}]}";
    pooler.admin("PAUSE app");
    pooler.admin("SET server_login_retry='0.02'");
    cluster
        .home()
        .write(&record, &format!("2-1-1-1 {} 1 {debt}\n", boot.trim()));
    let (code, stdout, stderr) = again(&cluster, 1);
    assert_eq!(code, 0, "{stdout}{stderr}");
    wait_until(DEADLINE, "a pause that ends", || !pooler.paused("app"));
    // Until every pool that failed before has had the time to try again.
    assert_eq!(pooler.config("server_login_retry"), "0.02");
    wait_until(DEADLINE, "server_login_retry as it was", || {
        pooler.config("server_login_retry") == "2" && !record.exists()
    });
    let rows = pooler.try_rows("app", "select 1", Duration::from_secs(5));
    rows.expect("a client gets through");
}

#[test]
fn a_pause_of_a_redirect_that_was_just_killed_is_waited_for_or_told() {
    let cluster = pair();
    let (pooler, file) = (cluster.pooler(1), configuration(&cluster, 1));
    let directory = pooler.file().parent().expect("a directory").to_owned();
    let record = directory.join(".databases.ini.repoint-operation");
    let kernel = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).expect("Linux");
    let boot = kernel("sys/kernel/random/boot_id");
    let uptime = kernel("uptime");
    let now: u64 = uptime
        .split('.')
        .next()
        .and_then(|secs| secs.parse().ok())
        .expect("seconds");
    let leave = |seconds: u64| {
        let (boot, expires) = (boot.trim(), now + seconds);
        let debt = "{\"paused\":[\"app\"],\"settings\":[{\"server_login_retry\":\"1\"}]}";
        let line = format!("2-1-1-1 {boot} {expires} {debt}\n");
        cluster.home().write(&record, &line);
    };
    pooler.admin("PAUSE app");
    leave(3600);
    let arguments = ["-f", &file, "notify", "--again", "--timeout", "4"];
    let (code, stdout, stderr) = told(&cluster.repoint(&arguments));
    let left_alone = "pgb2: left alone: it serves node 2 already\n";
    assert_eq!((code, stdout.as_str()), (1, left_alone), "{stderr}");
    let words = "1 of 2 PgBouncers are not known to serve a node: pgb1: paused by a redirect";
    assert!(stderr.contains(words), "{stderr}");
    assert!(pooler.paused("app"), "that one may still be at work");

    leave(0);
    let (code, stdout, stderr) = again_on(&cluster, &file);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(!pooler.paused("app"), "{stdout}{stderr}");
}
