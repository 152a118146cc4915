//! A node dies or falls silent behind two PgBouncers that 16 clients write through.

use std::time::{Duration, SystemTime};

use crate::contestants::{DEADLINE, Script, wait_for_decision, warm_daemon};
use crate::figures::{Row, Series, Target, number};
use crate::fixture::{Cluster, Node, Record, Settings, Writer, pause, wait_until};
use crate::{attempt, say};

const POOLERS: usize = 2;
const CLIENTS_PER_POOLER: usize = 8;
/// Clients write for this long before anything happens.
const STEADY: Duration = Duration::from_secs(1);
/// And for this long after they are served again.
pub(crate) const AFTERWARDS: Duration = Duration::from_secs(1);
/// When it is counted who hangs.
const STUCK_AFTER: Duration = Duration::from_secs(2);
/// The script is given up after this time: a PAUSE that waits for a silent node never returns.
const SCRIPT_LIMIT: Duration = Duration::from_secs(20);

/// A first commit that comes later is shown with the daemon's log.
const REMARKABLE_MS: f64 = 1000.0;

/// How the node fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    Blackhole,
}

/// What came of one run.
struct Run {
    /// Fault to decision; the script is started as long after its fault.
    detected: Duration,
    /// Decision, or start of the script, to the first commit through the slower PgBouncer.
    first_commit_ms: Option<f64>,
    errors: usize,
    errors_later: usize,
    longest_gap_ms: f64,
    stuck: usize,
}

/// Rows of the crash.
pub(crate) fn crash(runs: usize, failures: &mut Vec<String>) -> Vec<Row> {
    let (mut always, mut never, mut script) = (vec![], vec![], vec![]);
    for run in 1..=runs {
        let what = format!("crash, run {run}");
        let done = attempt(&what, failures, || {
            let paused = repoint(Fault::Crash, "always");
            let unpaused = repoint(Fault::Crash, "never");
            let theirs = documented(Fault::Crash, unpaused.detected);
            let first = [&paused, &unpaused, &theirs].map(Run::first_commit);
            let [paused_ms, unpaused_ms, theirs_ms] = first;
            say(&format!(
                "{what}: first commit after {paused_ms}, without pause {unpaused_ms}, script \
                 {theirs_ms}"
            ));
            (paused, unpaused, theirs)
        });
        let Some((paused, unpaused, theirs)) = done else {
            continue;
        };
        always.push(paused);
        never.push(unpaused);
        script.push(theirs);
    }
    let absent = "none";
    let first =
        |runs: &[Run]| Series::new(runs.iter().map(|r| r.first_commit_ms).collect(), absent);
    let errors = |runs: &[Run]| Series::of(runs.iter().map(|r| r.errors as f64));
    let later = |runs: &[Run]| Series::of(runs.iter().map(|r| r.errors_later as f64));
    let gap = |runs: &[Run]| Series::of(runs.iter().map(|r| r.longest_gap_ms));
    let mut rows = Vec::new();
    for (name, runs) in [("always", &always), ("never", &never)] {
        let series = first(runs);
        let target = Target::at_most(&series, 50.0, "ms");
        let figure = format!("crash, pause = \"{name}\": decision to first commit, ms");
        rows.push(row(figure, series, Some(first(&script)), Some(target)));
        for (what, of) in [
            ("client errors", &errors as &dyn Fn(&[Run]) -> Series),
            ("client errors after the decision", &later),
            ("longest gap, detection included, ms", &gap),
        ] {
            let figure = format!("crash, pause = \"{name}\": {what}");
            rows.push(row(figure, of(runs), Some(of(&script)), None));
        }
    }
    rows
}

/// Rows of the node that falls silent.
pub(crate) fn blackhole(runs: usize, failures: &mut Vec<String>) -> Vec<Row> {
    let (mut ours, mut script) = (vec![], vec![]);
    for run in 1..=runs {
        let what = format!("blackhole, run {run}");
        let done = attempt(&what, failures, || {
            let own = repoint(Fault::Blackhole, "never");
            let theirs = documented(Fault::Blackhole, own.detected);
            let (first, stuck) = (own.first_commit(), own.stuck);
            let theirs_ms = theirs.first_commit();
            say(&format!(
                "{what}: first commit after {first}, {stuck} stuck; script {theirs_ms}"
            ));
            (own, theirs)
        });
        let Some((own, theirs)) = done else {
            continue;
        };
        ours.push(own);
        script.push(theirs);
    }
    let absent = format!("none in {} s", SCRIPT_LIMIT.as_secs());
    let first =
        |runs: &[Run]| Series::new(runs.iter().map(|r| r.first_commit_ms).collect(), &absent);
    let stuck = |runs: &[Run]| Series::of(runs.iter().map(|r| r.stuck as f64));
    let (series, hanging) = (first(&ours), stuck(&ours));
    let at_once = Target::at_most(&series, 100.0, "ms");
    let none = Target::at_most(&hanging, 0.0, "clients");
    let figure = "blackhole: decision to first commit, ms".to_owned();
    let clients = POOLERS * CLIENTS_PER_POOLER;
    let left = format!("blackhole: of {clients} clients, stuck 2 s later");
    vec![
        row(figure, series, Some(first(&script)), Some(at_once)),
        row(left, hanging, Some(stuck(&script)), Some(none)),
    ]
}

impl Run {
    fn first_commit(&self) -> String {
        let ms = self.first_commit_ms;
        ms.map_or("never".to_owned(), |ms| format!("{} ms", number(ms)))
    }
}

fn row(figure: String, repoint: Series, script: Option<Series>, target: Option<Target>) -> Row {
    Row {
        figure,
        repoint,
        script,
        target,
    }
}

fn repoint(fault: Fault, pausing: &str) -> Run {
    let cluster = Cluster::builder().poolers(POOLERS).start();
    let settings = Settings {
        pgbouncer_lines: format!("pause = \"{pausing}\""),
        ..Settings::default()
    };
    let daemon = warm_daemon(&cluster, &settings);
    let writer = writing(&cluster);
    let failed = fail(fault, cluster.node2());
    let decided = wait_for_decision(&daemon);
    let end = wait_for_first_commits(&writer, fault, cluster.node1(), decided, DEADLINE);
    let run = conclude(&cluster, writer, failed, decided, end);
    if run.first_commit_ms.is_none_or(|ms| ms > REMARKABLE_MS) {
        let log = daemon.log();
        say(&format!(
            "first commit after {:?} ms; the daemon's log:\n{log}",
            run.first_commit_ms
        ));
    }
    if fault == Fault::Crash {
        daemon.terminate();
    }
    run
}

fn documented(fault: Fault, detected: Duration) -> Run {
    let cluster = Cluster::builder().poolers(POOLERS).start();
    let writer = writing(&cluster);
    let failed = fail(fault, cluster.node2());
    pause(
        (failed + detected)
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    );
    let started = SystemTime::now();
    let _script = Script::start(&cluster, cluster.node1());
    let end = wait_for_first_commits(&writer, fault, cluster.node1(), started, SCRIPT_LIMIT);
    conclude(&cluster, writer, failed, started, end)
}

/// Clients that have all they need.
pub(crate) fn writing(cluster: &Cluster) -> Writer {
    let writer = Writer::start(cluster, CLIENTS_PER_POOLER);
    wait_until(DEADLINE, "commits through every PgBouncer", || {
        let acks = writer.so_far().acknowledged;
        let count = |number| acks.iter().filter(|ack| ack.pooler == number).count();
        (1..=POOLERS).all(|number| count(number) > 50)
    });
    pause(STEADY);
    writer
}

fn fail(fault: Fault, node: &Node) -> SystemTime {
    let failed = SystemTime::now();
    match fault {
        Fault::Crash => node.kill9(),
        Fault::Blackhole => node.freeze(),
    }
    failed
}

/// The first commit on `node` through the slower of the PgBouncers, and how many clients hung.
struct Served {
    at: Option<SystemTime>,
    stuck: usize,
}

fn wait_for_first_commits(
    writer: &Writer,
    fault: Fault,
    node: &Node,
    begun: SystemTime,
    limit: Duration,
) -> Served {
    let mut served = Served { at: None, stuck: 0 };
    // Nobody hangs in a node that refuses.
    let mut counted = fault == Fault::Crash;
    loop {
        let elapsed = begun.elapsed().unwrap_or_default();
        if !counted && elapsed >= STUCK_AFTER {
            (counted, served.stuck) = (true, writer.stuck_since(begun));
        }
        if served.at.is_none() {
            served.at = first_commits(&writer.so_far(), node);
        }
        if (served.at.is_some() && counted) || elapsed > limit {
            return served;
        }
        pause(Duration::from_millis(50));
    }
}

pub(crate) fn first_commits(record: &Record, node: &Node) -> Option<SystemTime> {
    let first = |number| {
        let acks = record.acknowledged.iter();
        let mut acks = acks.filter(|ack| ack.pooler == number && ack.node == node.name());
        acks.next().map(|ack| ack.at)
    };
    let times: Option<Vec<SystemTime>> = (1..=POOLERS).map(first).collect();
    times?.into_iter().max()
}

fn conclude(
    cluster: &Cluster,
    writer: Writer,
    failed: SystemTime,
    begun: SystemTime,
    served: Served,
) -> Run {
    pause(AFTERWARDS);
    let record = writer.stop();
    let ms = |at: SystemTime| at.duration_since(begun).unwrap_or_default().as_secs_f64() * 1000.0;
    let gaps = cluster
        .poolers()
        .iter()
        .map(|pooler| record.longest_gap(pooler.number()));
    Run {
        detected: begun.duration_since(failed).unwrap_or_default(),
        first_commit_ms: served.at.map(ms),
        errors: record.errors.len(),
        errors_later: record.errors_after(begun).len(),
        longest_gap_ms: gaps.max().unwrap_or_default().as_secs_f64() * 1000.0,
        stuck: served.stuck,
    }
}
