//! A PgBouncer stands still, or is started anew, behind each step of its redirect: one of a fleet
//! for each step, in one failover.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, pause, process, rows, wait_until};
use crate::scene::{DEADLINE, assert_serves, wait_for_decision};
use crate::served::{assert_whole_file, leftovers, wait_until_serves};
use crate::staging::staged;
use crate::steps::{daemon_with_steps, signal};

/// From the moment that a PgBouncer answers again.
const SERVES: Duration = Duration::from_secs(8);
/// Longer than a command is waited for, and than a look.
const STANDS: Duration = Duration::from_millis(2500);
/// What is owed of `server_login_retry` is owed for its length, and on record a little longer.
const SETTLED: Duration = Duration::from_secs(15);

/// The step behind which the fault comes, for each PgBouncer by its number.
const STEPS: [&str; 11] = [
    "Stage",
    "Record",
    "Pause",
    "Activate",
    "Reload",
    "ReadBack",
    "Hasten",
    "Resume",
    "PutBack",
    "RecordDebt",
    "Confirm",
];

fn cluster() -> Cluster {
    let lines = "server_login_retry = 2";
    let builder = Cluster::builder().poolers(STEPS.len());
    builder.pooler_lines(lines).start()
}

fn numbered(pooler: &Pooler) -> &'static str {
    STEPS[pooler.number() - 1]
}

/// A daemon that sends `fault` to each PgBouncer once, behind its step; and their numbers.
fn failing(cluster: &Cluster, fault: Signal) -> (Daemon, mpsc::Receiver<usize>) {
    let pids = cluster.poolers().iter();
    let pids = pids.map(|pooler| (pooler.number(), pooler.pid().expect("it runs")));
    let mut pids: BTreeMap<usize, u32> = pids.collect();
    let (tell, told) = mpsc::channel();
    let daemon = daemon_with_steps(cluster, &Settings::pausing(), move |number, step| {
        if STEPS.get(number - 1) == Some(&step)
            && let Some(pid) = pids.remove(&number)
        {
            signal(pid, fault);
            let _nobody_listens_any_more = tell.send(number);
        }
    });
    let staged = || daemon.log().matches("staged the file for").count();
    let what = format_args!("a staged file for each:\n{}", daemon.log());
    wait_until(DEADLINE, what, || staged() >= STEPS.len());
    // Where it has vanished since, and nowhere else, it is staged again in the redirect.
    unstage(cluster.pooler(1));
    (daemon, told)
}

/// Somebody removes what was staged ahead of time.
fn unstage(pooler: &Pooler) {
    let staged = staged(pooler).into_iter();
    let removed = staged.map(|path| std::fs::remove_file(path).expect("it can be removed"));
    assert_eq!(removed.count(), 1);
}

/// What is told in the end is how it ended: each is redirected, and a query has proved it.
#[track_caller]
fn assert_told(daemon: &Daemon) {
    let told = daemon.wait_for_log("redirect complete: 11 of 11", DEADLINE);
    let proofs = told
        .text
        .matches("`app` (a query through it landed on node 1)");
    assert_eq!(proofs.count(), STEPS.len(), "{}", told.text);
    assert!(!told.text.contains("STILL PAUSED"), "{}", told.text);
}

/// Nothing paused, no half file, nothing on record, no SET of ours, and the operator's `timeout`.
#[track_caller]
fn assert_nothing_is_left(pooler: &Pooler, timeout: &str, daemon: &Daemon) {
    let step = numbered(pooler);
    let what = format!("{step}: {:?}\n{}", leftovers(pooler), daemon.log());
    wait_until(SETTLED, what, || leftovers(pooler).is_empty());
    assert_whole_file(pooler);
    assert!(!pooler.paused("app"), "{step}");
    assert_eq!(pooler.config("server_login_retry"), "2", "{step}");
    assert_eq!(
        pooler.config("query_timeout"),
        timeout,
        "{step}:\n{}",
        daemon.log()
    );
}

#[test]
fn a_pgbouncer_that_stands_still_behind_any_step_serves_when_it_goes_on() {
    let cluster = cluster();
    for pooler in cluster.poolers() {
        pooler.admin("SET query_timeout='77'");
    }
    let (daemon, stands) = failing(&cluster, Signal::STOP);
    cluster.node2().kill9();
    for _ in STEPS {
        stands.recv_timeout(DEADLINE).expect("every step comes");
    }
    pause(STANDS);
    cluster.poolers().iter().for_each(Pooler::thaw);
    for pooler in cluster.poolers() {
        wait_until_serves(pooler, cluster.node1(), SERVES);
    }
    for pooler in cluster.poolers() {
        assert_nothing_is_left(pooler, "77", &daemon);
    }
    assert_told(&daemon);
}

#[test]
fn a_pgbouncer_that_is_started_anew_behind_any_step_serves_at_once() {
    let cluster = cluster();
    for pooler in cluster.poolers() {
        pooler.admin("SET query_timeout='77'");
    }
    let (daemon, killed) = failing(&cluster, Signal::KILL);
    cluster.node2().kill9();
    for _ in STEPS {
        let number = killed.recv_timeout(DEADLINE).expect("every step comes");
        let pooler = cluster.pooler(number);
        pooler.kill9();
        pooler.start();
    }
    for pooler in cluster.poolers() {
        wait_until_serves(pooler, cluster.node1(), SERVES);
    }
    for pooler in cluster.poolers() {
        // The restart has undone the operator's SET, and that is what it stays.
        assert_nothing_is_left(pooler, "0", &daemon);
    }
    assert_told(&daemon);
}

#[test]
fn a_console_that_accepts_and_says_nothing_delays_no_other() {
    let cluster = Cluster::builder().poolers(2).start();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = silent.local_addr().expect("it has an address").port();
    let (first, second) = (cluster.pooler(1), cluster.pooler(2));
    let file = cluster.write_config(1, &Settings::pausing(), |toml| {
        let console = format!("host=127.0.0.1 port={port} user=admin dbname=pgbouncer");
        *toml = toml.replace(&first.console(), &console);
    });
    let daemons = [cluster.daemon_with_file(1, &file, |_| ())];
    for node in ["node1", "node2"] {
        daemons[0].wait_for_log(&format!("monitoring node \"{node}\""), DEADLINE);
    }
    let away = daemons[0].wait_for_log("PgBouncer is not reached", DEADLINE);
    let place = format!("log in to the admin console at `127.0.0.1`:{port}");
    assert!(away.text.contains(&place), "{}", away.text);
    daemons[0].wait_for_log("is reached pgbouncer=\"pgb2\"", DEADLINE);
    let before = first.file_text();

    cluster.node2().kill9();
    let decided = wait_for_decision(&daemons);
    assert_serves(second, cluster.node1());
    let took = decided.elapsed().expect("it is over");
    assert!(
        took < Duration::from_secs(3),
        "{took:?}\n{}",
        daemons[0].log()
    );
    assert_eq!(first.file_text(), before);
    assert!(!first.paused("app"));
    daemons[0].wait_for_log("redirect not complete", DEADLINE);
}

/// The `ssh` of a session stands still here, and then the console does not let anybody in.
#[test]
fn an_ssh_that_stands_still_when_its_session_is_given_up_delays_no_other_pgbouncer() {
    let cluster = Cluster::builder().poolers(2).start();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = silent.local_addr().expect("it has an address").port();
    let (first, second) = (cluster.pooler(1), cluster.pooler(2));
    let file = cluster.write_config(1, &Settings::pausing(), |toml| {
        let console = format!("host=127.0.0.1 port={port} user=admin dbname=pgbouncer");
        *toml = toml.replace(&first.console(), &console);
    });
    let daemons = [cluster.daemon_with_file(1, &file, |_| ())];
    // The session is open by then.
    let _silence = silent.accept().expect("a login");
    let sockets = format!("d1/run/{}/0/", daemons[0].pid());
    let ssh = process::belonging_to(&cluster.directory().join(sockets));
    assert!(!ssh.is_empty());
    for pid in ssh {
        process::signal(pid, Signal::STOP);
    }
    let away = daemons[0].wait_for_log("PgBouncer is not reached", DEADLINE);
    assert!(away.text.contains("pgb1"), "{}", away.text);

    cluster.node2().kill9();
    let decided = wait_for_decision(&daemons);
    assert_serves(second, cluster.node1());
    let took = decided.elapsed().expect("it is over");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// The backend of a transaction stands still while the server is gone: new connections are refused,
/// and this one never ends.
#[test]
fn a_pause_that_is_never_answered_holds_up_nobody() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let daemons = [daemon_with_steps(&cluster, &Settings::pausing(), |_, _| ())];
    pooler.admin("SET query_timeout='77'");
    let mut client = pooler.client("app");
    client.simple_query("begin").expect("a transaction");
    let of_app = "select pid from pg_stat_activity where usename = 'app' and state like 'idle in%'";
    let backend: u32 = node2.query_one_text(of_app).parse().expect("a number");
    signal(backend, Signal::STOP);
    signal(node2.pid().expect("it runs"), Signal::KILL);

    let decided = wait_for_decision(&daemons);
    assert_serves(pooler, node1);
    let took = decided.elapsed().expect("it is over");
    assert!(
        took < Duration::from_secs(3),
        "{took:?}\n{}",
        daemons[0].log()
    );
    daemons[0].wait_for_log("fault=crash", DEADLINE);
    daemons[0].wait_for_log("redirect complete", DEADLINE);
    daemons[0].wait_for_log("its answer was not waited for", DEADLINE);
    assert!(process::is_alive(backend), "the transaction is still there");
    assert!(!pooler.paused("app"));
    assert_eq!(pooler.config("query_timeout"), "77");
    // Its clients wait for it, and are served as soon as it is gone.
    signal(backend, Signal::KILL);
    client
        .simple_query("select 1")
        .expect_err("it was lost with its node");
    wait_until_serves(pooler, node1, SERVES);
    let alive = rows(&pooler.conninfo("app"), "select 1", DEADLINE);
    alive.expect("the user is served");
}
