//! What somebody who looks at a PgBouncer and its host would see.

use std::time::Duration;

use crate::fixture::{Cluster, Node, Pooler, pause, process, wait_until};

/// Every PgBouncer leads to `node`, is not paused, and a query gets through it.
#[track_caller]
pub(crate) fn wait_until_all_serve(cluster: &Cluster, node: &Node, deadline: Duration) {
    for pooler in cluster.poolers() {
        wait_until_serves(pooler, node, deadline);
    }
}

/// One PgBouncer leads to `node`, is not paused, and a query gets through it.
#[track_caller]
pub(crate) fn wait_until_serves(pooler: &Pooler, node: &Node, deadline: Duration) {
    let name = pooler.name();
    wait_until(deadline, format_args!("{name} serves, not paused"), || {
        pooler.served_port("app") == node.port() && !pooler.paused("app")
    });
    assert_eq!(node_through(pooler), node.name());
}

/// The name of the node that answers a query through the entry `app`.
#[track_caller]
pub(crate) fn node_through(pooler: &Pooler) -> String {
    let sql = "select current_setting('cluster_name') as name";
    let rows = pooler.try_rows("probe", sql, Duration::from_secs(5));
    rows.unwrap_or_else(|error| panic!("{}: {error}", pooler.name()))[0]["name"].clone()
}

/// The managed file is one of ours, from its first byte to its last.
#[track_caller]
pub(crate) fn assert_whole_file(pooler: &Pooler) {
    let text = pooler.file_text();
    let (_, untouched) = repoint::render::header::read(text.as_bytes())
        .unwrap_or_else(|| panic!("{} has no header: {text}", pooler.name()));
    assert!(untouched, "{}: {text}", pooler.name());
}

/// Names of what lies beside the managed file, but for the file itself, the lock and `.prev`.
pub(crate) fn leftovers(pooler: &Pooler) -> Vec<String> {
    let file = pooler.file();
    let directory = file.parent().expect("the file is in a directory");
    let entries = std::fs::read_dir(directory).expect("the directory can be read");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| {
            ![
                "databases.ini",
                "databases.ini.prev",
                ".databases.ini.repoint-lock",
            ]
            .contains(&name.as_str())
        })
        // For a failover that may come: complete, and of use.
        .filter(|name| !name.starts_with(".databases.ini.repoint-staged-"))
        .collect();
    names.sort();
    names
}

/// As an operator would: writes a file in which `app` leads to `node`, and loads it.
pub(crate) fn lead_by_hand(pooler: &Pooler, node: &Node) {
    let port = node.port();
    pooler.write_file(&format!(
        "[databases]\napp = host='127.0.0.1' port='{port}' dbname='bdrtest'\n"
    ));
    pooler.admin("RELOAD");
    assert_eq!(pooler.served_port("app"), port);
}

/// What agents have at work on the hosts of a cluster, besides ssh and sshd: shells, switches, and
/// what those have started.
pub(crate) fn at_work(cluster: &Cluster) -> Vec<String> {
    let commands = ["sh", "setsid", "flock", "sleep", "timeout", "perl", "psql"];
    let belonging = process::belonging_to(cluster.directory()).into_iter();
    let named = belonging.filter(|pid| commands.contains(&process::name(*pid).as_str()));
    named.map(process::command_line).collect()
}

/// An agent that was killed leaves nothing at work on any host.
#[track_caller]
pub(crate) fn wait_until_nothing_is_at_work(cluster: &Cluster, deadline: Duration) {
    wait_until(deadline, "nothing at work on a host", || {
        at_work(cluster).is_empty()
    });
}

/// `condition` holds all the time.
#[track_caller]
pub(crate) fn assert_stays(length: Duration, what: &str, condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < length {
        assert!(condition(), "no longer after {:?}: {what}", begun.elapsed());
        pause(Duration::from_millis(50));
    }
}

/// As an operation would that has ended long ago without paying what it owes.
pub(crate) fn leave_on_record(cluster: &Cluster, pooler: &Pooler, debt: &str) {
    let record = pooler
        .file()
        .with_file_name(".databases.ini.repoint-operation");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let line = format!("2-1-1-1 {} 1 {debt}\n", boot.trim());
    cluster.home().write(&record, &line);
}
