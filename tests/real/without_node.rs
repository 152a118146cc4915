//! No node is left, and the configuration says that new clients are to get an error at once.

use std::time::{Duration, Instant};

use crate::fixture::{Cluster, Daemon, Node, Pooler, Settings, wait_until};
use crate::scene::{DEADLINE, assert_serves, assert_stays, start_daemon};
use crate::served::{leave_on_record, leftovers};

const ERROR_DEADLINE: Duration = Duration::from_secs(1);
/// Several looks of a worker.
const A_WHILE: Duration = Duration::from_secs(3);

fn settings() -> Settings {
    Settings {
        pgbouncer_lines: "without_node = \"disable\"".into(),
        ..Settings::default()
    }
}

/// What a new client gets.
fn error(pooler: &Pooler) -> String {
    let answer = pooler.try_rows("app", "select 1", ERROR_DEADLINE);
    answer.err().unwrap_or_default()
}

fn is_disabled(pooler: &Pooler) -> bool {
    error(pooler).contains("database \"app\" is disabled")
}

/// What PgBouncer says itself: a client that came a moment too early would wait.
fn shows_disabled(pooler: &Pooler, entry: &str) -> bool {
    let rows = pooler.admin("SHOW DATABASES");
    let mut rows = rows.iter();
    rows.any(|row| row["name"] == entry && row["disabled"] == "1")
}

/// Kills one node after the other; returns when the daemons know that none is left.
#[track_caller]
fn kill_both(cluster: &Cluster, daemons: &[Daemon], first: u32) {
    let second = 3 - first;
    for (node, then) in [(first, ""), (second, "no other node is available")] {
        cluster.node(node).kill9();
        for daemon in daemons {
            daemon.wait_for_log(&format!("unable to reconnect to node {node}"), DEADLINE);
            daemon.wait_for_log(then, DEADLINE);
        }
    }
}

#[track_caller]
fn assert_served_again(pooler: &Pooler, node: &Node) {
    assert_serves(pooler, node);
    let what = || format!("nothing on record: {:?}", leftovers(pooler));
    wait_until(2 * DEADLINE, what(), || leftovers(pooler).is_empty());
}

#[test]
fn new_clients_get_an_error_at_once_and_are_served_when_the_node_they_lead_to_is_back() {
    let cluster = Cluster::builder().poolers(2).start();
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &settings()));
    // Everybody is at node 2 already, so nothing is redirected.
    kill_both(&cluster, &daemons, 1);
    let since = Instant::now();
    for pooler in cluster.poolers() {
        wait_until(DEADLINE, "DISABLE", || shows_disabled(pooler, "app"));
    }
    assert!(since.elapsed() < ERROR_DEADLINE, "{:?}", since.elapsed());
    for pooler in cluster.poolers() {
        assert!(is_disabled(pooler), "{}", error(pooler));
        assert_eq!(pooler.served_port("app"), cluster.node2().port());
    }
    assert_stays(A_WHILE, "the error", || {
        cluster.poolers().iter().all(is_disabled)
    });
    cluster.node2().start();
    let since = Instant::now();
    for pooler in cluster.poolers() {
        assert_serves(pooler, cluster.node2());
    }
    // Far less than `server_login_retry`.
    assert!(since.elapsed() < DEADLINE / 3, "{:?}", since.elapsed());
    for pooler in cluster.poolers() {
        assert_served_again(pooler, cluster.node2());
        assert_eq!(pooler.config("server_login_retry"), "15");
    }
}

#[test]
fn the_redirect_to_the_node_that_is_back_first_enables_what_was_disabled() {
    let cluster = Cluster::builder().poolers(2).start();
    let other = cluster.pooler(1);
    let ini = other.socket_dir().join("pgbouncer.ini");
    let text = std::fs::read_to_string(&ini).expect("the fixture has written it");
    let port = cluster.node2().port();
    let entry = format!("\n[databases]\nother = host=127.0.0.1 port={port} dbname=bdrtest\n");
    cluster.home().write(&ini, &(text + &entry));
    other.admin("RELOAD");
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &settings()));
    kill_both(&cluster, &daemons, 1);
    for pooler in cluster.poolers() {
        wait_until(DEADLINE, "DISABLE", || shows_disabled(pooler, "app"));
    }
    assert!(!shows_disabled(other, "other"), "it is not ours");
    cluster.node1().start();
    for pooler in cluster.poolers() {
        assert_served_again(pooler, cluster.node1());
    }
}

/// The record of the first failover's redirect, which owes `server_login_retry`, is still there.
#[test]
fn a_second_failure_right_after_the_first_disables_too_and_nothing_that_is_owed_is_lost() {
    let cluster = Cluster::builder()
        .poolers(1)
        .pooler_lines("server_login_retry = 2")
        .start();
    let pooler = cluster.pooler(1);
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &settings()));
    cluster.node2().kill9();
    let complete = |daemon: &Daemon| daemon.log().contains("redirect complete");
    wait_until(DEADLINE, "the first failover", || {
        daemons.iter().any(complete)
    });
    assert_eq!(pooler.config("server_login_retry"), "0.02");
    cluster.node1().kill9();
    wait_until(DEADLINE, error(pooler), || is_disabled(pooler));
    daemons.iter().for_each(Daemon::kill9);
    cluster.node1().start();
    let again = cluster.daemon(1, &settings());
    assert_served_again(pooler, cluster.node1());
    assert_eq!(pooler.config("server_login_retry"), "2");
    assert!(again.terminate().success());
}

#[test]
fn a_daemon_that_was_killed_and_restarted_in_between_enables_what_was_disabled() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let daemon = start_daemon(&cluster, 1, &settings());
    kill_both(&cluster, std::slice::from_ref(&daemon), 1);
    wait_until(DEADLINE, error(pooler), || is_disabled(pooler));
    daemon.kill9();
    drop(daemon);
    // A PgBouncer that is restarted has forgotten it.
    pooler.kill9();
    pooler.start();
    assert!(!is_disabled(pooler));
    let again = cluster.daemon(1, &settings());
    again.wait_for_log("no other node is available", DEADLINE);
    wait_until(DEADLINE, error(pooler), || is_disabled(pooler));
    assert!(again.terminate().success());
    assert!(is_disabled(pooler), "it is for who comes next to enable it");
    cluster.node2().start();
    let last = cluster.daemon(2, &settings());
    assert_served_again(pooler, cluster.node2());
    assert!(last.terminate().success());
}

/// No node was left while a redirect was at work that was killed later, in the middle of freeing
/// clients.
#[test]
fn what_else_is_on_record_of_an_entry_that_is_enabled_is_put_back_with_it() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let set = "{\"query_timeout\":\"77\",\"server_fast_close\":\"0\",\"server_login_retry\":\"2\"}";
    let debt = format!("{{\"paused\":[],\"settings\":[{set}],\"disabled\":[\"app\"]}}");
    for set in [
        "server_login_retry='0.02'",
        "query_timeout='1'",
        "server_fast_close='1'",
    ] {
        pooler.admin(&format!("SET {set}"));
    }
    pooler.admin("DISABLE app");
    leave_on_record(&cluster, pooler, &debt);
    let daemon = cluster.daemon(1, &settings());
    assert_served_again(pooler, cluster.node2());
    assert_eq!(pooler.config("query_timeout"), "77");
    assert_eq!(pooler.config("server_fast_close"), "0");
    assert_eq!(pooler.config("server_login_retry"), "2");
    assert!(!shows_disabled(pooler, "app"));
    let told = "query_timeout: 77 was in force and is again";
    assert!(daemon.log().contains(told), "{}", daemon.log());
}

#[test]
fn what_an_operator_has_disabled_stays_disabled() {
    let cluster = Cluster::builder().poolers(2).start();
    let (theirs, ours) = (cluster.pooler(1), cluster.pooler(2));
    let daemons = [start_daemon(&cluster, 1, &settings())];
    theirs.admin("DISABLE app");
    kill_both(&cluster, &daemons, 1);
    wait_until(DEADLINE, error(ours), || is_disabled(ours));
    cluster.node1().start();
    assert_served_again(ours, cluster.node1());
    daemons[0].wait_for_log("redirect complete", DEADLINE);
    assert_eq!(theirs.served_port("app"), cluster.node1().port());
    assert_stays(A_WHILE, "the operator's DISABLE", || is_disabled(theirs));
}

/// It sees no node, but clients do.
#[test]
fn an_agent_that_is_cut_off_from_nodes_that_clients_reach_disables_nothing() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let daemon = start_daemon(&cluster, 1, &settings());
    for node in cluster.nodes() {
        // Its own queries are not answered any more.
        for sql in [
            "create schema slow",
            "create function slow.pg_postmaster_start_time() returns timestamptz \
             language sql as 'select now() from pg_sleep(3600)'",
            "alter role repmgr set search_path = slow, pg_catalog",
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where application_name = 'repoint'",
        ] {
            node.rows(sql);
        }
    }
    daemon.wait_for_log("no other node is available", DEADLINE);
    assert_stays(A_WHILE, "no DISABLE", || !shows_disabled(pooler, "app"));
    wait_until(DEADLINE, "service", || error(pooler).is_empty());
}

#[test]
fn without_the_option_nothing_is_disabled() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    kill_both(&cluster, &daemons, 1);
    assert_stays(A_WHILE, "no DISABLE", || !is_disabled(pooler));
    assert_eq!(leftovers(pooler), [""; 0]);
}
