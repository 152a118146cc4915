//! What an operator has SET survives a redirect, though RELOAD undoes it.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, Version, rows, wait_until};
use crate::served::{lead_by_hand, leftovers, wait_until_serves};
use crate::staging::{STAGED, staged};
use crate::steps::{daemon_with_steps, signal};

const DEADLINE: Duration = Duration::from_secs(20);
/// From the end of a daemon until what it owed is paid by another: it is its own for 10 s, and the
/// other one looks every 2 s.
const PAID: Duration = Duration::from_secs(13);

fn setting(console: &str, key: &str) -> String {
    let rows = rows(console, "SHOW CONFIG", DEADLINE).expect("it answers");
    let row = rows.iter().find(|row| row["key"] == key);
    row.expect("the setting is there")["value"].clone()
}

fn wait_until_set(pooler: &Pooler, key: &str, value: &str, deadline: Duration) {
    let what = format!("{}: {key} = {value}", pooler.name());
    wait_until(deadline, what, || pooler.config(key) == value);
}

#[test]
fn what_was_set_by_hand_is_in_force_after_a_failover_and_told() {
    let versions = [Version::Installed, Version::Newest];
    let cluster = Cluster::builder().pgbouncers(&versions).start();
    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    for pooler in cluster.poolers() {
        pooler.admin("SET query_timeout='77'");
        pooler.admin("SET query_wait_timeout='0.5'");
        pooler.admin("SET server_reset_query='select ''ours''; discard all'");
        pooler.admin("SET server_login_retry='4'");
    }

    cluster.node2().kill9();
    let begun = Instant::now();
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
    for pooler in cluster.poolers() {
        wait_until_serves(pooler, cluster.node1(), DEADLINE);
        assert_eq!(pooler.config("query_timeout"), "77");
        assert_eq!(pooler.config("query_wait_timeout"), "0.5");
        let odd = pooler.config("server_reset_query");
        assert_eq!(odd, "select 'ours'; discard all");
        assert_eq!(pooler.config("server_login_retry"), "0.02");
    }
    for pooler in cluster.poolers() {
        // The operator's value, when its own length has passed: not the 15 of PgBouncer's own.
        wait_until_set(pooler, "server_login_retry", "4", Duration::from_secs(10));
        let what = format!("{:?}", leftovers(pooler));
        wait_until(DEADLINE, what, || leftovers(pooler).is_empty());
    }
    assert!(begun.elapsed() >= Duration::from_secs(4));

    let told = daemon.wait_for_log("redirected `app`", DEADLINE).text;
    let plain = "query_timeout: 77 was in force and is again; the file says 0";
    let odd = "server_reset_query: what was in force is so again; the file says otherwise";
    assert!(told.contains(plain) && told.contains(odd), "{told}");
    assert!(!told.contains("ours"), "{told}");
}

#[test]
fn each_process_of_a_set_gets_back_what_it_had() {
    let lines = "so_reuseport = 1\nquery_timeout = 9";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let pooler = cluster.pooler(1);
    let twin = pooler.start_twin();
    let consoles = [pooler.socket_console(), twin.socket_console()];
    let file = cluster.write_config(1, &Settings::pausing(), |toml| {
        let one = format!("console = \"{}\"", pooler.console());
        *toml = toml.replace(&one, &format!("console = {consoles:?}"));
    });
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    for (console, timeout) in consoles.iter().zip(["77", "0"]) {
        let set = format!("SET query_timeout='{timeout}'");
        rows(console, &set, DEADLINE).expect("it is set");
    }
    rows(&consoles[1], "SET server_login_retry='1'", DEADLINE).expect("it is set");

    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    for (console, timeout) in consoles.iter().zip(["77", "0"]) {
        assert_eq!(setting(console, "query_timeout"), timeout);
    }
    assert!(daemon.terminate().success());
    for (console, login_retry) in consoles.iter().zip(["15", "1"]) {
        assert_eq!(setting(console, "server_login_retry"), login_retry);
    }
}

/// The RELOAD of a daemon that is gone waits in the queue of a PgBouncer that stands still.
#[test]
fn what_the_reload_of_a_killed_daemon_undoes_is_put_back_by_the_next_one() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    for policy in ["always", "never"] {
        let killed = reload_waits_and_nobody_is_there(&cluster, policy);
        pooler.thaw();
        wait_until_set(pooler, "server_login_retry", "0.02", DEADLINE);
        assert_eq!(pooler.config("query_timeout"), "0", "pause = {policy}");

        let next = cluster.daemon(1, &Settings::pausing());
        wait_until_set(pooler, "query_timeout", "77", PAID);
        wait_until_set(pooler, "server_login_retry", "3", PAID);
        wait_until_serves(pooler, cluster.node1(), DEADLINE);
        let what = format!("{:?}\n{}\n{}", leftovers(pooler), killed.log(), next.log());
        wait_until(DEADLINE, what, || leftovers(pooler).is_empty());
        assert!(next.terminate().success());
        cluster.node2().start();
        lead_by_hand(pooler, cluster.node2());
    }
}

#[test]
fn a_pgbouncer_that_was_started_anew_keeps_what_its_file_says() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let killed = reload_waits_and_nobody_is_there(&cluster, "always");
    pooler.kill9();
    let ini = pooler.socket_dir().join("pgbouncer.ini");
    let text = std::fs::read_to_string(&ini).expect("it is there");
    let text = text.replace("pool_mode", "query_timeout = 5\npool_mode");
    cluster.home().write(&ini, &text);
    pooler.start();

    let next = cluster.daemon(1, &Settings::pausing());
    let what = format!("{:?}\n{}\n{}", leftovers(pooler), killed.log(), next.log());
    wait_until(DEADLINE, what, || leftovers(pooler).is_empty());
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert_eq!(pooler.config("query_timeout"), "5");
    assert_eq!(pooler.config("server_login_retry"), "15");
}

/// Leaves a PgBouncer that stands still with a RELOAD in its queue, from a daemon that was killed.
fn reload_waits_and_nobody_is_there(cluster: &Cluster, policy: &str) -> Daemon {
    let pooler = cluster.pooler(1);
    let settings = Settings {
        pgbouncer_lines: format!("pause = \"{policy}\""),
        ..Settings::pausing()
    };
    // The last step before the file is put in place, which takes some milliseconds.
    let last = if policy == "always" { "Pause" } else { "Stage" };
    let pid = pooler.pid().expect("it runs");
    let mut stands = false;
    let daemon = daemon_with_steps(cluster, &settings, move |_, step| {
        if step == last && !std::mem::replace(&mut stands, true) {
            signal(pid, Signal::STOP);
        }
    });
    pooler.admin("SET query_timeout='77'");
    pooler.admin("SET server_login_retry='3'");
    // So that it is a step.
    daemon.wait_for_log(STAGED, DEADLINE);
    for path in staged(pooler) {
        std::fs::remove_file(path).expect("it was there");
    }
    cluster.node2().kill9();
    // No answer to it comes.
    let reload = daemon.wait_for_log("step=Reload", DEADLINE);
    assert!(!reload.text.contains("Done"), "{}", reload.text);
    daemon.kill9();
    daemon
}
