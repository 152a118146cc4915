//! Whatever is killed while clients are paused, they are served again when its time is over: a
//! process on PgBouncer's own host sees to it.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, pause, process, wait_until};
use crate::held_back::hold_back;
use crate::scene::{start_daemon, start_with};
use crate::served::{
    assert_stays, assert_whole_file, at_work, lead_by_hand, leftovers, node_through,
    wait_until_nothing_is_at_work, wait_until_serves,
};
use crate::steps::{daemon_with_steps, signal};

const DEADLINE: Duration = Duration::from_secs(20);
/// What is on record is its owner's for 3 s at most; the rest is for a machine that is busy. It
/// would last for ever without the switch.
const EXPIRY: Duration = Duration::from_secs(8);
/// From then on the switch would have acted.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

fn cluster() -> Cluster {
    Cluster::builder()
        .poolers(1)
        .pooler_lines("server_login_retry = 2")
        .start()
}

fn is_on_record(pooler: &Pooler) -> bool {
    record_of(pooler).is_some()
}

fn record_of(pooler: &Pooler) -> Option<String> {
    let record = pooler
        .file()
        .with_file_name(".databases.ini.repoint-operation");
    std::fs::read_to_string(record).ok()
}

/// One agent and no other, in the middle of a redirect: the entry is paused, and the lock that the
/// next step needs is taken.
fn paused_and_locked(cluster: &Cluster) -> (Daemon, std::fs::File) {
    let lock = hold_back(cluster, cluster.pooler(1));
    let daemon = start_daemon(cluster, 1, &Settings::pausing());
    cluster.node2().kill9();
    wait_until(DEADLINE, "the pause", || cluster.pooler(1).paused("app"));
    (daemon, lock)
}

/// Nobody looks: only the switch can have done it. Then it ends.
#[track_caller]
fn assert_resumed_by_the_host(cluster: &Cluster) {
    let pooler = cluster.pooler(1);
    wait_until(EXPIRY, "no pause", || !pooler.paused("app"));
    wait_until(DEADLINE, "server_login_retry as configured", || {
        pooler.config("server_login_retry") == "2"
    });
    wait_until(DEADLINE, "nothing on record", || !is_on_record(pooler));
    wait_until_nothing_is_at_work(cluster, DEADLINE);
}

#[test]
fn clients_are_served_although_the_only_daemon_was_killed() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let (daemon, lock) = paused_and_locked(&cluster);
    daemon.kill9();
    drop(lock);
    assert_resumed_by_the_host(&cluster);
    cluster.node2().start();
    pooler.admin("RELOAD");
    wait_until(DEADLINE, "a query gets through", || {
        let rows = pooler.try_rows("probe", "select 1", Duration::from_secs(5));
        rows.is_ok()
    });
}

#[test]
fn clients_are_served_although_the_daemon_and_all_of_sshd_were_killed() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let (daemon, lock) = paused_and_locked(&cluster);
    daemon.kill9();
    pooler.stop_sshd();
    drop(lock);
    assert_resumed_by_the_host(&cluster);
    // The next agent has nothing to clear up, and finishes.
    pooler.start_sshd();
    drop(daemon);
    let again = cluster.daemon(1, &Settings::pausing());
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert!(again.terminate().success());
    assert_whole_file(pooler);
    assert_eq!(leftovers(pooler), Vec::<String>::new());
}

/// `kill -9` of the master of the SSH session here, and of the session's sshd there.
#[test]
fn clients_are_served_although_the_ssh_session_was_killed_at_either_end() {
    for end in ["master", "session"] {
        let cluster = cluster();
        let pooler = cluster.pooler(1);
        let (daemon, lock) = paused_and_locked(&cluster);
        let sessions = || process::descendants(&[pooler.sshd().pid().expect("it runs")]);
        let masters = || {
            let runtime = cluster.directory().join("d1/run");
            let mut pids = process::belonging_to(&runtime);
            pids.remove(&daemon.pid());
            pids
        };
        let victims = match end {
            "master" => masters(),
            _ => sessions(),
        };
        assert!(!victims.is_empty(), "{end}");
        for pid in victims {
            process::signal(pid, Signal::KILL);
        }
        wait_until(EXPIRY, "no pause", || !pooler.paused("app"));
        drop(lock);
        wait_until_serves(pooler, cluster.node1(), DEADLINE);
        assert_whole_file(pooler);
        daemon.wait_for_log("redirect complete", DEADLINE);
        assert!(daemon.terminate().success(), "{}", daemon.log());
        assert_eq!(leftovers(pooler), Vec::<String>::new(), "{end}");
    }
}

/// What is killed, and when, is varied; what must hold is not.
#[test]
fn whenever_the_only_daemon_is_killed_nothing_stays_paused_or_half_done() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let mut paused = 0;
    let delays_ms = [0, 2, 4, 6, 8, 10, 12, 16, 22, 35, 70, 150];
    for (round, delay_ms) in delays_ms.into_iter().enumerate() {
        // Every other time, the step that comes after the pause has to wait.
        let lock = (round % 2 == 0).then(|| hold_back(&cluster, pooler));
        let daemon = start_daemon(&cluster, 1, &Settings::pausing());
        cluster.node2().kill9();
        // Looked for without a rest: what follows takes milliseconds.
        let begun = Instant::now();
        while !is_on_record(pooler) {
            assert!(begun.elapsed() < DEADLINE, "{}", daemon.log());
            std::thread::yield_now();
        }
        if lock.is_some() {
            wait_until(DEADLINE, "the pause", || pooler.paused("app"));
        }
        pause(Duration::from_millis(delay_ms));
        daemon.kill9();
        if round % 3 == 2 {
            pooler.stop_sshd();
        }
        let killed = Instant::now();
        paused += usize::from(pooler.paused("app"));
        drop(lock);
        let what = format!("no pause, killed after {delay_ms} ms: {}", daemon.log());
        wait_until(EXPIRY, what, || !pooler.paused("app"));
        assert!(killed.elapsed() <= EXPIRY);
        // Old or new, but one of them, and nothing of it is undone or left behind later.
        let text = pooler.file_text();
        assert!(
            text.ends_with("dbname='bdrtest'\n"),
            "{delay_ms} ms: {text}"
        );
        if !pooler.sshd().is_running() {
            pooler.start_sshd();
        }
        drop(daemon);
        let again = cluster.daemon(1, &Settings::pausing());
        wait_until_serves(pooler, cluster.node1(), DEADLINE);
        let settled = || pooler.config("server_login_retry") == "2" && !is_on_record(pooler);
        wait_until(DEADLINE, format!("all paid, {delay_ms} ms"), settled);
        assert!(again.terminate().success());
        assert_whole_file(pooler);
        assert_eq!(leftovers(pooler), Vec::<String>::new(), "{delay_ms} ms");
        cluster.node2().start();
        lead_by_hand(pooler, cluster.node2());
    }
    assert!(paused > 3, "{paused} kills came while clients were paused");
}

/// PgBouncer stands still when clients are served again, and does not answer when it is time to set
/// again what was SET.
#[test]
fn what_was_set_comes_back_although_the_console_does_not_answer_when_it_is_time() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    pooler.admin("SET query_timeout='77'");
    let pid = pooler.pid().expect("it runs");
    let (tell, stands) = mpsc::channel();
    let mut once = Some(tell);
    let daemon = daemon_with_steps(&cluster, &Settings::pausing(), move |_, step| {
        if step == "Hasten"
            && let Some(tell) = once.take()
        {
            signal(pid, Signal::STOP);
            tell.send(()).expect("it is waited for");
        }
    });
    cluster.node2().kill9();
    stands.recv_timeout(DEADLINE).expect("a redirect");
    daemon.kill9();
    pooler.thaw();
    let is_paid = || record_of(pooler).is_none_or(|record| record.contains("\"paused\":[]"));
    let begun = Instant::now();
    // Looked for without a rest: what follows takes milliseconds.
    while !is_paid() {
        assert!(begun.elapsed() < DEADLINE, "{:?}", record_of(pooler));
        std::thread::yield_now();
    }
    pooler.freeze();
    // Its time comes after 4 s, and no answer is waited for longer than 2 s.
    assert_stays(Duration::from_secs(9), "a record of what is owed", || {
        is_on_record(pooler)
    });
    pooler.thaw();
    assert_resumed_by_the_host(&cluster);
    assert_eq!(pooler.config("query_timeout"), "77");
}

#[test]
fn an_operators_pause_is_never_ended_by_a_switch() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    // The switch has done its work, and still has a setting to set again.
    let (daemon, lock) = paused_and_locked(&cluster);
    daemon.kill9();
    drop(lock);
    wait_until(EXPIRY, "no pause", || !pooler.paused("app"));
    pooler.admin("PAUSE app");
    assert_stays(LONG_ENOUGH, "the operator's pause", || pooler.paused("app"));
    wait_until(DEADLINE, "nothing on record", || !is_on_record(pooler));
    assert!(pooler.paused("app"));
}

#[test]
fn the_switch_of_an_operation_ends_when_another_one_is_on_record() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let (daemon, lock) = paused_and_locked(&cluster);
    daemon.kill9();
    pooler.stop_sshd();
    let record = pooler
        .file()
        .with_file_name(".databases.ini.repoint-operation");
    let text = std::fs::read_to_string(&record).expect("it is there");
    let (token, rest) = text.split_once(' ').expect("a token");
    let switch =
        |line: &String| line.contains(&format!("repoint-switch\0watch\0{}", record.display()));
    assert!(at_work(&cluster).iter().any(switch));
    std::fs::write(&record, format!("9{token} {rest}")).expect("it can be written");
    drop(lock);
    wait_until_nothing_is_at_work(&cluster, DEADLINE);
    assert_stays(LONG_ENOUGH, "another one's pause", || pooler.paused("app"));
    assert!(is_on_record(pooler));
}

/// In a redirect as well as before and after it.
#[test]
fn an_entry_that_an_operator_had_paused_is_redirected_and_stays_paused() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let daemon = start_daemon(&cluster, 1, &Settings::pausing());
    pooler.admin("PAUSE app");
    cluster.node2().kill9();
    let told = daemon.wait_for_log("redirected `app`", DEADLINE);
    let how = "it stays paused, as an operator left it";
    assert!(told.text.contains(how), "{}", told.text);
    assert_stays(LONG_ENOUGH, "the operator's pause", || pooler.paused("app"));
    assert_eq!(pooler.served_port("app"), cluster.node1().port());
    pooler.admin("RESUME app");
    assert_eq!(node_through(pooler), "node1");
}

/// Every command that the host's script needs, but no way to the console.
#[test]
fn without_psql_and_perl_no_pause_lasts_longer_than_a_second_and_the_log_says_so_once() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    hide_psql_and_perl(&cluster);
    let lock = hold_back(&cluster, pooler);
    let daemon = start_daemon(&cluster, 1, &Settings::pausing());
    let told = "nothing on its host could end a pause if this agent were killed";
    daemon.wait_for_log(told, DEADLINE);
    cluster.node2().kill9();
    wait_until(DEADLINE, "the pause", || pooler.paused("app"));
    let begun = Instant::now();
    wait_until(DEADLINE, "no pause", || !pooler.paused("app"));
    let lasted = begun.elapsed();
    assert!(lasted < Duration::from_millis(1400), "{lasted:?}");
    drop(lock);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    daemon.wait_for_log("redirect complete", DEADLINE);
    assert_eq!(daemon.log().matches(told).count(), 1, "{}", daemon.log());
}

/// Before 1.24, what frees clients pauses them.
#[test]
fn that_nothing_could_end_the_pause_of_a_kill_is_told_too() {
    let cluster = cluster();
    hide_psql_and_perl(&cluster);
    let daemon = start_daemon(&cluster, 1, &Settings::default());
    let told = "nothing on its host could end a pause if this agent were killed";
    daemon.wait_for_log(told, DEADLINE);
}

/// It would be a process of the daemon's own service.
#[test]
fn on_the_daemons_own_machine_no_switch_is_set_and_the_log_says_so_once() {
    let cluster = cluster();
    let pooler = cluster.pooler(1);
    let mut settings = Settings::pausing();
    settings.pgbouncer_lines.push_str("\nearly_pause = \"10s\"");
    let file = cluster.write_config(1, &settings, |toml| {
        let ssh_config = cluster.ssh_config().display();
        let ssh = format!("ssh = {:?}\nssh_config = \"{ssh_config}\"", pooler.name());
        assert!(toml.contains(&ssh), "{toml}");
        *toml = toml.replace(&ssh, "local = true");
    });
    let daemon = start_with(&[pooler], || cluster.daemon_with_file(1, &file, |_| ()));
    let told = "nothing on its host could end a pause if this agent were killed: it is this one, \
                where systemd ends whatever a service has started with it; no pause lasts longer \
                than 1 s; early_pause is not used";
    daemon.wait_for_log(told, DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    // A switch would wait for as long as something is owed.
    let switch = |line: &String| line.contains("repoint-switch\0watch");
    let at_work = at_work(&cluster);
    assert!(is_on_record(pooler));
    assert!(!at_work.iter().any(switch), "{at_work:?}");
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert_eq!(daemon.log().matches(told).count(), 1, "{}", daemon.log());
}

fn hide_psql_and_perl(cluster: &Cluster) {
    let pooler = cluster.pooler(1);
    let programs = pooler.socket_dir().join("bin");
    std::fs::create_dir(&programs).expect("it is new");
    for entry in std::fs::read_dir("/usr/bin").expect("it can be read") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        if !["psql", "perl"].contains(&name.to_string_lossy().as_ref()) {
            let _shadowed = std::os::unix::fs::symlink(entry.path(), programs.join(name));
        }
    }
    let configuration = pooler.socket_dir().join("sshd_config");
    let text = std::fs::read_to_string(&configuration).expect("it is there");
    // Of several, the first one holds.
    let text: String = text
        .lines()
        .map(|line| match line.starts_with("SetEnv ") {
            true => format!("{line} PATH={}\n", programs.display()),
            false => format!("{line}\n"),
        })
        .collect();
    cluster.home().write(&configuration, &text);
    pooler.stop_sshd();
    pooler.start_sshd();
}
