//! `repoint notify` in place of `bdr-pgbouncer.sh`: called by repmgrd, without any daemon.

use std::process::Output;
use std::time::Duration;

use crate::fixture::{Cluster, Console, Pooler, Settings, process, wait_until};
use crate::watching::{DEADLINE, serves};

/// More than the time limit that `notify` has by itself.
const ENDS_BY_ITSELF: Duration = Duration::from_secs(40);

/// With a `server_login_retry` that is over soon: it is set again some seconds after `notify`.
pub(crate) fn cluster() -> Cluster {
    let lines = "server_login_retry = 1";
    Cluster::builder().poolers(2).pooler_lines(lines).start()
}

/// By a process of its own, which `notify` leaves behind.
#[track_caller]
pub(crate) fn wait_for_login_retry(poolers: &[Pooler]) {
    for pooler in poolers {
        let what = format!("server_login_retry of {}", pooler.name());
        wait_until(DEADLINE, what, || {
            pooler.config("server_login_retry") == "1"
        });
    }
}

/// The name of the configuration for the host of a node.
pub(crate) fn configuration(cluster: &Cluster, node_id: u32) -> String {
    let file = cluster.write_config(node_id, &Settings::default(), |_| ());
    file.display().to_string()
}

/// Exit status, standard output and standard error.
pub(crate) fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("it ended by itself");
    (code, text(&output.stdout), text(&output.stderr))
}

/// Numbers of milliseconds replaced, because they differ.
pub(crate) fn without_times(text: &str) -> String {
    let words: Vec<&str> = text.split_inclusive([' ', '\n']).collect();
    let is_time = |index: usize| words.get(index + 1).is_some_and(|next| next.trim() == "ms");
    let word = |(index, word): (usize, &&str)| match is_time(index) {
        true => "N ".to_owned(),
        false => (*word).to_owned(),
    };
    words.iter().enumerate().map(word).collect()
}

#[test]
fn the_documented_line_moves_every_pgbouncer_and_says_so() {
    let cluster = cluster();
    let file = configuration(&cluster, 1);
    cluster.node2().kill9();
    // What repmgrd makes of: repoint -f FILE notify %n %e %s "%c" "%a"
    let line = format!(
        "{} -f {file} notify 2 bdr_failover 1 \"{}\" \"node1\"",
        cluster.repoint_path().display(),
        cluster.node1().conninfo()
    );
    let call = || {
        let mut shell = cluster.home().command("/bin/sh".as_ref());
        told(&process::run(shell.args(["-c", &line]), "", ENDS_BY_ITSELF))
    };
    let (code, stdout, stderr) = call();
    assert_eq!(
        without_times(&stdout),
        "\
pgb1: redirected `app` (a query through it landed on node 1) in N ms
pgb2: redirected `app` (a query through it landed on node 1) in N ms
",
        "{stderr}"
    );
    assert_eq!(code, 0, "{stderr}");
    for pooler in cluster.poolers() {
        assert!(serves(&cluster, pooler.number(), 1));
        let rows = pooler.try_rows("app", "select 1", Duration::from_secs(5));
        rows.expect("a client gets through");
    }

    let files = || cluster.poolers().iter().map(|pooler| pooler.file_text());
    let before: Vec<String> = files().collect();
    let (code, stdout, stderr) = call();
    assert_eq!(
        stdout,
        "pgb1: left alone: it serves node 1 already\n\
         pgb2: left alone: it serves node 1 already\n",
        "{stderr}"
    );
    assert_eq!(code, 0);
    assert_eq!(
        before,
        files().collect::<Vec<_>>(),
        "the files were touched"
    );
    wait_for_login_retry(cluster.poolers());
}

#[test]
fn repmgrd_is_not_kept_waiting_for_server_login_retry_which_is_set_again_later() {
    let lines = "server_login_retry = 5";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let file = configuration(&cluster, 1);
    let pooler = cluster.pooler(1);
    cluster.node2().kill9();
    let output = cluster.repoint(&["-f", &file, "notify", "2", "bdr_failover", "1"]);
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(
        pooler.config("server_login_retry"),
        "0.02",
        "notify has ended before"
    );
    let record = pooler
        .file()
        .with_file_name(".databases.ini.repoint-operation");
    assert!(record.exists(), "what is owed is on record");
    wait_until(DEADLINE, "server_login_retry as it was", || {
        pooler.config("server_login_retry") == "5" && !record.exists()
    });
}

#[test]
fn what_repmgr_leaves_empty_comes_from_the_configuration() {
    let cluster = cluster();
    let settings = Settings {
        console: Console::Socket,
        ..Settings::default()
    };
    let file = cluster.write_config(1, &settings, |_| ());
    let file = file.display().to_string();
    // A node that does not answer at all: the host is lost, or the network to it.
    cluster.node2().freeze();
    let output = cluster.repoint(&["-f", &file, "notify", "2", "bdr_failover", "1", "", ""]);
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(
        stdout.matches(": redirected `app` (").count(),
        2,
        "{stdout}"
    );
    assert!(serves(&cluster, 1, 1) && serves(&cluster, 2, 1));
}

#[test]
fn a_node_that_only_repmgrd_cannot_reach_is_left_all_the_same() {
    let cluster = cluster();
    let file = configuration(&cluster, 1);
    let output = cluster.repoint(&["-f", &file, "notify", "2", "bdr_failover", "1"]);
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let first = stdout.lines().next();
    assert_eq!(
        first,
        Some(
            "note: node \"node2\" (ID: 2) answers this host; \
             going on, because repmgrd says so"
        )
    );
    assert!(serves(&cluster, 1, 1) && serves(&cluster, 2, 1));
}
