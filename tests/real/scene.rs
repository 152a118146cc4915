//! What tests of failovers share: starting a daemon, waiting for its decision, and what a user of
//! PgBouncer, or somebody with a look at the tables, then finds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use repoint::render::header;

use crate::fixture::{Cluster, Daemon, LogLine, Node, Pooler, Record, Row, Settings, wait_until};

/// For what is not measured: it only ends a test that has failed already.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// From the decision to the first commit on the new node.
pub(crate) const FIRST_COMMIT: Duration = Duration::from_secs(1);

/// Starts the daemon of a node; returns when it watches both nodes and has looked at every
/// PgBouncer.
#[track_caller]
pub(crate) fn start_daemon(cluster: &Cluster, node_id: u32, settings: &Settings) -> Daemon {
    let poolers: Vec<&Pooler> = cluster.poolers().iter().collect();
    start_with(&poolers, || cluster.daemon(node_id, settings))
}

/// As [`start_daemon`], however it is started, with those PgBouncers that can be reached.
#[track_caller]
pub(crate) fn start_with(reachable: &[&Pooler], start: impl FnOnce() -> Daemon) -> Daemon {
    let daemon = start();
    for node in ["node1", "node2"] {
        daemon.wait_for_log(&format!("monitoring node \"{node}\""), DEADLINE);
    }
    for pooler in reachable {
        let name = format!("pgbouncer={:?}", pooler.name());
        let reached = |line: &LogLine| {
            line.text.contains("PgBouncer is reached") && line.text.contains(&name)
        };
        let what = format!("a look at {}:\n{}", pooler.name(), daemon.log());
        wait_until(DEADLINE, what, || daemon.lines().iter().any(reached));
    }
    daemon
}

/// The moment of the decision, by the clock of the daemon that made it.
#[track_caller]
pub(crate) fn wait_for_decision(daemons: &[Daemon]) -> SystemTime {
    wait_for_first(daemons, "failover decided")
}

/// The moment at which one of them logs this first, by its own clock.
#[track_caller]
pub(crate) fn wait_for_first(daemons: &[Daemon], text: &str) -> SystemTime {
    let found = || {
        let lines = daemons.iter().flat_map(Daemon::lines);
        lines.filter(|line| line.text.contains(text))
    };
    wait_until(DEADLINE, text, || found().next().is_some());
    let time = |text: String| -> jiff::Timestamp {
        let first = text.split_whitespace().next().unwrap_or_default();
        first.parse().expect("a line of the log begins with a time")
    };
    let times = found().map(|line| SystemTime::from(time(line.text)));
    times.min().expect("there was one")
}

/// New clients, one after the other through each PgBouncer: the first commit on `node` comes in
/// time.
#[track_caller]
pub(crate) fn assert_new_clients_commit(poolers: &[&Pooler], node: &Node, decided: SystemTime) {
    let times = new_clients_commits(poolers, node, decided);
    assert!(times.iter().all(|time| *time <= FIRST_COMMIT), "{times:?}");
}

/// How long after the decision the first commit of a new client comes, through each PgBouncer.
#[track_caller]
pub(crate) fn new_clients_commits(
    poolers: &[&Pooler],
    node: &Node,
    decided: SystemTime,
) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = poolers
            .iter()
            .map(|pooler| scope.spawn(|| first_commit(pooler, node)))
            .collect();
        let commits = threads.into_iter().map(|thread| thread.join());
        commits
            .map(|commit| after(decided, commit.expect("a commit through every PgBouncer")))
            .collect()
    })
}

/// A new client gets through to `node` at last.
#[track_caller]
pub(crate) fn assert_serves(pooler: &Pooler, node: &Node) {
    first_commit(pooler, node);
    assert_eq!(pooler.served_port("app"), node.port());
    assert!(!pooler.paused("app"));
}

/// The clients of a writer: how long each PgBouncer's first commit on `node` came after the
/// decision.
pub(crate) fn first_commits(record: &Record, node: &Node, decided: SystemTime) -> Vec<Duration> {
    let mut first: std::collections::BTreeMap<usize, SystemTime> = Default::default();
    for ack in record.acknowledged.iter().filter(|a| a.node == node.name()) {
        first.entry(ack.pooler).or_insert(ack.at);
    }
    first.values().map(|at| after(decided, *at)).collect()
}

/// The managed file as the first decision of an agent leaves it, to the byte.
#[track_caller]
pub(crate) fn assert_file_leads_to(pooler: &Pooler, node: &Node) {
    let (id, port) = (node.id(), node.port());
    let body = format!("[databases]\napp = host='127.0.0.1' port='{port}' dbname='bdrtest'\n");
    let hash = header::hash(body.as_bytes());
    let by = |writer: u32| {
        let head = format!(";repoint v1 generation=1.{id} active={id} writer={writer}");
        format!("{head} sha256={hash}\n{body}")
    };
    let text = pooler.file_text();
    assert!([by(1), by(2)].contains(&text), "{text}");
}

/// The rows of `repmgr.events` of one kind, in order: `node_id`, `successful`, `details`. None
/// while there is no such table yet.
pub(crate) fn events(on: &Node, kind: &str) -> Vec<Row> {
    let rows = on.try_rows(&format!(
        "select node_id, successful, details, event_timestamp from repmgr.events \
         where event = '{kind}' order by event_timestamp"
    ));
    rows.unwrap_or_default()
}

/// Waits until there are `count` of them, then gives them.
#[track_caller]
pub(crate) fn wait_for_events(on: &Node, kind: &str, count: usize) -> Vec<Row> {
    let what = format!("{count} rows {kind} on {}", on.name());
    wait_until(DEADLINE, what, || events(on, kind).len() >= count);
    events(on, kind)
}

/// What the row of a node says on another.
#[track_caller]
pub(crate) fn is_active(on: &Node, node_id: u32) -> bool {
    on.query_one_text(&format!(
        "select active from repmgr.nodes where node_id = {node_id}"
    )) == "t"
}

/// Looks again and again whether something stays as it is for a while.
#[track_caller]
pub(crate) fn assert_stays(duration: Duration, what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    wait_until(duration + DEADLINE, what, || {
        assert!(condition(), "not any more: {what}");
        begun.elapsed() >= duration
    });
}

/// How often PgBouncer was told to read its file.
pub(crate) fn reloads(pooler: &Pooler) -> usize {
    pooler.log().matches("RELOAD").count()
}

fn first_commit(pooler: &Pooler, node: &Node) -> SystemTime {
    // Above the numbers of any writer.
    static SEQUENCE: AtomicU64 = AtomicU64::new(1_000_000);
    let mut committed = None;
    let what = format!("a commit on {} through {}", node.name(), pooler.name());
    wait_until(DEADLINE, what, || {
        let insert = format!(
            "insert into writes (pooler, seq) values ({}, {}) returning node",
            pooler.number(),
            SEQUENCE.fetch_add(1, Ordering::Relaxed)
        );
        let answer = pooler.try_rows("app", &insert, FIRST_COMMIT);
        committed = answer
            .is_ok_and(|rows| rows[0]["node"] == node.name())
            .then(SystemTime::now);
        committed.is_some()
    });
    committed.expect("it was waited for")
}

/// A commit that came before the decision came in time.
fn after(decided: SystemTime, commit: SystemTime) -> Duration {
    commit.duration_since(decided).unwrap_or_default()
}
