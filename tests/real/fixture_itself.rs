//! The fixture does what the other tests believe it does.

use std::time::Duration;

use crate::fixture::{Cluster, Settings, Version, Writer, process, wait_until};

/// pglogical takes up to six seconds to begin again after a node has been away.
const REPLICATION_DEADLINE: Duration = Duration::from_secs(30);

const DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn poolers_serve_node2_and_rows_reach_both_nodes() {
    let cluster = Cluster::builder().poolers(2).start();
    for pooler in cluster.poolers() {
        assert_eq!(pooler.served_port("app"), cluster.node2().port());
        assert!(!pooler.paused("app"));
        assert_eq!(pooler.config("server_login_retry"), "15");
        let insert = format!(
            "insert into writes (pooler, seq) values ({}, 0) returning node",
            pooler.number()
        );
        let rows = pooler
            .try_rows("app", &insert, DEADLINE)
            .expect("app gets through");
        assert_eq!(rows[0]["node"], "node2");
        let mut client = pooler.client("probe");
        client
            .simple_query("select count(*) from writes")
            .expect("probe gets through");
    }
    cluster
        .node1()
        .wait_for_writes(DEADLINE, "node = 'node2'", 2);
    cluster
        .node1()
        .rows("insert into writes (pooler, seq) values (0, 1)");
    cluster
        .node2()
        .wait_for_writes(DEADLINE, "node = 'node1'", 1);
    // What came from the other node is not sent back to it.
    assert!(
        !cluster.node1().log().contains("conflict"),
        "{}",
        cluster.node1().log()
    );
}

#[test]
fn a_pooler_keeps_its_pause_until_it_is_resumed() {
    let cluster = Cluster::builder().poolers(1).pool_mode("session").start();
    let pooler = cluster.pooler(1);
    assert_eq!(pooler.config("pool_mode"), "session");
    pooler.admin("PAUSE app");
    assert!(pooler.paused("app"));
    pooler.admin("RESUME app");
    assert!(!pooler.paused("app"));

    pooler.freeze();
    pooler
        .try_admin("SHOW VERSION")
        .expect_err("a frozen console does not answer");
    pooler.thaw();
    pooler.admin("SHOW VERSION");

    pooler.kill9();
    assert!(!pooler.is_running());
    pooler.start();
    pooler.stop();
    pooler.start();
    assert_eq!(pooler.served_port("app"), cluster.node2().port());
}

#[test]
fn each_pooler_is_a_host_for_ssh() {
    let cluster = Cluster::builder().poolers(2).start();
    for pooler in cluster.poolers() {
        let output = cluster.ssh(pooler.name(), &format!("cat {}", pooler.file().display()));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}\n{}", pooler.sshd().log());
        assert_eq!(String::from_utf8_lossy(&output.stdout), pooler.file_text());
    }
    let pooler = cluster.pooler(1);
    let begun = cluster.directory().join("begun");
    let command = format!("touch {}; exec sleep 25", begun.display());
    std::thread::scope(|scope| {
        let session = scope.spawn(|| cluster.ssh("pgb1", &command));
        wait_until(DEADLINE, "a session", || begun.exists());
        pooler.stop_sshd();
        let output = session.join().expect("ssh ends before its deadline");
        assert_eq!(
            output.status.code(),
            Some(255),
            "an open session ends with its sshd"
        );
    });
    assert_eq!(cluster.ssh("pgb1", "true").status.code(), Some(255));
    assert!(cluster.ssh("pgb2", "true").status.success());
    pooler.start_sshd();
    assert!(cluster.ssh("pgb1", "true").status.success());
}

#[test]
fn a_killed_node_comes_back_and_replication_resumes() {
    let cluster = Cluster::builder().poolers(1).start();
    let node2 = cluster.node2();
    node2.kill9();
    assert!(!node2.is_running());
    assert_eq!(
        process::postgres_in(&node2.data_directory()),
        Vec::<u32>::new()
    );
    node2
        .try_rows("select 1")
        .expect_err("a dead node does not answer");
    node2.start();
    cluster.wait_for_replication(REPLICATION_DEADLINE);

    node2.stop_fast();
    assert!(!node2.is_running());
    node2.start();
    cluster.wait_for_replication(REPLICATION_DEADLINE);
}

#[test]
fn a_frozen_node_accepts_connections_and_answers_nothing() {
    let cluster = Cluster::builder().poolers(0).start();
    let node2 = cluster.node2();
    node2.freeze();
    assert!(node2.is_running());
    let error = node2
        .try_rows("select 1")
        .expect_err("a frozen node does not answer");
    assert!(!error.contains("refused"), "{error}");
    node2.thaw();
    assert_eq!(node2.query_one_text("select 'awake'"), "awake");
}

#[test]
fn every_acknowledged_row_of_the_writer_is_on_both_nodes() {
    let cluster = Cluster::builder().poolers(2).start();
    let writer = Writer::start(&cluster, 2);
    wait_until(DEADLINE, "300 commits", || {
        writer.so_far().acknowledged.len() >= 300
    });
    cluster.pooler(1).kill9();
    let killed = std::time::SystemTime::now();
    wait_until(DEADLINE, "an error", || !writer.so_far().errors.is_empty());
    let outage = killed.elapsed().expect("time goes on");
    cluster.pooler(1).start();
    let back = std::time::SystemTime::now();
    wait_until(DEADLINE, "a commit", || {
        writer.so_far().first_ack_after(1, back).is_some()
    });
    let record = writer.stop();
    assert!(
        record.errors.iter().all(|error| error.pooler == 1),
        "{:?}",
        record.errors_by_text()
    );
    assert!(record.acknowledged.iter().all(|ack| ack.node == "node2"));
    assert!(record.longest_gap(1) >= outage);
    for ack in &record.acknowledged {
        let row = format!("pooler = {} and seq = {}", ack.pooler, ack.seq);
        if ack.seq % 50 == 0 {
            cluster.node1().wait_for_writes(DEADLINE, &row, 1);
        }
    }
    // An insert that was cut off may have been committed; one that was acknowledged has been.
    cluster.wait_for_replication(REPLICATION_DEADLINE);
    for node in cluster.nodes() {
        let count = node.query_one_text("select count(*) from writes where note = 'writer'");
        let count: usize = count.parse().expect("a count is a number");
        assert!(
            count >= record.acknowledged.len(),
            "{} has {count} rows",
            node.name()
        );
    }
}

#[test]
fn nothing_is_left_when_the_cluster_is_dropped() {
    let cluster = Cluster::builder().poolers(1).start();
    let directory = cluster.directory().to_owned();
    let config = cluster.write_config(1, &Settings::default(), |toml| toml.push_str("# end\n"));
    assert!(
        std::fs::read_to_string(config)
            .expect("it is there")
            .ends_with("# end\n")
    );
    let writer = Writer::start(&cluster, 1);
    wait_until(DEADLINE, "a commit", || {
        !writer.so_far().acknowledged.is_empty()
    });
    assert!(process::belonging_to(&directory).len() > 10);
    cluster.node1().freeze();
    drop(cluster);
    assert!(process::belonging_to(&directory).is_empty());
    assert!(!directory.exists());
}

#[test]
fn nothing_is_left_after_a_panic() {
    let thread = std::thread::spawn(|| {
        let cluster = Cluster::builder().poolers(1).start();
        std::panic::panic_any(cluster.directory().to_owned());
    });
    let panic = thread.join().expect_err("the thread panics");
    let directory = panic
        .downcast_ref::<std::path::PathBuf>()
        .expect("a path was thrown");
    assert!(process::belonging_to(directory).is_empty());
    assert!(!directory.exists());
}

#[test]
fn every_version_that_the_tests_name_is_there_and_is_what_it_is_called() {
    let versions = [Version::Installed, Version::V1_24, Version::Newest];
    let cluster = Cluster::builder().pgbouncers(&versions).start();
    let reported = |number: usize| {
        let rows = cluster.pooler(number).admin("SHOW VERSION");
        rows[0]["version"].clone()
    };
    assert_eq!(reported(2), "PgBouncer 1.24.1");
    let newest = reported(3);
    let minor = newest
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok());
    assert!(minor.is_some_and(|minor: u32| minor >= 24), "{newest}");
    println!("installed: {}, newest: {newest}", reported(1));
}
