//! A daemon that is killed in the middle of a failover leaves nothing that the next one does not
//! put right.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::fixture::{Cluster, Daemon, Settings, pause, wait_until};
use crate::held_back::hold_back;
use crate::scene::assert_stays;
use crate::served::{
    assert_whole_file, lead_by_hand, leftovers, wait_until_all_serve, wait_until_serves,
};

const DEADLINE: Duration = Duration::from_secs(20);
/// From the kill until every PgBouncer serves the other node again.
const RIGHT_DEADLINE: Duration = Duration::from_secs(5);
/// What is on record is ours alone for the length of `server_login_retry` and some seconds.
const SETTING_DEADLINE: Duration = Duration::from_secs(20);

fn cluster(poolers: usize) -> Cluster {
    Cluster::builder()
        .poolers(poolers)
        .pooler_lines("server_login_retry = 2")
        .start()
}

/// Both daemons, and the number of each that decides, as it does so.
fn both(cluster: &Cluster) -> ([Daemon; 2], mpsc::Receiver<u32>) {
    let (tell, decided) = mpsc::channel();
    let daemons = [1, 2].map(|id| {
        let tell = tell.clone();
        let file = cluster.write_config(id, &Settings::pausing(), |_| ());
        cluster.daemon_with_file(id, &file, move |line| {
            if line.text.contains("failover decided") {
                let _nobody_listens_any_more = tell.send(id);
            }
        })
    });
    for daemon in &daemons {
        daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    }
    (daemons, decided)
}

fn other(id: u32) -> u32 {
    3 - id
}

fn numbered(daemons: &[Daemon; 2], id: u32) -> &Daemon {
    &daemons[id as usize - 1]
}

#[test]
fn whenever_the_acting_daemon_is_killed_the_other_one_finishes() {
    let cluster = cluster(2);
    let delays_ms = [0, 5, 15, 25, 35, 50, 70, 90, 120, 160, 220, 300];
    for delay_ms in delays_ms {
        let (daemons, decided) = both(&cluster);
        for pooler in cluster.poolers() {
            pooler.admin("SET query_timeout='77'");
        }
        cluster.node2().kill9();
        let acting = decided.recv_timeout(DEADLINE).expect("one decides");
        pause(Duration::from_millis(delay_ms));
        numbered(&daemons, acting).kill9();
        wait_until_all_serve(&cluster, cluster.node1(), RIGHT_DEADLINE);
        for pooler in cluster.poolers() {
            assert_whole_file(pooler);
            let staged = || {
                leftovers(pooler)
                    .iter()
                    .any(|name| name.contains("-staged-"))
            };
            let what = format!("{delay_ms} ms: {:?}", leftovers(pooler));
            wait_until(RIGHT_DEADLINE, what, || !staged());
            let what = format!("{delay_ms} ms: what the operator had SET");
            wait_until(RIGHT_DEADLINE, what, || {
                pooler.config("query_timeout") == "77"
            });
        }
        let rest = numbered(&daemons, other(acting));
        assert!(rest.terminate().success(), "{}", rest.log());
        cluster.node2().start();
        for pooler in cluster.poolers() {
            lead_by_hand(pooler, cluster.node2());
        }
    }
}

#[test]
fn a_pause_whose_owner_was_killed_is_ended_by_the_other_daemon() {
    let cluster = cluster(1);
    let pooler = cluster.pooler(1);
    let lock = hold_back(&cluster, pooler);
    let (daemons, decided) = both(&cluster);
    cluster.node2().kill9();
    wait_until(DEADLINE, "the pause", || pooler.paused("app"));
    let acting = decided.recv_timeout(DEADLINE).expect("one decides");
    numbered(&daemons, acting).kill9();
    drop(lock);
    wait_until_serves(pooler, cluster.node1(), RIGHT_DEADLINE);
    assert_whole_file(pooler);
    wait_until(SETTING_DEADLINE, "server_login_retry as configured", || {
        pooler.config("server_login_retry") == "2"
    });
    wait_until(DEADLINE, format!("{:?}", leftovers(pooler)), || {
        leftovers(pooler).is_empty()
    });
}

/// The command of a daemon that was killed goes on at the host when nothing stops it.
#[test]
fn a_file_that_a_dead_daemon_puts_in_place_late_is_taken_over() {
    let cluster = cluster(1);
    let pooler = cluster.pooler(1);
    for acting in [1, 2] {
        let follower = other(acting);
        let slower = Settings {
            reconnect_attempts: 4,
            reconnect_interval: "300ms".into(),
            ..Settings::pausing()
        };
        let lock = hold_back(&cluster, pooler);
        let first = cluster.daemon(acting, &Settings::pausing());
        let second = cluster.daemon(follower, &slower);
        for daemon in [&first, &second] {
            daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
        }
        cluster.node2().kill9();
        wait_until(DEADLINE, "the pause", || pooler.paused("app"));
        first.kill9();
        // It decides while the file is still the old one.
        second.wait_for_log("failover decided", Duration::from_millis(2800));
        drop(lock);
        wait_until_serves(pooler, cluster.node1(), RIGHT_DEADLINE);
        assert_whole_file(pooler);
        second.wait_for_log("redirect complete", RIGHT_DEADLINE);
        assert!(second.terminate().success());
        cluster.node2().start();
        lead_by_hand(pooler, cluster.node2());
    }
}

#[test]
fn the_only_daemon_finishes_after_a_kill_and_a_restart() {
    let cluster = cluster(2);
    let pooler = cluster.pooler(1);
    let lock = hold_back(&cluster, pooler);
    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    wait_until(DEADLINE, "the pause", || pooler.paused("app"));
    daemon.kill9();
    drop(lock);
    drop(daemon);
    let begun = Instant::now();
    let again = cluster.daemon(1, &Settings::pausing());
    wait_until_all_serve(&cluster, cluster.node1(), RIGHT_DEADLINE);
    assert!(begun.elapsed() < 2 * RIGHT_DEADLINE);
    cluster.poolers().iter().for_each(assert_whole_file);
    for pooler in cluster.poolers() {
        wait_until(SETTING_DEADLINE, "server_login_retry as configured", || {
            pooler.config("server_login_retry") == "2"
        });
        wait_until(DEADLINE, format!("{:?}", leftovers(pooler)), || {
            leftovers(pooler).is_empty()
        });
    }
    again.wait_for_log("redirect complete", DEADLINE);
}

#[test]
fn a_setting_that_a_killed_daemon_left_behind_is_set_again_by_the_other() {
    let cluster = cluster(1);
    let pooler = cluster.pooler(1);
    let (daemons, decided) = both(&cluster);
    cluster.node2().kill9();
    let acting = decided.recv_timeout(DEADLINE).expect("one decides");
    numbered(&daemons, acting).wait_for_log("redirect complete", DEADLINE);
    assert_eq!(pooler.config("server_login_retry"), "0.02");
    numbered(&daemons, acting).kill9();
    wait_until(SETTING_DEADLINE, "server_login_retry as configured", || {
        pooler.config("server_login_retry") == "2"
    });
    wait_until_serves(pooler, cluster.node1(), RIGHT_DEADLINE);
    wait_until(DEADLINE, format!("{:?}", leftovers(pooler)), || {
        leftovers(pooler).is_empty()
    });
}

#[test]
fn the_acting_daemon_does_not_need_the_one_that_stands_by() {
    let cluster = cluster(2);
    let (daemons, decided) = both(&cluster);
    cluster.node2().kill9();
    let acting = decided.recv_timeout(DEADLINE).expect("one decides");
    numbered(&daemons, other(acting)).kill9();
    wait_until_all_serve(&cluster, cluster.node1(), RIGHT_DEADLINE);
    numbered(&daemons, acting).wait_for_log("redirect complete: 2 of 2", DEADLINE);
    cluster.poolers().iter().for_each(assert_whole_file);
}

/// When the first failover's value is still in force, it is not what the second one owes.
#[test]
fn a_kill_in_a_failover_soon_after_another_does_not_leave_the_setting_behind() {
    let lines = "server_login_retry = 5";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let pooler = cluster.pooler(1);
    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    pooler.admin("SET query_timeout='77'");
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    let mark = daemon.mark();
    cluster.node2().start();
    daemon.wait_for_log_after(mark, "answers again", DEADLINE);
    assert_eq!(pooler.config("server_login_retry"), "0.02");

    cluster.node1().kill9();
    daemon.wait_for_log_after(mark, "failover decided", DEADLINE);
    // The query that is to confirm it hangs, and the daemon with it, before it puts its debt on
    // record again.
    cluster.node2().freeze();
    wait_until(DEADLINE, "the second redirect", || {
        pooler.served_port("app") == cluster.node2().port()
            && pooler.config("server_login_retry") == "0.02"
            && !pooler.paused("app")
    });
    daemon.kill9();
    cluster.node2().thaw();
    drop(daemon);
    let again = cluster.daemon(1, &Settings::pausing());
    wait_until(DEADLINE, "what an operator had SET", || {
        pooler.config("query_timeout") == "77"
    });
    // A pool that has not tried since the RELOAD would still wait for the old length.
    assert_stays(Duration::from_secs(4), "the haste", || {
        pooler.config("server_login_retry") == "0.02"
    });
    wait_until(DEADLINE, format!("{:?}", leftovers(pooler)), || {
        leftovers(pooler).is_empty()
    });
    assert_eq!(pooler.config("server_login_retry"), "5");
    assert_eq!(pooler.config("query_timeout"), "77");
    wait_until_serves(pooler, cluster.node2(), DEADLINE);
    assert!(again.terminate().success());
}
