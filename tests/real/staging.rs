//! The file of a failover that may come is on every host already.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, wait_until};
use crate::scene::{
    DEADLINE, assert_new_clients_commit, assert_serves, start_with, wait_for_decision,
    wait_for_events,
};

const STEPS: &str = "info,repoint=debug";
pub(crate) const STAGED: &str = "staged the file for a failover";

/// The files that the agents have staged, one name each.
pub(crate) fn staged(pooler: &Pooler) -> Vec<PathBuf> {
    let directory = pooler.file().with_file_name("");
    let entries = std::fs::read_dir(directory).expect("the directory can be read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_staged = |path: &PathBuf| path.to_string_lossy().contains(".repoint-staged-");
    let mut found: Vec<PathBuf> = paths.filter(is_staged).collect();
    found.sort();
    found
}

#[track_caller]
fn wait_for_staged(pooler: &Pooler, count: usize) {
    let what = format!("{count} staged files beside {}", pooler.file().display());
    wait_until(DEADLINE, what, || staged(pooler).len() == count);
}

/// A daemon that logs its steps.
fn daemon(cluster: &Cluster, id: u32) -> Daemon {
    let file = cluster.write_config(id, &Settings::default(), |_| ());
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    start_with(&poolers, || cluster.daemon_with_filter(id, &file, STEPS))
}

fn steps(daemon: &Daemon, name: &str) -> usize {
    daemon.log().matches(&format!("step={name} ")).count()
}

#[test]
fn a_failover_only_activates_what_both_agents_have_staged_ahead_of_time() {
    let cluster = Cluster::builder().poolers(2).start();
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let daemons = [daemon(&cluster, 1), daemon(&cluster, 2)];
    for daemon in &daemons {
        let both = || daemon.log().matches(STAGED).count() == 2;
        wait_until(DEADLINE, "a file for each PgBouncer", both);
    }
    for pooler in cluster.poolers() {
        wait_for_staged(pooler, 2);
        let file = std::fs::metadata(pooler.file()).expect("it is there");
        for path in staged(pooler) {
            let like = std::fs::metadata(&path).expect("it is there");
            assert_eq!((like.mode(), like.uid()), (file.mode(), file.uid()));
            let text = std::fs::read_to_string(&path).expect("text");
            assert!(
                text.starts_with(";repoint v1 generation=1.1 active=1"),
                "{text}"
            );
        }
    }
    node2.kill9();
    let decided = wait_for_decision(&daemons);
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    assert_new_clients_commit(&poolers, node1, decided);
    wait_for_events(node1, "repoint_redirect", 1);
    let [stages, activates] =
        ["Stage", "Activate"].map(|step| daemons.iter().map(|d| steps(d, step)).sum::<usize>());
    assert_eq!((stages, activates), (0, 2));

    // The next one is prepared for when it can be: with the node back, and nothing owed any more.
    node2.start();
    for pooler in cluster.poolers() {
        let next = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            // An agent that was granted the claim when all was done has counted a decision more.
            let numbers = ["2.2", "3.2"];
            let begins = |number| {
                let begin = format!(";repoint v1 generation={number} active=2");
                text.starts_with(&begin)
            };
            numbers.into_iter().any(begins)
        };
        let what = format!("a file for the failure of node1 beside {}", pooler.name());
        wait_until(DEADLINE, what, || {
            let staged = staged(pooler);
            staged.len() == 2 && staged.iter().all(next)
        });
    }
}

#[test]
fn what_has_vanished_from_the_host_is_staged_in_the_failover() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let daemons = [daemon(&cluster, 1)];
    daemons[0].wait_for_log(STAGED, DEADLINE);
    for path in staged(pooler) {
        std::fs::remove_file(path).expect("it can be removed");
    }
    cluster.node2().kill9();
    let decided = wait_for_decision(&daemons);
    assert_new_clients_commit(&[pooler], node1, decided);
    daemons[0].wait_for_log("redirect complete", DEADLINE);
    assert_eq!(
        (steps(&daemons[0], "Stage"), steps(&daemons[0], "Activate")),
        (1, 2)
    );
    assert_serves(pooler, node1);
}

#[test]
fn it_is_staged_again_when_somebody_has_changed_the_file() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, node1) = (cluster.pooler(1), cluster.node1());
    let file = cluster.write_config(1, &Settings::default(), |text| {
        text.insert_str(0, "reconcile_interval = \"1s\"\n");
    });
    let daemons = [start_with(&[pooler], || {
        cluster.daemon_with_filter(1, &file, STEPS)
    })];
    daemons[0].wait_for_log(STAGED, DEADLINE);
    let before = daemons[0].mark();
    pooler.write_file(&format!("; by hand\n{}", pooler.file_text()));
    daemons[0].wait_for_log_after(before, STAGED, DEADLINE);
    wait_for_staged(pooler, 1);
    cluster.node2().kill9();
    wait_for_decision(&daemons);
    daemons[0].wait_for_log("redirect complete", DEADLINE);
    assert_eq!(
        (steps(&daemons[0], "Stage"), steps(&daemons[0], "Activate")),
        (0, 1)
    );
    assert_serves(pooler, node1);
}

#[test]
fn that_nothing_can_be_staged_is_told_once_while_all_is_well() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let directory = pooler.file().with_file_name("");
    let set_mode = |mode: u32| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&directory, permissions).expect("the mode can be changed");
    };
    set_mode(0o555);
    let daemon = daemon(&cluster, 1);
    let told = "the file for a failover of node 2 cannot be staged";
    let line = daemon.wait_for_log(told, DEADLINE).text;
    assert!(line.contains("cannot write in"), "{line}");
    daemon.wait_for_log("not staged", DEADLINE);
    assert_eq!(daemon.log().matches(told).count(), 1, "{}", daemon.log());
    set_mode(0o755);
    daemon.wait_for_log("files for a failover can be staged again", DEADLINE);
    wait_for_staged(pooler, 1);
}
