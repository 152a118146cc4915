//! Two daemons on the `repmgr.conf` of repmgr's page; the PgBouncers are in a file that it names.

use std::path::PathBuf;

use crate::fixture::{Cluster, Pooler, Settings, wait_until};
use crate::scene::{DEADLINE, start_with};
use crate::watching::wait_until_served;

/// The file of a host, in repmgr 5's syntax or in repmgr 4's; beside it the TOML file, without what
/// the `repmgr.conf` says.
fn write(cluster: &Cluster, node_id: u32, quote: &str) -> PathBuf {
    let node = cluster.nodes().iter().find(|node| node.id() == node_id);
    let node = node.expect("one of the two");
    let own = format!("node_id = {node_id}\n");
    let described = format!(
        "[[node]]\nnode_id = {node_id}\nnode_name = \"{}\"\nconninfo = \"{}\"\n",
        node.name(),
        node.conninfo()
    );
    let pgbouncers = cluster.write_config(node_id, &Settings::default(), |toml| {
        for taken in [own.as_str(), &described, "replication_type = \"bdr\"\n"] {
            assert!(toml.contains(taken), "{toml}");
            *toml = toml.replacen(taken, "", 1);
        }
        let kept = |line: &&str| !line.starts_with("monitor_") && !line.starts_with("reconnect_");
        *toml = toml.lines().filter(kept).collect::<Vec<_>>().join("\n");
    });
    let path = cluster.daemon_directory(node_id).join("repmgr.conf");
    let text = format!(
        "# of host {node_id}
node_id={node_id}
node_name={quote}{name}{quote}
conninfo={quote}{conninfo}{quote}
data_directory={quote}{data}{quote}
replication_type={quote}bdr{quote}

event_notifications=bdr_failover
event_notification_command='echo %n %e %s \"%a\" >> {hook}'

monitor_interval_secs=1
reconnect_attempts=2
reconnect_interval=1
failover=automatic
repoint_pgbouncers='{pgbouncers}'
",
        name = node.name(),
        conninfo = node.conninfo(),
        data = node.data_directory().display(),
        hook = cluster.home().path("hook.log").display(),
        pgbouncers = pgbouncers.display(),
    );
    cluster.home().write(&path, &text);
    path
}

#[test]
fn a_failover_follows_the_repmgr_conf_of_both_dialects() {
    let cluster = Cluster::builder().poolers(2).start();
    let files = [write(&cluster, 1, "'"), write(&cluster, 2, "")];
    let daemons = [1, 2].map(|node_id: u32| {
        let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
        let file = &files[node_id as usize - 1];
        start_with(&poolers, || cluster.daemon_with_file(node_id, file, |_| ()))
    });
    for (daemon, syntax) in daemons.iter().zip(["repmgr 5", "repmgr 4"]) {
        let line = format!("repmgr.conf is read in the syntax of {syntax}");
        assert!(daemon.log().contains(&line), "{}", daemon.log());
    }
    cluster.node2().kill9();
    wait_until_served(&cluster, 1);
    let hook = cluster.home().path("hook.log");
    let told = || std::fs::read_to_string(&hook).unwrap_or_default();
    wait_until(DEADLINE, "the hook's line", || told().ends_with('\n'));
    assert_eq!(told(), "2 bdr_failover 1 node1\n");
}
