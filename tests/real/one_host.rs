//! Many PgBouncers on one host: one sshd, which lets only so many log in at a time.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Pooler, Settings, wait_until};
use crate::scene::{assert_serves, wait_for_decision};

const POOLERS: usize = 20;

/// sshd refuses every connection above these, where the default refuses three of ten.
const MAX_STARTUPS: &str = "MaxStartups 10";

/// Twenty handshakes of each agent, both ends of them on this machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn twenty_pgbouncers_behind_one_sshd_are_connected_unrefused_by_both_agents_and_redirected() {
    let builder = Cluster::builder().poolers(POOLERS);
    let cluster = builder.one_sshd(MAX_STARTUPS).start();
    let daemons = [1, 2].map(|id| cluster.daemon(id, &Settings::default()));
    wait_until(DEADLINE, "both agents reach every PgBouncer", || {
        let reach = |daemon: &Daemon| {
            cluster
                .poolers()
                .iter()
                .all(|pooler| reaches(daemon, pooler))
        };
        daemons.iter().all(reach)
    });
    let log = cluster.pooler(1).sshd().log();
    for text in ["drop connection", "MaxStartups throttling"] {
        assert!(!log.contains(text), "{text}: {log}");
    }

    cluster.node2().kill9();
    wait_for_decision(&daemons);
    for pooler in cluster.poolers() {
        assert_serves(pooler, cluster.node1());
    }
}

fn reaches(daemon: &Daemon, pooler: &Pooler) -> bool {
    let name = format!("pgbouncer={:?}", pooler.name());
    let mut lines = daemon.lines().into_iter();
    lines.any(|line| line.text.contains("PgBouncer is reached") && line.text.contains(&name))
}
