//! What an operator does by hand is respected.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::held_back::hold_back;
use crate::served::{assert_stays, assert_whole_file, wait_until_serves};

const DEADLINE: Duration = Duration::from_secs(20);
/// Several looks of a worker.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

#[test]
fn a_pause_by_hand_is_not_ended() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let daemons = [1, 2].map(|id| cluster.daemon(id, &Settings::pausing()));
    for daemon in &daemons {
        daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    }
    pooler.admin("PAUSE app");
    assert_stays(LONG_ENOUGH, "the operator's pause", || pooler.paused("app"));
    // Nor by a daemon that starts, or that ends.
    assert!(daemons[0].terminate().success());
    let again = cluster.daemon(1, &Settings::pausing());
    again.wait_for_log("monitoring node \"node2\"", DEADLINE);
    assert_stays(LONG_ENOUGH, "the operator's pause", || pooler.paused("app"));
    pooler.admin("RESUME app");
}

#[test]
fn a_pause_by_hand_after_a_failover_is_not_ended() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let daemons = [1, 2].map(|id| cluster.daemon(id, &Settings::pausing()));
    for daemon in &daemons {
        daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    }
    cluster.node2().kill9();
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    wait_until(DEADLINE, "a complete redirect", || {
        let complete = |daemon: &Daemon| daemon.log().contains("redirect complete");
        daemons.iter().any(complete)
    });
    pooler.admin("PAUSE app");
    assert_stays(LONG_ENOUGH, "the operator's pause", || pooler.paused("app"));
}

#[test]
fn a_file_that_is_edited_in_the_middle_is_kept_and_read_again() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let lock = hold_back(&cluster, pooler);
    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    wait_until(DEADLINE, "the pause", || pooler.paused("app"));
    let edited = format!(
        "; edited just then\n[databases]\n\
         app = host='127.0.0.1' port='{}' dbname='bdrtest' pool_size=7\n",
        cluster.node2().port()
    );
    pooler.write_file(&edited);
    drop(lock);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    daemon.wait_for_log("redirect complete", DEADLINE);
    assert!(
        daemon.log().contains("is not the one that was read"),
        "{}",
        daemon.log()
    );
    let previous = pooler.file().with_file_name("databases.ini.prev");
    let previous = std::fs::read_to_string(previous).expect("it is there");
    assert_eq!(previous, edited);
    let (from, to) = (cluster.node2().port(), cluster.node1().port());
    let expected = edited.replace(&from.to_string(), &to.to_string());
    assert_eq!(
        pooler.file_text().split_once('\n').expect("lines").1,
        expected
    );
}

#[test]
fn edits_by_hand_stay_and_are_told() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let file = cluster.write_config(1, &Settings::pausing(), |_| ());
    let file = file.display().to_string();
    let first = cluster.repoint(&["-f", &file, "render", "--full", "--node", "node2"]);
    let edited = String::from_utf8(first.stdout).expect("text") + "; by hand\n";
    pooler.write_file(&edited);
    pooler.admin("RELOAD");

    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    let told = daemon.wait_for_log("redirected `app`", DEADLINE);
    assert!(told.text.contains("was edited by hand"), "{}", told.text);
    assert!(told.text.contains("; the edits stay"), "{}", told.text);
    let previous = pooler.file().with_file_name("databases.ini.prev");
    let previous = std::fs::read_to_string(previous).expect("it is there");
    assert_eq!(previous, edited);
    assert_whole_file(pooler);
    let (from, to) = (cluster.node2().port(), cluster.node1().port());
    let body = |text: &str| text.split_once('\n').expect("lines").1.to_owned();
    let expected = body(&edited).replace(&from.to_string(), &to.to_string());
    assert_eq!(body(&pooler.file_text()), expected);
}
