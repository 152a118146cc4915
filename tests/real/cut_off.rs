//! The way to a host, to a console or of the daemon itself ends while an entry is paused.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::held_back::hold_back;
use crate::served::{assert_whole_file, leftovers, wait_until_serves};
use crate::steps::daemon_with_steps;

const DEADLINE: Duration = Duration::from_secs(20);
/// Of a pause, from when it is seen: its limit, and as much again for a machine that is busy. The
/// host itself is waited for longer, and who holds the lock here keeps the switch from ending it.
const PAUSED_AT_MOST: Duration = Duration::from_secs(4);

/// One daemon, and the file of `pgb1` locked while its entry is paused.
fn paused_and_locked(cluster: &Cluster) -> (Daemon, std::fs::File) {
    let pooler = cluster.pooler(1);
    let lock = hold_back(cluster, pooler);
    let daemon = daemon_with_steps(cluster, &Settings::pausing(), |_, _| ());
    cluster.node2().kill9();
    wait_until(DEADLINE, "the pause", || pooler.paused("app"));
    (daemon, lock)
}

/// What is told in the end is how it ended, not what had failed before.
#[track_caller]
fn assert_told(daemon: &Daemon) {
    let told = daemon.wait_for_log("redirect complete", DEADLINE);
    let how = "redirected `app` (a query through it landed on node 1)";
    assert!(told.text.contains(how), "{}", told.text);
    assert!(!told.text.contains("STILL PAUSED"), "{}", told.text);
}

#[test]
fn a_host_that_falls_silent_does_not_leave_its_pgbouncer_paused() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let (daemon, lock) = paused_and_locked(&cluster);
    pooler.sshd().freeze();
    wait_until(PAUSED_AT_MOST, "no pause", || !pooler.paused("app"));
    assert_eq!(pooler.served_port("app"), cluster.node2().port());
    let given_up = "WARN failed, how far it came is not known before the next look: the host did \
                    not answer within the 2 s that clients may be paused";
    daemon.wait_for_log(given_up, DEADLINE);
    drop(lock);
    pooler.sshd().thaw();
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert_whole_file(pooler);
    assert_told(&daemon);
    // They have waited once in vain.
    assert_eq!(daemon.log().matches("step=Pause").count(), 1);
    assert!(daemon.terminate().success());
    assert_eq!(leftovers(pooler), Vec::<String>::new());
}

#[test]
fn a_host_that_is_cut_off_does_not_leave_its_pgbouncer_paused() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let (daemon, lock) = paused_and_locked(&cluster);
    pooler.stop_sshd();
    wait_until(PAUSED_AT_MOST, "no pause", || !pooler.paused("app"));
    drop(lock);
    let failed = "WARN failed, how far it came is not known before the next look: activate on";
    daemon.wait_for_log(failed, DEADLINE);
    pooler.start_sshd();
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert_whole_file(pooler);
    assert_told(&daemon);
    assert!(daemon.terminate().success());
    assert_eq!(leftovers(pooler), Vec::<String>::new());
}

#[test]
fn a_pgbouncer_that_hangs_while_it_is_paused_is_resumed_when_it_answers_again() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let (daemon, lock) = paused_and_locked(&cluster);
    pooler.freeze();
    drop(lock);
    // Each RESUME, and each login for one, is waited for.
    daemon.wait_for_log("STILL PAUSED: app", DEADLINE * 2);
    pooler.thaw();
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert_whole_file(pooler);
    assert_told(&daemon);
    wait_until(DEADLINE * 2, "server_login_retry as configured", || {
        pooler.config("server_login_retry") == "15"
    });
}

#[test]
fn a_pgbouncer_that_is_killed_while_it_is_paused_serves_when_it_is_back() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let (daemon, lock) = paused_and_locked(&cluster);
    pooler.kill9();
    drop(lock);
    daemon.wait_for_log("WARN failed", DEADLINE);
    pooler.start();
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert_whole_file(pooler);
    assert_told(&daemon);
    wait_until(DEADLINE, "nothing on record", || {
        leftovers(pooler).is_empty()
    });
    assert!(daemon.terminate().success());
    assert_eq!(pooler.config("server_login_retry"), "15");
}

/// A daemon that is stopped still holds the claim, so nobody else may redirect; but the time of its
/// operation runs out, and then anybody may end the pause.
#[test]
fn the_pause_of_a_daemon_that_hangs_is_ended_by_the_other_one() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let slow = Settings {
        reconnect_attempts: 50,
        ..Settings::pausing()
    };
    let other = cluster.daemon(2, &slow);
    other.wait_for_log("monitoring node \"node2\"", DEADLINE);
    let (daemon, lock) = paused_and_locked(&cluster);
    daemon.freeze();
    wait_until(DEADLINE, "no pause", || !pooler.paused("app"));
    drop(lock);
    daemon.thaw();
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    assert_whole_file(pooler);
    assert!(daemon.terminate().success());
    assert!(other.terminate().success());
    assert!(!pooler.paused("app"));
}
