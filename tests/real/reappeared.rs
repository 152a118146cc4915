//! A node that counted as down answers again before anybody decided.

use std::time::Duration;

use crate::fixture::{Cluster, Settings, rows, wait_until};
use crate::scene::{
    DEADLINE, assert_serves, assert_stays, events, is_active, reloads, start_daemon, start_with,
};

const A_WHILE: Duration = Duration::from_secs(2);
/// What an agent asks of the surviving node before it decides.
const CLAIM: &str = "pg_try_advisory_lock(1919250548, 1)";

/// The original goes on with the failover, on a connection that it has closed, and keeps its lock.
#[test]
fn fault_5_a_node_that_has_reappeared_really_ends_the_failover_and_the_claim_is_given_back() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1, node2) = (cluster.pooler(1), cluster.node1(), cluster.node2());
    let daemon = start_daemon(&cluster, 1, &Settings::default());
    let before = (pooler.file_text(), reloads(pooler));
    // Somebody else is at it, and ends without having done anything.
    let mut holder = node1.client();
    holder
        .batch_execute(&format!("SELECT {CLAIM}"))
        .expect("SQL");
    node2.kill9();
    daemon.wait_for_log("another repoint is handling failover of node 2", DEADLINE);
    node2.start();
    daemon.wait_for_log("node 2 has reappeared, aborting failover", DEADLINE);
    drop(holder);

    assert_stays(A_WHILE, "nothing is decided", || {
        let kinds = ["bdr_failover", "bdr_recovery", "repoint_redirect"];
        is_active(node1, 2) && kinds.iter().all(|kind| events(node1, kind).is_empty())
    });
    assert_serves(pooler, node2);
    assert_eq!((pooler.file_text(), reloads(pooler)), before);
    let log = daemon.log();
    assert!(!log.contains("failover decided"), "{log}");
    wait_until(DEADLINE, "the claim to be free", || {
        let answer = rows(
            &node1.conninfo(),
            &format!("SELECT {CLAIM} AS free"),
            DEADLINE,
        );
        answer.is_ok_and(|rows| rows[0]["free"] == "t")
    });

    // The next failure is dealt with as any other.
    node2.kill9();
    daemon.wait_for_log("redirect complete", DEADLINE);
    assert_serves(pooler, node1);
}

/// repmgr's lock is a number in shared memory that only its holder can clear: it outlives a daemon
/// that was killed. Here the session is the lock.
#[test]
fn fault_6_the_claim_ends_with_the_daemon_that_holds_it() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    // It cannot finish, so that it keeps the claim.
    pooler.stop_sshd();
    let stuck = start_with(&[], || cluster.daemon(2, &Settings::default()));
    cluster.node2().kill9();
    stuck.wait_for_log("redirect not complete", DEADLINE);
    let daemon = cluster.daemon(1, &Settings::default());
    let holder = "the repoint of node \"node2\" (ID: 2) is handling failover of node 2";
    daemon.wait_for_log(holder, DEADLINE);
    stuck.kill9();
    pooler.start_sshd();
    daemon.wait_for_log("redirect complete", DEADLINE);
    assert_serves(pooler, node1);
}
