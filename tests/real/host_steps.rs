//! The host of a PgBouncer falls away at each step of a redirect: nothing stays paused, no file is
//! half, and what the daemon says of it is true.

use std::path::PathBuf;
use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, wait_until};
use crate::host_lost::kill_shells;
use crate::served::{assert_whole_file, leftovers, wait_until_serves};

const DEADLINE: Duration = Duration::from_secs(60);

/// The lock is taken first in each step, and what lies beside the file tells which step it is: the
/// file is staged ahead of time; the redirect begins with its record; what was staged has vanished
/// when the redirect wants to put it in place, so that it is staged now, with clients paused; it is
/// put in place; what is owed is put on record anew.
const STEPS: [&str; 5] = ["ahead", "record", "stage", "activate", "afterwards"];

/// What is told of each.
const ENDS: [&str; 5] = [
    // Nothing was tried yet, so nothing failed.
    "WARN PgBouncer is not reached",
    "WARN failed, nothing changed: ",
    "WARN failed, nothing changed: ",
    "WARN failed, how far it came is not known",
    // What is lost afterwards is told, but the redirect has done its work.
    "INFO redirected `app`",
];

/// And why, when the end of the way is noticed.
const LOST: [&str; 5] = [
    "stage on `pgb1`: ",
    "record on `pgb2`: ",
    "stage on `pgb3`: ",
    "activate on `pgb4`: ",
    " on `pgb5`: ",
];

/// And why, when there is only silence: once clients are paused, it is not waited for long.
const SILENT: [&str; 5] = [
    "stage on `pgb1`: no answer",
    "record on `pgb2`: no answer",
    "the host did not answer within the 2 s that clients may be paused",
    "the host did not answer within the 2 s that clients may be paused",
    " on `pgb5`: ",
];

/// A stand-in for `flock`, which waits once for somebody to let go of it when its host is at the
/// step that is named in `stop_at`. Everything else is the real one's. The switch, which takes the
/// same lock, is no step.
const STANDIN: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 1
if grep -q repoint-switch "/proc/$PPID/cmdline"; then exec flock.real "$@"; fi
conf=../conf
staged=no
for file in "$conf"/.databases.ini.repoint-staged-*; do [ -e "$file" ] && staged=yes; done
read -r line <"$conf/databases.ini"
operation=none
[ -e "$conf/.databases.ini.repoint-operation" ] && operation=recorded
case $operation,$staged,$line in
*,';repoint v1'*) step=afterwards ;;
none,no,*) step=ahead ;;
none,yes,*) step=record ;;
recorded,no,*) step=stage ;;
recorded,yes,*) step=activate ;;
esac
stop_at=$(cat stop_at 2>/dev/null)
if [ "$stop_at,$step" = stage,activate ] && mkdir vanished 2>/dev/null; then
    rm -f "$conf"/.databases.ini.repoint-staged-*
fi
if [ "$step" = "$stop_at" ] && mkdir stopped 2>/dev/null; then
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
/// Each outcome tells its reason.
fn at_each_step(fall: fn(&Pooler), back: fn(&Pooler), reasons: [&str; 5]) {
    let cluster = Cluster::builder().poolers(STEPS.len()).start();
    for (pooler, step) in cluster.poolers().iter().zip(STEPS) {
        stop_at(&cluster, pooler, step);
    }
    let daemon = cluster.daemon(1, &Settings::pausing());
    let stopped = |pooler: &Pooler| bin(pooler).join("stopped").exists();
    for (pooler, step) in cluster.poolers().iter().zip(STEPS) {
        let ready = || match step {
            "ahead" => stopped(pooler),
            _ => is_staged(pooler),
        };
        wait_until(DEADLINE, format_args!("a file ahead, {step}"), ready);
    }
    cluster.node2().kill9();
    std::thread::scope(|scope| {
        for (pooler, step) in cluster.poolers().iter().zip(STEPS) {
            let daemon = &daemon;
            scope.spawn(move || {
                wait_until(DEADLINE, format_args!("the step {step}"), || {
                    stopped(pooler)
                });
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
    daemon.wait_for_log("redirect complete: 5 of 5", DEADLINE);
    for ((pooler, end), reason) in cluster.poolers().iter().zip(ENDS).zip(reasons) {
        let told = outcome(&daemon, pooler).expect("it was waited for");
        assert!(told.contains(end) && told.contains(reason), "{told}");
    }
}

fn is_staged(pooler: &Pooler) -> bool {
    let directory = pooler.file().with_file_name("");
    let entries = std::fs::read_dir(directory).expect("the directory can be read");
    let mut names = entries.map(|entry| entry.expect("an entry").file_name());
    names.any(|name| name.to_string_lossy().contains(".repoint-staged-"))
}

/// The first line about what became of a redirect, or of the way to a host.
fn outcome(daemon: &Daemon, pooler: &Pooler) -> Option<String> {
    let name = format!("pgbouncer={:?}", pooler.name());
    let lines = daemon.lines().into_iter().map(|line| line.text);
    let mut own = lines.filter(|line| line.contains(&name));
    let told = [
        "WARN failed",
        "INFO redirected",
        "WARN PgBouncer is not reached",
    ];
    own.find(|line| told.iter().any(|told| line.contains(told)))
}

#[test]
fn the_shell_on_the_host_is_killed_at_each_step_of_a_redirect() {
    at_each_step(|pooler| kill_shells(&pooler.file()), |_| (), LOST);
}

#[test]
fn sshd_and_its_sessions_are_killed_at_each_step_of_a_redirect() {
    at_each_step(Pooler::stop_sshd, Pooler::start_sshd, LOST);
}

#[test]
fn the_sessions_are_stopped_at_each_step_of_a_redirect() {
    let freeze = |pooler: &Pooler| pooler.sshd().freeze();
    let thaw = |pooler: &Pooler| pooler.sshd().thaw();
    at_each_step(freeze, thaw, SILENT);
}
