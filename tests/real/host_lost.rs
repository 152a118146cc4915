//! The way to a host ends, or the shell there does, at any step: it is told as lost, no answer is
//! taken for another one's, the file is whole, and nothing is left on the host.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use repoint::config::NodeId;
use repoint::edge::remote::RemoteError;
use rustix::process::Signal;

use crate::fixture::{Cluster, Host, Settings, process, wait_until};
use crate::host_verbs::{File, Verbs};
use crate::served::{at_work, wait_until_nothing_is_at_work};

const DEADLINE: Duration = Duration::from_secs(20);

type Step = fn(&Verbs, &File, &str) -> Result<(), RemoteError>;

/// Those that take the lock of the file.
const STEPS: [(&str, Step); 6] = [
    ("stage", |verbs, file, _| verbs.stage(file)),
    ("record", |verbs, _, _| verbs.record("{}")),
    ("activate", |verbs, file, hash| verbs.activate(file, hash)),
    ("rollback", |verbs, file, _| verbs.rollback(file)),
    ("update", |verbs, _, _| verbs.update()),
    ("settle", |verbs, _, _| verbs.settle()),
];

/// The shells that wait on this machine for requests about a file, without those that they have
/// forked for a verb. Such a fork whose shell is gone counts: it was left behind.
pub(crate) fn shells(file: &Path) -> Vec<u32> {
    let needle = format!("repoint\0{}", repoint_length());
    let file = format!("\0{}\0", file.display());
    let is_shell = |pid: &u32| {
        let text = process::command_line(*pid);
        text.contains(&needle) && text.contains(&file) && process::is_alive(*pid)
    };
    let all: Vec<u32> = process::all_pids().filter(is_shell).collect();
    let is_fork = |pid: &u32| process::parent(*pid).is_some_and(|parent| all.contains(&parent));
    all.iter().copied().filter(|pid| !is_fork(pid)).collect()
}

/// `kill -9` of these shells and of all that they have started.
pub(crate) fn kill_shells(file: &Path) {
    let shells = shells(file);
    let started = process::descendants(&shells);
    for pid in shells.into_iter().chain(started) {
        process::signal(pid, Signal::KILL);
    }
}

/// The script's length is an argument of its shell.
fn repoint_length() -> String {
    // As it is sent: the switch is a value in it.
    let switch = include_str!("../../src/edge/switch.sh").replace('\'', r"'\''");
    let host = include_str!("../../src/edge/host.sh");
    format!("switch='{switch}'\n{host}").len().to_string()
}

fn lock(host: &Host) -> std::fs::File {
    let path = host.directory().join(".databases.ini.repoint-lock");
    let file = std::fs::File::open(path).expect("a step has made it");
    file.lock().expect("a lock can be had");
    file
}

#[track_caller]
fn assert_lost(what: &str, result: Result<(), RemoteError>) {
    assert!(
        matches!(result, Err(RemoteError::Lost { .. })),
        "{what}: {result:?}"
    );
}

/// Every step, with the host's file locked so that the step is under way when `end` comes.
fn at_each_step(end: impl Fn(&Host) + Sync, again: impl Fn(&Host) + Sync) {
    let (end, again) = (&end, &again);
    std::thread::scope(|scope| {
        for (name, step) in STEPS {
            scope.spawn(move || at_step(name, step, end, again));
        }
    });
}

fn at_step(name: &str, step: Step, end: impl Fn(&Host) + Sync, again: impl Fn(&Host)) {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let first = verbs.inspect().hash;
    let (old, new) = (File::new(1, ""), File::new(2, ""));
    verbs.stage(&old).expect("it is staged");
    verbs.activate(&old, &first).expect("it is put in place");
    let (file, before) = match name {
        "rollback" => (&old, &first),
        _ => (&new, &old.hash),
    };
    if name == "activate" {
        verbs.stage(&new).expect("it is staged");
    }
    let locked = lock(&host);
    let shells_before = shells(&host.file());
    assert_eq!(shells_before.len(), 1, "{name}");
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let waits = || {
                let below = process::descendants(&shells_before);
                below.iter().any(|pid| process::name(*pid) == "flock")
            };
            wait_until(DEADLINE, format_args!("{name} waits for the lock"), waits);
            end(&host);
        });
        step(&verbs, file, before)
    });
    assert_lost(name, result);
    assert!(!verbs.alive(), "{name}");
    let begun = Instant::now();
    assert_lost("what comes next", verbs.settle());
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{name}: it waited again"
    );
    verbs.runtime.block_on(verbs.open.close());
    again(&host);
    drop(locked);

    wait_until(DEADLINE, format_args!("no shell after {name}"), || {
        shells(&host.file()).is_empty()
    });
    let verbs = Verbs::open(&host, "");
    let content = verbs.inspect().content.expect("it is there");
    let whole = [old.content.as_slice(), &new.content, Host::FIRST.as_bytes()];
    assert!(whole.contains(&content.as_slice()), "{name}: {content:?}");
    verbs.exchange(&File::new(3, "")).expect("it goes on");
    assert_eq!(
        verbs.inspect().operation.map(|record| record.token),
        None,
        "{name}"
    );
}

#[test]
fn sshd_is_killed_with_its_sessions_at_each_step() {
    at_each_step(|host| host.sshd().stop(), |host| host.sshd().start());
}

#[test]
fn the_shell_is_killed_at_each_step() {
    let kill = |host: &Host| kill_shells(&host.file());
    at_each_step(kill, |_| ());
}

/// What it has started for a verb goes on, and ends by itself.
#[test]
fn nothing_but_the_shell_is_killed_at_each_step() {
    let kill = |host: &Host| {
        for pid in shells(&host.file()) {
            process::signal(pid, Signal::KILL);
        }
    };
    at_each_step(kill, |_| ());
}

#[test]
fn the_processes_of_the_session_are_stopped_at_each_step() {
    at_each_step(|host| host.sshd().freeze(), |host| host.sshd().thaw());
}

#[test]
fn a_shell_that_was_killed_while_nothing_was_done_is_noticed_by_the_next_look() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    assert!(verbs.alive());
    for pid in shells(&host.file()) {
        process::signal(pid, Signal::KILL);
    }
    assert!(!verbs.alive());
    assert_lost("inspect", verbs.try_inspect().map(drop));
}

#[test]
fn a_session_that_hangs_while_nothing_is_done_is_noticed_by_the_next_look() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    host.sshd().freeze();
    let begun = Instant::now();
    assert!(!verbs.alive());
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    host.sshd().thaw();
    // Its answer has come meanwhile; it is not taken for another one's.
    assert_lost("inspect", verbs.try_inspect().map(drop));
}

#[test]
fn an_answer_that_nobody_waited_for_is_never_taken_for_the_next_one() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    verbs.stage(&File::new(1, "")).expect("it is staged");
    let locked = lock(&host);
    let file = File::new(2, "");
    verbs.runtime.block_on(async {
        let stage = verbs.open.stage(NodeId(1), &file.content, &file.hash, &[]);
        let gave_up = tokio::time::timeout(Duration::from_millis(200), stage).await;
        assert!(gave_up.is_err());
    });
    drop(locked);
    assert_lost("inspect", verbs.try_inspect().map(drop));
}

#[test]
fn a_login_shell_that_talks_and_a_host_that_only_echoes_are_told_from_a_plain_shell() {
    let host = Host::start();
    let open = || Verbs::try_open(&host, &host.pgbouncer("")).map(drop);
    let talk = "ForceCommand echo Welcome; eval \"$SSH_ORIGINAL_COMMAND\"";
    host.sshd().reconfigure(talk);
    let said = open().expect_err("it is refused").to_string();
    let expected = "`host` runs no command of ours (the answer is not that of a plain `sh`); \
                    repoint needs `sh` there";
    assert_eq!(said, expected);
    host.sshd()
        .reconfigure("ForceCommand echo no commands here >&2; exit 3");
    let said = open().expect_err("it is refused").to_string();
    let expected = "`host` runs no command of ours (no commands here); repoint needs `sh` there";
    assert_eq!(said, expected);
    host.sshd().reconfigure("ForceCommand cat");
    let said = open().expect_err("it is refused").to_string();
    assert_eq!(said, "look on `host`: no answer");
    host.sshd().set_path("/nonexistent");
    let said = open().expect_err("it is refused").to_string();
    assert!(
        said.starts_with("`host` runs no command of ours ("),
        "{said}"
    );
    assert!(said.contains("not found"), "{said}");
}

#[test]
fn nothing_is_left_on_the_host_when_the_way_is_closed_or_let_go_of() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    assert_eq!(shells(&host.file()).len(), 1);
    verbs.runtime.block_on(verbs.open.close());
    let gone = || shells(&host.file()).is_empty();
    wait_until(DEADLINE, "no shell", gone);
    for pgbouncer in [host.pgbouncer(""), host.local_pgbouncer("")] {
        let verbs = Verbs::try_open(&host, &pgbouncer).expect("a shell");
        assert_eq!(shells(&host.file()).len(), 1);
        drop(verbs);
        wait_until(DEADLINE, "no shell", gone);
    }
}

/// The local `ssh` of the session stands still.
#[test]
fn a_way_that_is_let_go_of_is_not_waited_for() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let ssh = process::belonging_to(&host.home().path("s/"));
    assert!(!ssh.is_empty());
    for pid in &ssh {
        process::signal(*pid, Signal::STOP);
    }
    let (tell, gone) = mpsc::channel();
    // On a thread of its own: it could take for ever.
    std::thread::spawn(move || {
        drop(verbs);
        tell.send(())
    });
    gone.recv_timeout(DEADLINE).expect("it is not waited for");
    for pid in &ssh {
        process::signal(*pid, Signal::CONT);
    }
    wait_until(DEADLINE, "no ssh", || {
        ssh.iter().all(|pid| !process::is_alive(*pid))
    });
}

#[test]
fn nothing_is_left_on_the_host_of_a_daemon_that_was_killed() {
    let cluster = Cluster::builder().poolers(1).start();
    let file = cluster.pooler(1).file();
    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("PgBouncer is reached", DEADLINE);
    assert_eq!(shells(&file).len(), 1);
    daemon.kill9();
    wait_until(DEADLINE, "no shell", || shells(&file).is_empty());
    wait_until_nothing_is_at_work(&cluster, DEADLINE);
}

/// With a `perl` and a `psql` that never come back from the console.
#[test]
fn nothing_is_left_on_the_host_of_a_daemon_that_was_killed_while_it_looked_for_a_switch() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let bin = pooler.socket_dir().join("bin");
    cluster.home().create_directory(&bin);
    for tool in ["perl", "psql"] {
        let tool = bin.join(tool);
        cluster.home().write(&tool, "#!/bin/sh\nexec sleep 999\n");
        let permissions = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&tool, permissions).expect("the mode can be changed");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    pooler.sshd().set_path(&format!("{}:{path}", bin.display()));
    let daemon = cluster.daemon(1, &Settings::pausing());
    let hangs = || at_work(&cluster).contains(&"sleep\0999\0".to_owned());
    wait_until(DEADLINE, "a tool that hangs", hangs);
    daemon.kill9();
    wait_until_nothing_is_at_work(&cluster, DEADLINE);
}

/// Whoever asked has given it up, and may have had it done otherwise since.
#[test]
fn what_arrives_after_it_was_given_up_is_not_done() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let before = verbs.inspect();
    let waiting = shells(&host.file());
    for pid in &waiting {
        process::signal(*pid, Signal::STOP);
    }
    assert_lost("record", verbs.record("{}"));
    for pid in &waiting {
        process::signal(*pid, Signal::CONT);
    }
    // It reads the request, and then that nobody is there any more.
    verbs.runtime.block_on(verbs.open.close());
    wait_until(DEADLINE, "no shell", || shells(&host.file()).is_empty());
    let verbs = Verbs::open(&host, "");
    assert_eq!(verbs.inspect(), before);
    verbs.record("{}").expect("it is in time");
}
