//! SIGTERM and SIGHUP: what is under way is ended first.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, pause, wait_until};
use crate::served::{assert_whole_file, lead_by_hand, leftovers, wait_until_all_serve};

const DEADLINE: Duration = Duration::from_secs(20);

#[track_caller]
fn assert_nothing_is_owed(cluster: &Cluster) {
    for pooler in cluster.poolers() {
        assert!(!pooler.paused("app"), "{}", pooler.name());
        assert_eq!(pooler.config("server_login_retry"), "15");
        assert_eq!(leftovers(pooler), Vec::<String>::new(), "{}", pooler.name());
    }
}

#[track_caller]
fn assert_ends_well(daemon: &Daemon, what: &str) {
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{what}: {}", daemon.log());
}

#[test]
fn a_daemon_that_is_told_to_stop_in_the_middle_owes_nothing() {
    let cluster = Cluster::builder().poolers(2).start();
    for delay_ms in [0, 10, 30, 60, 100, 200] {
        let daemon = cluster.daemon(1, &Settings::pausing());
        daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
        cluster.node2().kill9();
        daemon.wait_for_log("failover decided", DEADLINE);
        pause(Duration::from_millis(delay_ms));
        assert_ends_well(&daemon, &format!("{delay_ms} ms"));
        assert_nothing_is_owed(&cluster);
        for pooler in cluster.poolers() {
            let moved = pooler.served_port("app") == cluster.node1().port();
            if moved {
                assert_whole_file(pooler);
            } else {
                assert_eq!(pooler.served_port("app"), cluster.node2().port());
            }
        }
        cluster.node2().start();
        for pooler in cluster.poolers() {
            lead_by_hand(pooler, cluster.node2());
        }
    }
}

#[test]
fn a_daemon_that_is_told_to_stop_after_a_failover_sets_the_setting_again() {
    let cluster = Cluster::builder().poolers(2).start();
    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    assert_eq!(cluster.pooler(1).config("server_login_retry"), "0.02");
    assert_ends_well(&daemon, "after the redirect");
    assert_nothing_is_owed(&cluster);
    wait_until_all_serve(&cluster, cluster.node1(), DEADLINE);
}

#[test]
fn a_good_configuration_is_taken_and_a_broken_one_is_not() {
    let cluster = Cluster::builder().poolers(2).start();
    let settings = Settings::pausing();
    let file = cluster.write_config(1, &settings, |toml| {
        let second = toml.rfind("[[pgbouncer]]").expect("there are two");
        toml.truncate(second);
    });
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("pgbouncers=1", DEADLINE);
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);

    let good = cluster.write_config(1, &settings, |_| ());
    assert_eq!(good, file);
    let mark = daemon.mark();
    daemon.hup();
    daemon.wait_for_log_after(mark, "pgbouncers=2", DEADLINE);
    daemon.wait_for_log_after(mark, "monitoring node \"node2\"", DEADLINE);

    let mut line = 0;
    cluster.write_config(1, &settings, |toml| {
        let all = toml.lines();
        line = 1 + all
            .take_while(|line| !line.starts_with("reconnect_attempts"))
            .count();
        *toml = toml.replace("reconnect_attempts", "reconect_attempts");
    });
    let mark = daemon.mark();
    daemon.hup();
    let told = daemon.wait_for_log_after(mark, "the configuration is not taken", DEADLINE);
    let place = format!("{}:{line}", file.display());
    assert!(told.text.contains(&place), "{place}: {}", told.text);
    assert!(told.text.contains("reconect_attempts"), "{}", told.text);

    cluster.node2().kill9();
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
    wait_until_all_serve(&cluster, cluster.node1(), DEADLINE);
    assert!(!daemon.log().contains("repoint ends"));
    assert_ends_well(&daemon, "with the configuration that it has");
}

#[test]
fn a_configuration_that_comes_in_the_middle_of_a_failover_does_not_stop_it() {
    let cluster = Cluster::builder().poolers(2).start();
    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    daemon.wait_for_log("failover decided", DEADLINE);
    daemon.hup();
    wait_until_all_serve(&cluster, cluster.node1(), DEADLINE);
    wait_until(DEADLINE, "the second start", || {
        daemon.log().matches("repoint starts").count() == 2
    });
    assert_ends_well(&daemon, "after both");
    assert_nothing_is_owed(&cluster);
}
