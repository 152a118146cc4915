//! What each PgBouncer serves is compared with what was decided, also while nothing happens.

use std::time::Duration;

use repoint::config::NodeId;
use repoint::generation::Generation;
use repoint::render::header;

use crate::fixture::{Cluster, Daemon, Node, Pooler, Settings, wait_until};
use crate::scene::{DEADLINE, assert_serves, reloads, start_daemon, start_with, wait_for_decision};
use crate::served::{assert_stays, lead_by_hand, wait_until_serves};
use crate::staging::staged;

const DIFFERS: &str = "PgBouncer is not as it should be: ";
const AGREES: &str = "PgBouncer is as it should be again";
/// A difference is acted upon when it has lasted three seconds.
const LONG_ENOUGH: Duration = Duration::from_secs(6);

fn every_second() -> Settings {
    Settings {
        lines: "reconcile_interval = \"1s\"\n".to_owned(),
        ..Settings::default()
    }
}

/// The file as decision `number` left it when it led to `node`.
fn file_of(number: u64, node: &Node) -> String {
    let (id, port) = (NodeId(node.id()), node.port());
    let generation = Generation {
        number,
        node_id: id,
    };
    let body = format!("[databases]\napp = host='127.0.0.1' port='{port}' dbname='bdrtest'\n");
    let file = header::with_header(generation, id, NodeId(1), &body);
    String::from_utf8(file).expect("text")
}

/// As a backup that is put back, or as PgBouncer was when its host went down.
fn restore(pooler: &Pooler, file: &str) {
    pooler.write_file(file);
    pooler.admin("RELOAD");
}

/// All serve node 1 by the second decision; the daemons of `ids` watch.
fn decided(cluster: &Cluster, ids: &[u32], settings: &Settings) -> Vec<Daemon> {
    for pooler in cluster.poolers() {
        restore(pooler, &file_of(2, cluster.node1()));
    }
    let start = |id: &u32| start_daemon(cluster, *id, settings);
    ids.iter().map(start).collect()
}

fn count(daemons: &[Daemon], what: &str) -> usize {
    let logs = daemons.iter().map(Daemon::log);
    logs.map(|log| log.matches(what).count()).sum()
}

#[test]
fn one_that_was_restored_from_an_older_decision_is_put_right_by_one_agent() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = decided(&cluster, &[1, 2], &every_second());
    let pooler = cluster.pooler(2);
    // From a backup.
    restore(pooler, &file_of(1, node2));
    wait_until_serves(pooler, node1, DEADLINE);
    wait_until(DEADLINE, "a line that says so", || {
        count(&daemons, "redirected `app`") == 1
    });
    // With the host, while the PgBouncer was down.
    pooler.stop();
    pooler.write_file(&file_of(1, node2));
    pooler.start();
    wait_until_serves(pooler, node1, DEADLINE);
    let text = pooler.file_text();
    assert!(
        text.starts_with(";repoint v1 generation=2.1 active=1"),
        "{text}"
    );
    wait_until(DEADLINE, "the end of it", || {
        count(&daemons, DIFFERS) == count(&daemons, AGREES)
    });
    assert_eq!(count(&daemons, "redirected `app`"), 2);
    assert_eq!(cluster.pooler(1).file_text(), file_of(2, node1));
    assert_eq!(count(&daemons, "failover decided"), 0);
}

#[test]
fn one_that_missed_a_decision_follows_it_also_when_the_daemons_have_started_since() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let [steady, missing] = [cluster.pooler(1), cluster.pooler(2)];
    for pooler in cluster.poolers() {
        restore(pooler, &file_of(1, node1));
    }
    let first = [start_daemon(&cluster, 1, &every_second())];
    missing.stop();
    first[0].wait_for_log("PgBouncer is not reached", DEADLINE);
    node1.kill9();
    wait_for_decision(&first);
    wait_until_serves(steady, node2, DEADLINE);
    first[0].kill9();
    node1.start();
    missing.start();

    let daemon = start_with(&[steady], || cluster.daemon(1, &every_second()));
    wait_until_serves(missing, node2, DEADLINE);
    daemon.wait_for_log(AGREES, DEADLINE);
    let log = daemon.log();
    let sentence = "it serves node 1 by its file of decision 1.1, but decision 2.2 leads to node 2";
    assert!(log.contains(sentence), "{log}");
    assert!(!log.contains("failover decided"), "{log}");
    assert_eq!(log.matches(DIFFERS).count(), 1, "{log}");
    assert_eq!(log.matches(AGREES).count(), 1, "{log}");
}

#[test]
fn what_an_operator_did_by_hand_is_told_once_and_left_alone() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = decided(&cluster, &[1, 2], &every_second());
    let pooler = cluster.pooler(1);
    let edited = file_of(2, node1).replace(&node1.port().to_string(), &node2.port().to_string());
    restore(pooler, &edited);
    for daemon in &daemons {
        daemon.wait_for_log("its file was edited since it was written", DEADLINE);
    }
    assert_stays(LONG_ENOUGH, "what was edited", || {
        pooler.served_port("app") == node2.port() && pooler.file_text() == edited
    });
    assert_eq!(count(&daemons, DIFFERS), 2, "one line each");

    lead_by_hand(pooler, node2);
    for daemon in &daemons {
        daemon.wait_for_log("no decision is in its file", DEADLINE);
    }
    restore(pooler, &file_of(2, node1));
    for daemon in &daemons {
        daemon.wait_for_log(AGREES, DEADLINE);
    }
    assert_eq!(count(&daemons, DIFFERS), 4);
    assert_eq!(count(&daemons, "redirected"), 0);

    // It is another matter when the node is dead.
    lead_by_hand(pooler, node2);
    node2.kill9();
    wait_until_serves(pooler, node1, DEADLINE);
}

#[test]
fn what_is_undone_again_and_again_is_left_until_the_next_decision() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = decided(&cluster, &[1], &every_second());
    let pooler = cluster.pooler(1);
    for _ in 0..3 {
        restore(pooler, &file_of(1, node2));
        wait_until_serves(pooler, node1, DEADLINE);
        let agrees = || count(&daemons, AGREES) == count(&daemons, DIFFERS);
        wait_until(DEADLINE, "a line that says so", agrees);
    }
    restore(pooler, &file_of(1, node2));
    let told = "it was put right three times within ten minutes and undone again";
    daemons[0].wait_for_log(told, DEADLINE);
    let before = reloads(pooler);
    assert_stays(LONG_ENOUGH, "what somebody means", || {
        pooler.served_port("app") == node2.port()
    });
    assert_eq!(reloads(pooler), before);
    assert_eq!(count(&daemons, DIFFERS), 4);

    node2.kill9();
    wait_for_decision(&daemons);
    assert_serves(pooler, node1);
}

#[test]
fn with_drift_report_the_log_tells_and_nothing_is_touched() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let settings = Settings {
        lines: "reconcile_interval = \"1s\"\ndrift = \"report\"\n".to_owned(),
        ..Settings::default()
    };
    let daemons = decided(&cluster, &[1], &settings);
    let pooler = cluster.pooler(1);
    let old = file_of(1, node2);
    restore(pooler, &old);
    let line = daemons[0].wait_for_log(DIFFERS, DEADLINE).text;
    assert!(
        line.contains("left as it is, because of drift = \"report\""),
        "{line}"
    );
    assert_stays(LONG_ENOUGH, "what was restored", || {
        pooler.served_port("app") == node2.port() && pooler.file_text() == old
    });
    assert_eq!(count(&daemons, DIFFERS), 1);
    restore(pooler, &file_of(2, node1));
    daemons[0].wait_for_log(AGREES, DEADLINE);
}

#[test]
fn what_was_not_loaded_is_paused_or_is_disabled_is_told_once_each_with_what_to_do() {
    let cluster = Cluster::builder().poolers(1).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = decided(&cluster, &[1], &every_second());
    let pooler = cluster.pooler(1);
    let mut mark = daemons[0].mark();
    let mut is_told = |sentence: &str| {
        let line = daemons[0].wait_for_log_after(mark, sentence, DEADLINE);
        assert!(line.text.contains(DIFFERS), "{}", line.text);
        mark = daemons[0].mark();
    };
    pooler.write_file(&file_of(2, node2));
    is_told("`app` is not as in its file: RELOAD it");
    pooler.write_file(&file_of(2, node1));
    daemons[0].wait_for_log(AGREES, DEADLINE);

    pooler.admin("PAUSE app");
    is_told("`app` is paused, but not by repoint; RESUME ends it");
    pooler.admin("RESUME app");
    pooler.admin("DISABLE app");
    is_told("`app` is disabled, but not by repoint; ENABLE ends it");
    assert_stays(LONG_ENOUGH, "what was disabled", || {
        pooler
            .admin("SHOW DATABASES")
            .iter()
            .any(|row| row["disabled"] == "1")
    });
    pooler.admin("ENABLE app");
    wait_until(DEADLINE, "a line for each end", || {
        count(&daemons, AGREES) >= 2
    });
    assert_eq!(count(&daemons, DIFFERS), 3);
    assert_serves(pooler, node1);
}

/// A host may be away for a weekend; the rest of the fleet is kept right all the same.
#[test]
fn one_is_put_right_and_prepared_while_another_one_is_still_waited_for_after_a_failover() {
    let cluster = Cluster::builder().poolers(3).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    for pooler in cluster.poolers() {
        restore(pooler, &file_of(1, node2));
    }
    let daemon = start_daemon(&cluster, 1, &every_second());
    let away = cluster.pooler(3);
    away.stop_sshd();
    away.kill9();
    daemon.wait_for_log("PgBouncer is not reached", DEADLINE);
    node2.kill9();
    daemon.wait_for_log("redirect not complete", DEADLINE);
    node2.start();
    daemon.wait_for_log("answers again", DEADLINE);

    let pooler = cluster.pooler(2);
    restore(pooler, &file_of(1, node2));
    wait_until_serves(pooler, node1, DEADLINE);
    daemon.wait_for_log(AGREES, DEADLINE);
    // What a failure of node 1 would need lies there.
    let what = format!("a staged file:\n{}", daemon.log());
    wait_until(DEADLINE, what, || !staged(pooler).is_empty());
    assert!(!daemon.log().contains("redirect complete"), "pgb3 is away");

    away.start_sshd();
    away.start();
    wait_until_serves(away, node1, DEADLINE);
    daemon.wait_for_log("redirect complete", DEADLINE);
}
