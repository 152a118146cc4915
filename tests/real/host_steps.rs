//! The host of a PgBouncer falls away at each step of a redirect: nothing stays paused, no file is
//! half, and what the daemon says of it is true.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, process, wait_until};
use crate::host_lost::shells;
use crate::served::{assert_whole_file, leftovers, wait_until_serves};

const DEADLINE: Duration = Duration::from_secs(60);

/// The lock is taken first in each step, and what lies beside the file tells which step it is.
const STEPS: [&str; 4] = ["stage", "record", "activate", "afterwards"];

/// A stand-in for `flock`, which waits once for somebody to let go of it when its host is at the
/// step that is named in `stop_at`. Everything else is the real one's.
const STANDIN: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 1
conf=../conf
step=stage
for staged in "$conf"/.databases.ini.repoint-staged-*; do [ -e "$staged" ] && step=record; done
if [ -e "$conf/.databases.ini.repoint-operation" ]; then
    step=activate
    read -r line <"$conf/databases.ini"
    case $line in ';repoint v1'*) step=afterwards ;; esac
fi
if [ "$step" = "$(cat stop_at)" ] && mkdir stopped 2>/dev/null; then
    while [ -e stop_at ]; do sleep 0.02; done
fi
exec flock.real "$@"
"#;

/// Where the stand-in of a PgBouncer's host is.
fn bin(pooler: &Pooler) -> PathBuf {
    pooler.socket_dir().join("bin")
}

/// The host stops at a step from now on.
fn stop_at(cluster: &Cluster, pooler: &Pooler, step: &str) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (bin, home) = (bin(pooler), cluster.home());
    home.create_directory(&bin);
    let flock = bin.join("flock");
    home.write(&flock, STANDIN);
    let permissions = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&flock, permissions).expect("the mode can be changed");
    symlink("/usr/bin/flock", bin.join("flock.real")).expect("a link");
    home.write(&bin.join("stop_at"), step);
    let path = std::env::var("PATH").unwrap_or_default();
    pooler.sshd().set_path(&format!("{}:{path}", bin.display()));
}

/// One PgBouncer for each step, whose host falls away when it is there, and comes back later.
fn at_each_step(fall: fn(&Pooler), back: fn(&Pooler)) {
    let cluster = Cluster::builder().poolers(STEPS.len()).start();
    for (pooler, step) in cluster.poolers().iter().zip(STEPS) {
        stop_at(&cluster, pooler, step);
    }
    let daemon = cluster.daemon(1, &Settings::default());
    for pooler in cluster.poolers() {
        let name = pooler.name();
        let reached = || {
            let lines = daemon.lines().into_iter().map(|line| line.text);
            let mut lines = lines.filter(|line| line.contains("PgBouncer is reached"));
            lines.any(|line| line.contains(&format!("{name:?}")))
        };
        wait_until(DEADLINE, format_args!("{name} is reached"), reached);
    }
    cluster.node2().kill9();
    std::thread::scope(|scope| {
        for (pooler, step) in cluster.poolers().iter().zip(STEPS) {
            let daemon = &daemon;
            scope.spawn(move || {
                let stopped = || bin(pooler).join("stopped").exists();
                wait_until(DEADLINE, format_args!("the step {step}"), stopped);
                fall(pooler);
                let told = || outcome(daemon, pooler).is_some();
                wait_until(DEADLINE, format_args!("an outcome, {step}"), told);
                let free = || !pooler.paused("app");
                wait_until(DEADLINE, format_args!("no pause, {step}"), free);
                std::fs::remove_file(bin(pooler).join("stop_at")).expect("it is there");
                back(pooler);
            });
        }
    });
    for (pooler, step) in cluster.poolers().iter().zip(STEPS) {
        wait_until_serves(pooler, cluster.node1(), DEADLINE);
        assert_whole_file(pooler);
        let what = format!("nothing beside the file, {step}:\n{}", daemon.log());
        wait_until(DEADLINE, what, || leftovers(pooler).is_empty());
        assert!(!pooler.paused("app"), "{step}");
    }
    daemon.wait_for_log("redirect complete: 4 of 4", DEADLINE);
    assert_truth(&cluster, &daemon);
}

/// The first line about what became of a redirect.
fn outcome(daemon: &Daemon, pooler: &Pooler) -> Option<String> {
    let name = format!("pgbouncer={:?}", pooler.name());
    let lines = daemon.lines().into_iter().map(|line| line.text);
    let mut own = lines.filter(|line| line.contains(&name));
    own.find(|line| line.contains("WARN failed") || line.contains("INFO redirected"))
}

fn assert_truth(cluster: &Cluster, daemon: &Daemon) {
    let expected = [
        ["WARN failed, nothing changed: ", "stage on `pgb1`: "],
        ["WARN failed, nothing changed: ", "record on `pgb2`: "],
        [
            "WARN failed, how far it came is not known",
            "activate on `pgb3`: ",
        ],
        // What is lost afterwards is told, but the redirect has done its work.
        ["INFO redirected `app`", " on `pgb4`: "],
    ];
    for (pooler, expected) in cluster.poolers().iter().zip(expected) {
        let told = outcome(daemon, pooler).expect("it was waited for");
        assert!(expected.iter().all(|part| told.contains(part)), "{told}");
    }
}

#[test]
fn the_shell_on_the_host_is_killed_at_each_step_of_a_redirect() {
    let kill = |pooler: &Pooler| {
        for pid in shells(&pooler.file()) {
            process::signal(pid, Signal::KILL);
        }
    };
    at_each_step(kill, |_| ());
}

#[test]
fn sshd_and_its_sessions_are_killed_at_each_step_of_a_redirect() {
    at_each_step(Pooler::stop_sshd, Pooler::start_sshd);
}

#[test]
fn the_sessions_are_stopped_at_each_step_of_a_redirect() {
    at_each_step(
        |pooler| pooler.sshd().freeze(),
        |pooler| pooler.sshd().thaw(),
    );
}
