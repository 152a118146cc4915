//! Hosts that do not do what is needed: named with the reason, and in nobody else's way.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings};
use crate::scene::wait_for_events;
use crate::served::{leftovers, wait_until_serves};

const DEADLINE: Duration = Duration::from_secs(30);

/// Node 2 dies: `pgb2` is redirected, `pgb1` is told of with `reason` in one line, and untouched.
#[track_caller]
fn only_pgb2_is_redirected(cluster: &Cluster, reason: &str) -> Daemon {
    let (pgb1, pgb2) = (cluster.pooler(1), cluster.pooler(2));
    let before = pgb1.file_text();
    let daemon = cluster.daemon(1, &Settings::pausing());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    cluster.node2().kill9();
    wait_until_serves(pgb2, cluster.node1(), DEADLINE);
    daemon.wait_for_log("redirect not complete", DEADLINE);
    let told = daemon.lines().into_iter().map(|line| line.text);
    let of_pgb1 = |line: &String| line.contains("WARN") && line.contains("pgbouncer=\"pgb1\"");
    let told: Vec<String> = told.filter(of_pgb1).collect();
    assert!(told.iter().all(|line| line.contains(reason)), "{told:#?}");
    assert!(!told.is_empty(), "{}", daemon.log());
    assert_eq!(pgb1.served_port("app"), cluster.node2().port());
    assert!(!pgb1.paused("app"));
    assert_eq!(pgb1.file_text(), before);
    let details = &wait_for_events(cluster.node1(), "repoint_redirect", 1)[0]["details"];
    assert!(
        details.contains("1 of 2 PgBouncers serve node 1"),
        "{details}"
    );
    assert!(details.contains(reason), "{details}");
    daemon
}

#[test]
fn a_host_that_allows_only_sftp_is_refused_until_it_runs_commands() {
    let cluster = Cluster::builder().poolers(2).start();
    let pooler = cluster.pooler(1);
    pooler.sshd().reconfigure("ForceCommand internal-sftp");
    let daemon = only_pgb2_is_redirected(&cluster, "`pgb1` runs no command of ours");
    pooler.sshd().reconfigure("");
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
}

#[test]
fn a_host_whose_account_has_no_shell_is_refused() {
    let cluster = Cluster::builder().poolers(2).start();
    cluster
        .pooler(1)
        .sshd()
        .reconfigure("ForceCommand /bin/false");
    only_pgb2_is_redirected(&cluster, "`pgb1` runs no command of ours");
}

#[test]
fn a_host_with_another_key_than_the_known_one_is_refused() {
    let cluster = Cluster::builder().poolers(2).start();
    let path = cluster.directory().join("known_hosts");
    let known = std::fs::read_to_string(&path).expect("it is there");
    let [first, second] = [0, 1].map(|index| known.lines().nth(index).expect("a line each"));
    let key = |line: &str| line.split_once(' ').expect("host and key").1.to_owned();
    let wrong = known.replacen(&key(first), &key(second), 1);
    cluster.home().write(&path, &wrong);
    only_pgb2_is_redirected(&cluster, "host key verification failed");
}

#[test]
fn a_host_that_does_not_take_our_key_is_named() {
    let cluster = Cluster::builder().poolers(2).start();
    cluster
        .pooler(1)
        .sshd()
        .reconfigure("AuthorizedKeysFile /dev/null");
    only_pgb2_is_redirected(&cluster, "Permission denied");
}

#[test]
fn a_directory_that_must_not_be_written_stops_before_anything_is_paused() {
    let cluster = Cluster::builder().poolers(2).start();
    let pooler = cluster.pooler(1);
    let file = pooler.file();
    let directory = file.parent().expect("the file is in a directory");
    set_mode(directory, 0o555);
    let daemon = only_pgb2_is_redirected(&cluster, "cannot write in");
    assert_eq!(leftovers(pooler), Vec::<String>::new());
    set_mode(directory, 0o700);
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
}

#[test]
fn a_full_disk_stops_before_anything_is_paused() {
    let cluster = Cluster::builder().poolers(2).start();
    let pooler = cluster.pooler(1);
    pooler.disk().shrink();
    let daemon = only_pgb2_is_redirected(&cluster, pooler.disk().fill());
    pooler.disk().empty();
    wait_until_serves(pooler, cluster.node1(), DEADLINE);
    daemon.wait_for_log("redirect complete: 2 of 2", DEADLINE);
    assert!(daemon.terminate().success());
    assert_eq!(leftovers(pooler), Vec::<String>::new());
}

fn set_mode(path: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the mode can be changed");
}
