//! One of three PgBouncers cannot be reached when a node dies.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, events, start_daemon, start_with,
    wait_for_decision, wait_for_events,
};

/// From the return of a host to the redirect of its PgBouncer.
const FOLLOWS: Duration = Duration::from_secs(6);

#[test]
fn a_host_that_is_away_delays_no_other_and_follows_when_it_is_back() {
    let cluster = Cluster::builder().poolers(3).start();
    let daemons = [start_daemon(&cluster, 1, &Settings::pausing())];
    let away = cluster.pooler(3);
    away.stop_sshd();
    away.freeze();
    daemons[0].wait_for_log("PgBouncer is not reached", DEADLINE);

    assert_the_others_are_redirected(&cluster, &daemons);

    away.start_sshd();
    away.thaw();
    assert_it_follows(&cluster, &daemons[0]);
}

#[test]
fn a_host_that_is_down_delays_no_other_and_follows_when_it_is_started() {
    let cluster = Cluster::builder().poolers(3).start();
    let daemons = [start_daemon(&cluster, 1, &Settings::pausing())];
    let away = cluster.pooler(3);
    away.stop_sshd();
    away.kill9();

    assert_the_others_are_redirected(&cluster, &daemons);

    away.start_sshd();
    away.start();
    assert_it_follows(&cluster, &daemons[0]);
}

#[test]
fn an_ssh_connection_that_hangs_while_it_is_made_delays_no_other() {
    let cluster = Cluster::builder().poolers(3).start();
    let (first, second, hung) = (cluster.pooler(1), cluster.pooler(2), cluster.pooler(3));
    hung.sshd().freeze();
    let settings = Settings::pausing();
    let daemons = [start_with(&[first, second], || {
        cluster.daemon(1, &settings)
    })];

    assert_the_others_are_redirected(&cluster, &daemons);

    hung.sshd().thaw();
    assert_it_follows(&cluster, &daemons[0]);
}

#[test]
fn an_open_ssh_session_that_hangs_delays_no_other() {
    let cluster = Cluster::builder().poolers(3).start();
    let daemons = [start_daemon(&cluster, 1, &Settings::pausing())];
    let hung = cluster.pooler(3);
    hung.sshd().freeze();

    assert_the_others_are_redirected(&cluster, &daemons);

    hung.sshd().thaw();
    assert_it_follows(&cluster, &daemons[0]);
}

#[track_caller]
fn assert_the_others_are_redirected(cluster: &Cluster, daemons: &[Daemon]) {
    let (node1, node2) = (cluster.node1(), cluster.node2());
    node2.kill9();
    let decided = wait_for_decision(daemons);
    assert_new_clients_commit(&[cluster.pooler(1), cluster.pooler(2)], node1, decided);

    let line = daemons[0].wait_for_log("redirect not complete", DEADLINE);
    let text = line.text;
    assert!(text.contains("2 of 3 PgBouncers serve node 1"), "{text}");
    assert!(
        text.contains("pgb3: not reached") || text.contains("pgb3: failed"),
        "{text}"
    );
    let redirects = wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(redirects.len(), 1);
    assert_eq!(redirects[0]["successful"], "f", "{redirects:?}");
    assert!(redirects[0]["details"].contains("pgb3"), "{redirects:?}");
}

#[track_caller]
fn assert_it_follows(cluster: &Cluster, daemon: &Daemon) {
    let (node1, late) = (cluster.node1(), cluster.pooler(3));
    let what = format!("{}:\n{}", late.name(), daemon.log());
    wait_until(FOLLOWS, what, || late.served_port("app") == node1.port());
    assert_serves(late, node1);
    daemon.wait_for_log("redirect complete", DEADLINE);
    wait_for_events(node1, "repoint_redirect", 2);
    let redirects = events(node1, "repoint_redirect");
    assert_eq!(redirects.len(), 2, "{redirects:?}");
    assert_eq!(redirects[1]["successful"], "t", "{redirects:?}");
}
