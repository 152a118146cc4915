//! Doing something to a PgBouncer just when a step of its redirect has ended.

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Cluster, Daemon, Settings};
use crate::scene::DEADLINE;

/// Starts the daemon of node 1; `after` gets the number of the PgBouncer and the name of each step
/// as the daemon logs it, before the next one has got far. Returns when both nodes are watched.
#[track_caller]
pub(crate) fn daemon_with_steps(
    cluster: &Cluster,
    settings: &Settings,
    mut after: impl FnMut(usize, &str) + Send + 'static,
) -> Daemon {
    let settings = Settings {
        lines: format!("log_level = \"debug\"\n{}", settings.lines),
        ..settings.clone()
    };
    let file = cluster.write_config(1, &settings, |_| ());
    let daemon = cluster.daemon_with_file(1, &file, move |line| {
        let field = |name: &str| {
            let rest = line.text.split_once(name)?.1;
            rest.split([' ', '"']).next().map(str::to_owned)
        };
        let number = field("pgbouncer=\"pgb").and_then(|number| number.parse().ok());
        if let (Some(number), Some(step)) = (number, field(" step=")) {
            after(number, &step);
        }
    });
    for node in ["node1", "node2"] {
        daemon.wait_for_log(&format!("monitoring node \"{node}\""), DEADLINE);
    }
    daemon.wait_for_log("PgBouncer is reached", DEADLINE);
    daemon
}

/// Sends a signal to a process that is there.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process id"), signal).expect("the process is there");
}
