//! A planned move while both nodes live and 16 clients write: nobody is to notice.

use std::path::Path;
use std::time::{Duration, SystemTime};

use repoint::agent::daemon::planners;
use repoint::agent::executor::Hooks;
use repoint::agent::planned::{Manner, Order, move_all};
use repoint::config::{Edits, NodeId, file};

use crate::contestants::{DEADLINE, Script};
use crate::failover::{AFTERWARDS, first_commits, writing};
use crate::figures::{Row, Series, Target};
use crate::fixture::{Cluster, Settings, Writer, pause, wait_until};
use crate::{attempt, say};

/// How long running transactions may stay on the old node; those of the benchmark last no time.
const LIMIT: Duration = Duration::from_secs(10);
/// The script's pause waits for the same.
const SCRIPT_LIMIT: Duration = Duration::from_secs(20);

/// What came of one run.
struct Run {
    errors: f64,
    longest_gap_ms: f64,
}

/// Rows of the planned move.
pub(crate) fn rows(runs: usize, failures: &mut Vec<String>) -> Vec<Row> {
    let (mut ours, mut script) = (vec![], vec![]);
    for run in 1..=runs {
        let what = format!("planned move, run {run}");
        let done = attempt(&what, failures, || (drained(), documented()));
        let Some((own, theirs)) = done else {
            continue;
        };
        say(&format!(
            "{what}: {} errors, script {}",
            own.errors, theirs.errors
        ));
        ours.push(own);
        script.push(theirs);
    }
    let series = |of: fn(&Run) -> f64| [&ours, &script].map(|runs| Series::of(runs.iter().map(of)));
    let [errors, their_errors] = series(|run| run.errors);
    let [gap, their_gap] = series(|run| run.longest_gap_ms);
    let none = Target::at_most(&errors, 0.0, "errors");
    let row = |what: &str, repoint, script, target| Row {
        figure: format!("planned move (drain): {what}"),
        repoint,
        script: Some(script),
        target,
    };
    vec![
        row("errors of 16 clients", errors, their_errors, Some(none)),
        row("longest gap, ms", gap, their_gap, None),
    ]
}

fn drained() -> Run {
    let cluster = Cluster::builder().poolers(2).start();
    let path = cluster.write_config(1, &Settings::default(), |_| ());
    let text = std::fs::read_to_string(&path).expect("it was just written");
    let config = file::parse(&path, &text).expect("the fixture's configuration is right");
    let planners = planners(&config).expect("they plan");
    let sockets = cluster.directory().join("s");
    std::fs::create_dir_all(&sockets).expect("a directory for sockets");
    let order = Order {
        from: NodeId(2),
        to: NodeId(1),
        manner: Manner::Drain { limit: LIMIT },
        edits: Edits::Refuse,
    };
    let writer = writing(&cluster);
    let begun = SystemTime::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime starts").block_on(async {
        let sockets: &Path = &sockets;
        let all = move_all(&config, planners, sockets, &order, &Hooks::default()).await;
        for mut moved in all.expect("the move begins").into_values() {
            assert!(moved.outcome.serves(), "{}", moved.outcome);
            moved.leave().await;
        }
    });
    conclude(&cluster, writer, begun)
}

fn documented() -> Run {
    let cluster = Cluster::builder().poolers(2).start();
    let writer = writing(&cluster);
    let begun = SystemTime::now();
    let mut script = Script::start(&cluster, cluster.node1());
    assert!(script.ends_within(SCRIPT_LIMIT), "the script hangs");
    conclude(&cluster, writer, begun)
}

fn conclude(cluster: &Cluster, writer: Writer, begun: SystemTime) -> Run {
    wait_until(DEADLINE, "commits on node1 through every PgBouncer", || {
        first_commits(&writer.so_far(), cluster.node1()).is_some()
    });
    pause(AFTERWARDS);
    let record = writer.stop();
    let gaps = cluster.poolers().iter();
    let gaps = gaps.map(|pooler| record.longest_gap(pooler.number()));
    Run {
        errors: record.errors_after(begun).len() as f64,
        longest_gap_ms: gaps.max().unwrap_or_default().as_secs_f64() * 1000.0,
    }
}
