//! A node dies: its connections are refused.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fixture::{Cluster, Settings, Version, Writer, wait_until};
use crate::scene::{
    DEADLINE, FIRST_COMMIT, assert_file_leads_to, assert_serves, assert_stays, first_commits,
    is_active, start_daemon, wait_for_decision, wait_for_events,
};

const ALL_VERSIONS: [Version; 3] = [Version::Installed, Version::V1_24, Version::Newest];

/// Several times the interval at which the claim is asked for.
const A_WHILE: Duration = Duration::from_secs(3);

#[test]
fn clients_commit_on_the_other_node_within_a_second_of_the_decision() {
    let cluster = Cluster::builder().pgbouncers(&ALL_VERSIONS).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &Settings::default()));
    let writer = Writer::start(&cluster, 2);
    wait_until(DEADLINE, "commits on node2", || {
        (1..=3).all(|number| {
            let acks = writer.so_far().acknowledged;
            acks.iter().filter(|ack| ack.pooler == number).count() > 20
        })
    });
    for pooler in cluster.poolers() {
        assert_eq!(pooler.config("server_login_retry"), "15");
    }

    node2.kill9();
    let decided = wait_for_decision(&daemons);
    let commits = || first_commits(&writer.so_far(), node1, decided);
    wait_until(DEADLINE, "commits on node1", || commits().len() == 3);
    let commits = commits();
    println!("first commits, crash: {commits:?}");
    assert!(commits.iter().all(|t| *t <= FIRST_COMMIT), "{commits:?}");

    let redirects = wait_for_events(node1, "repoint_redirect", 1);
    assert_eq!(redirects[0]["successful"], "t", "{redirects:?}");
    for pooler in cluster.poolers() {
        assert_eq!(pooler.served_port("app"), node1.port());
        assert!(!pooler.paused("app"));
        assert_file_leads_to(pooler, node1);
    }
    assert!(!is_active(node1, 2));
    assert!(is_active(node1, 1));

    // The other agent comes to the same end by itself, and has nothing to add.
    let said = || daemons.iter().map(|d| d.log()).collect::<String>();
    wait_until(DEADLINE, "the second agent", || {
        said().contains("has already been set inactive") || said().contains("standing by")
    });
    let failovers = wait_for_events(node1, "bdr_failover", 1);
    assert_eq!(failovers.len(), 1, "{failovers:?}");
    assert_eq!(failovers[0]["node_id"], "2");
    assert_eq!(failovers[0]["successful"], "t");
    assert_eq!(
        failovers[0]["details"],
        "node \"node2\" (ID: 2) detected as failed; next available node is \"node1\" (ID: 1); \
         3 of 3 PgBouncers serve node 1"
    );
}

/// With its node, a session is gone.
#[test]
fn in_session_pooling_clients_get_an_error_and_are_served_when_they_connect_again() {
    let cluster = Cluster::builder()
        .pgbouncers(&ALL_VERSIONS)
        .pool_mode("session")
        .start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    let writer = Writer::start(&cluster, 2);
    wait_until(DEADLINE, "commits on node2", || {
        writer.so_far().acknowledged.len() > 60
    });

    node2.kill9();
    let decided = wait_for_decision(&daemons);
    let all = 3 * 2;
    let served = || {
        let acks = writer.so_far().acknowledged;
        let there = acks.into_iter().filter(|ack| ack.node == node1.name());
        let there: BTreeSet<_> = there.map(|ack| (ack.pooler, ack.client)).collect();
        there.len()
    };
    wait_until(DEADLINE, "each client on node1", || served() == all);
    let commits = first_commits(&writer.so_far(), node1, decided);
    println!("first commits, crash, session pooling: {commits:?}");
    assert!(commits.iter().all(|t| *t <= FIRST_COMMIT), "{commits:?}");
    let errors = writer.stop().errors;
    let told: BTreeSet<_> = errors
        .iter()
        .map(|error| (error.pooler, error.client))
        .collect();
    assert_eq!(told.len(), all, "each client's session is gone: {errors:?}");
    for pooler in cluster.poolers() {
        assert_serves(pooler, node1);
    }
    let log = daemons[0].log();
    assert!(
        !log.contains("were freed"),
        "nobody hangs in a crash: {log}"
    );
}

/// Whatever keeps the claim from being taken, the operator has to know why nothing happens.
#[test]
fn a_claim_that_cannot_be_taken_is_told_once_and_taken_when_it_can_be() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [start_daemon(&cluster, 1, &Settings::default())];
    let function = "alter function pg_catalog";
    node1.rows(&format!(
        "{function}.pg_try_advisory_lock(integer, integer) rename to repoint_test_lock"
    ));
    node2.kill9();
    let told = "the claim cannot be taken on node 1";
    daemons[0].wait_for_log(told, DEADLINE);
    assert_stays(A_WHILE, "it is told once, and nothing is moved", || {
        let log = daemons[0].log();
        log.matches(told).count() == 1 && cluster.pooler(1).served_port("app") == node2.port()
    });
    node1.rows(&format!(
        "{function}.repoint_test_lock(integer, integer) rename to pg_try_advisory_lock"
    ));
    wait_for_decision(&daemons);
    assert_serves(cluster.pooler(1), node1);
}
