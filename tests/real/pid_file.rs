//! The lock on the PID file belongs to the daemon alone, and not to what it has started.

use std::path::Path;

use crate::fixture::{Cluster, Settings, process, wait_until};
use crate::scene::{DEADLINE, start_daemon};

/// The processes of `ssh` that a daemon has left behind.
fn masters(sockets: &Path) -> usize {
    process::belonging_to(sockets).len()
}

#[test]
fn the_ssh_sessions_of_a_daemon_that_was_killed_do_not_hold_its_pid_file() {
    let cluster = Cluster::builder().poolers(1).start();
    let pid_file = cluster.directory().join("repoint.pid");
    let settings = Settings {
        lines: format!("pid_file = {pid_file:?}"),
        ..Settings::default()
    };
    let text = || std::fs::read_to_string(&pid_file).unwrap_or_default();
    let first = start_daemon(&cluster, 1, &settings);
    assert_eq!(text(), format!("{}\n", first.pid()));
    let sockets = cluster.daemon_directory(1).join("run");
    let sockets = sockets.join(first.pid().to_string());
    first.kill9();
    assert!(
        masters(&sockets) > 0,
        "no session of ssh outlives the daemon"
    );
    let second = start_daemon(&cluster, 1, &settings);
    wait_until(DEADLINE, "the new number", || {
        text() == format!("{}\n", second.pid())
    });
    assert_eq!(second.terminate().code(), Some(0));
    assert!(!pid_file.exists());
}
