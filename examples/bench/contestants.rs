//! The two that are compared: `repoint daemon`, and the script of the documented procedure.

use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

use crate::fixture::{
    Cluster, Daemon, Node, Pooler, Settings, interrupt, process, programs, wait_until,
};

/// For what is not measured; a fleet of 50 shares a few cores with its 50 hosts.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The procedure, as it is in `documented.sh`.
const SCRIPT: &str = include_str!("documented.sh");

/// Starts the daemon of node 1; returns when it watches both nodes and has looked at every
/// PgBouncer.
pub(crate) fn warm_daemon(cluster: &Cluster, settings: &Settings) -> Daemon {
    let daemon = cluster.daemon(1, settings);
    let count = cluster.poolers().len();
    let sees = |log: &str, node: &Node| {
        let name = format!("node {:?} (ID: {})", node.name(), node.id());
        // A machine that starts many ssh at once may let a first probe wait.
        let words = [
            format!("monitoring {name}"),
            format!("{name} answers again"),
        ];
        words.iter().any(|words| log.contains(words))
    };
    wait_until(DEADLINE, "a look at both nodes and every PgBouncer", || {
        let log = daemon.log();
        let reached = log.matches("PgBouncer is reached").count();
        let all = reached >= count && cluster.nodes().iter().all(|node| sees(&log, node));
        all || !daemon.is_running()
    });
    assert!(
        daemon.is_running(),
        "the daemon has ended:\n{}",
        daemon.log()
    );
    daemon
}

/// The moment of the decision, by the daemon's clock.
pub(crate) fn wait_for_decision(daemon: &Daemon) -> SystemTime {
    stamp(&daemon.wait_for_log("failover decided", DEADLINE).text)
}

/// For each of these PgBouncers, when it was redirected and verified, by the daemon's clock. `None`
/// for one that was not within the deadline.
pub(crate) fn wait_for_redirects(daemon: &Daemon, poolers: &[&Pooler]) -> Vec<Option<SystemTime>> {
    let found = |pooler: &&Pooler| {
        let name = format!("pgbouncer={:?}", pooler.name());
        let lines = daemon.lines().into_iter();
        let mut lines = lines.filter(|line| line.text.contains("redirected `app`"));
        lines
            .find(|line| line.text.contains(&name))
            .map(|line| stamp(&line.text))
    };
    let begun = Instant::now();
    loop {
        let times: Vec<Option<SystemTime>> = poolers.iter().map(found).collect();
        let all = times.iter().all(Option::is_some);
        if all || begun.elapsed() > DEADLINE || !daemon.is_running() {
            return times;
        }
        crate::fixture::pause(Duration::from_millis(20));
    }
}

/// The time at the beginning of a line of the log.
fn stamp(line: &str) -> SystemTime {
    let first = line.split_whitespace().next().unwrap_or_default();
    let time: jiff::Timestamp = first.parse().expect("a line of the log begins with a time");
    time.into()
}

/// The script at work. Dropping it ends it.
pub(crate) struct Script {
    child: Child,
}

impl Script {
    /// Starts it: all PgBouncers are to serve `node`.
    pub(crate) fn start(cluster: &Cluster, node: &Node) -> Self {
        let home = cluster.home();
        let (script, fleet) = (home.path("documented.sh"), home.path("documented.fleet"));
        let line = |pooler: &Pooler| {
            let (name, host) = (pooler.name(), pooler.sshd().name());
            format!(
                "{name} {host} {} {}\n",
                pooler.port(),
                pooler.file().display()
            )
        };
        home.write(&script, SCRIPT);
        home.write(
            &fleet,
            &cluster.poolers().iter().map(line).collect::<String>(),
        );
        let mut command: Command = home.command("/bin/sh".as_ref());
        command
            .arg(&script)
            .arg(node.conninfo())
            .arg(&fleet)
            .arg(cluster.ssh_config());
        command
            .env("PATH", path())
            .stderr(home.log(&home.path("documented.log")));
        let child = interrupt::spawn(&mut command);
        Self {
            child: child.unwrap_or_else(|error| panic!("the script does not start: {error}")),
        }
    }

    /// Whether it ended within `limit`.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> bool {
        process::wait_for_exit(&mut self.child, limit).is_some()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            process::signal_group(self.child.id(), rustix::process::Signal::KILL);
        }
        let _reaped = self.child.wait();
    }
}

/// `psql` itself comes first: Debian's is a script that takes several times as long to find it,
/// which the procedure is not to blame for.
fn path() -> std::ffi::OsString {
    let postgres = programs::postgres_program("postgres");
    let first = postgres
        .parent()
        .expect("a program is in a directory")
        .to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = [first].into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(all).expect("PATH has held them before")
}
