//! Many PgBouncers, each on a host of its own: how the time grows with their number, what some that
//! are out of reach cost the others, and what the daemon needs while nothing happens.

use std::time::{Instant, SystemTime};

use crate::contestants::{DEADLINE, Script, wait_for_decision, wait_for_redirects, warm_daemon};
use crate::figures::{Row, Series, Target, number};
use crate::fixture::{Cluster, Pooler, Settings, wait_until};
use crate::idle::{self, Idle};
use crate::{attempt, say};

/// The one that is looked at more closely.
pub(crate) const CLOSELY: usize = 20;
/// Of those, out of reach in one of the rows.
const AWAY: usize = 3;
/// At [`CLOSELY`], the script takes so many times as long.
const FASTER: f64 = 25.0;
/// What one more PgBouncer costs, as a part of what it costs the script.
const SLOPE: f64 = 0.1;
/// The others lose no more than this for those that are out of reach.
const SLOWER: f64 = 1.2;

/// What is to be measured.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// How many PgBouncers.
    pub(crate) sizes: Vec<usize>,
    pub(crate) growth: bool,
    pub(crate) unreachable: bool,
    pub(crate) idle: bool,
}

/// All times of one size, in milliseconds.
#[derive(Default)]
struct Size {
    poolers: usize,
    repoint: Vec<Option<f64>>,
    script: Vec<Option<f64>>,
    /// The last of those that stay, while all are there, and while some are not.
    of_the_others: Vec<Option<f64>>,
    with_some_away: Vec<Option<f64>>,
}

/// The rows; failures are fleets that were not redirected.
pub(crate) fn rows(runs: usize, wanted: &Wanted, failures: &mut Vec<String>) -> Vec<Row> {
    let (mut sizes, mut idle) = (vec![], None);
    for &poolers in &wanted.sizes {
        let mut size = Size {
            poolers,
            ..Size::default()
        };
        let what = format!("{poolers} PgBouncers");
        let mut failed = Vec::new();
        let found = attempt(&what, failures, || size.measure(runs, wanted, &mut failed));
        idle = idle.or(found.flatten());
        failures.extend(failed);
        sizes.push(size);
    }
    let mut rows = Vec::new();
    if wanted.growth {
        rows.extend(growth(&sizes));
    }
    if wanted.unreachable {
        rows.extend(
            sizes
                .iter()
                .filter(|size| size.poolers == CLOSELY)
                .map(Size::away_row),
        );
    }
    rows.extend(idle.iter().flat_map(Idle::rows));
    rows
}

impl Size {
    fn measure(
        &mut self,
        runs: usize,
        wanted: &Wanted,
        failures: &mut Vec<String>,
    ) -> Option<Idle> {
        let (begun, poolers) = (Instant::now(), self.poolers);
        let cluster = Cluster::builder().poolers(poolers).start();
        let took = begun.elapsed();
        say(&format!(
            "{poolers} PgBouncers and sshds run after {took:.1?}"
        ));
        let closely = poolers == CLOSELY;
        let measured = if wanted.growth || wanted.unreachable {
            runs
        } else {
            0
        };
        for run in 1..=measured {
            let what = format!("{poolers} PgBouncers, run {run}");
            if let Err(failure) = self.run(&cluster, wanted.growth, closely && wanted.unreachable) {
                failures.push(format!("{what}: {failure}"));
            }
            say(&format!("{what}: {}", self.last()));
        }
        (closely && wanted.idle).then(|| idle::measure(&cluster))
    }

    fn run(&mut self, cluster: &Cluster, growth: bool, away: bool) -> Result<(), String> {
        let initial: Vec<String> = cluster.poolers().iter().map(Pooler::file_text).collect();
        if growth {
            let took = documented(cluster);
            reset(cluster, &initial);
            self.script.push(took?);
        }
        let times = repoint(cluster, &[]);
        reset(cluster, &initial);
        let times = times?;
        self.repoint.push(last(&times));
        self.of_the_others
            .push(last(&times[..times.len().saturating_sub(AWAY)]));
        if away {
            let gone: Vec<&Pooler> = cluster.poolers().iter().rev().take(AWAY).collect();
            let times = repoint(cluster, &gone);
            reset(cluster, &initial);
            self.with_some_away.push(last(&times?));
        }
        Ok(())
    }

    fn last(&self) -> String {
        let last = |values: &[Option<f64>]| match values.last() {
            Some(Some(value)) => format!("{} ms", number(*value)),
            Some(None) => "not done".to_owned(),
            None => "-".to_owned(),
        };
        let [ours, theirs] = [&self.repoint, &self.script].map(|values| last(values));
        match self.with_some_away.is_empty() {
            true => format!("repoint {ours}, script {theirs}"),
            false => {
                let others = last(&self.with_some_away);
                format!("repoint {ours}, script {theirs}, with {AWAY} out of reach {others}")
            }
        }
    }

    fn series(&self) -> [Series; 2] {
        [&self.repoint, &self.script].map(|values| Series::new(values.clone(), "not done"))
    }

    fn away_row(&self) -> Row {
        let with = Series::new(self.with_some_away.clone(), "not done");
        let without = Series::new(self.of_the_others.clone(), "not done").median();
        let ratio = with
            .median()
            .zip(without)
            .map(|(with, without)| with / without);
        let others = self.poolers - AWAY;
        let against = without.map_or("-".to_owned(), number);
        Row {
            figure: format!(
                "{} PgBouncers, {AWAY} out of reach: the other {others}, ms",
                self.poolers
            ),
            repoint: with,
            script: None,
            target: Some(Target {
                text: format!("at most {SLOWER} times {against} ms, with all in reach"),
                reached: ratio.is_some_and(|ratio| ratio <= SLOWER),
                found: ratio.map(|ratio| format!("{} times", number(ratio))),
            }),
        }
    }
}

fn growth(sizes: &[Size]) -> Vec<Row> {
    let row = |size: &Size| {
        let [repoint, script] = size.series();
        let times = script
            .median()
            .zip(repoint.median())
            .map(|(script, ours)| script / ours);
        let target = (size.poolers == CLOSELY).then(|| Target {
            text: format!("{FASTER} times faster than the script"),
            reached: times.is_some_and(|times| times >= FASTER),
            found: times.map(|times| format!("{} times", number(times))),
        });
        Row {
            figure: format!(
                "fleet of {}: decision to last verified redirect, ms",
                size.poolers
            ),
            repoint,
            script: Some(script),
            target,
        }
    };
    let mut rows: Vec<Row> = sizes.iter().map(row).collect();
    let of = |poolers: usize| sizes.iter().find(|size| size.poolers == poolers);
    if let (Some(few), Some(many)) = (of(10), of(50)) {
        rows.push(slope(few, many));
    }
    rows
}

fn slope(few: &Size, many: &Size) -> Row {
    let more = (many.poolers - few.poolers) as f64;
    let slope = |values: fn(&Size) -> &Vec<Option<f64>>| {
        let median = |size: &Size| Series::new(values(size).clone(), "").median();
        Some((median(many)? - median(few)?) / more)
    };
    let (ours, theirs) = (slope(|size| &size.repoint), slope(|size| &size.script));
    let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
    Row {
        figure: format!(
            "one PgBouncer more, from {} to {}, ms",
            few.poolers, many.poolers
        ),
        repoint: Series::new(vec![ours], "-"),
        script: Some(Series::new(vec![theirs], "-")),
        target: Some(Target {
            text: format!("at most {SLOPE} of the script's"),
            reached: ratio.is_some_and(|ratio| ratio <= SLOPE),
            found: ratio.map(|ratio| format!("{ratio:.3}")),
        }),
    }
}

/// From its start to its end, in milliseconds.
fn documented(cluster: &Cluster) -> Result<Option<f64>, String> {
    cluster.node2().kill9();
    let begun = Instant::now();
    let mut script = Script::start(cluster, cluster.node1());
    let ended = script.ends_within(DEADLINE);
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    served(cluster.poolers(), cluster).map_err(|error| format!("the script: {error}"))?;
    Ok(ended.then_some(took))
}

/// From the decision to each verified redirect, in milliseconds, with these hosts out of reach.
fn repoint(cluster: &Cluster, away: &[&Pooler]) -> Result<Vec<Option<f64>>, String> {
    let daemon = warm_daemon(cluster, &Settings::default());
    let is_away = |pooler: &&Pooler| away.iter().any(|gone| gone.number() == pooler.number());
    let (_, there): (Vec<&Pooler>, Vec<&Pooler>) = cluster.poolers().iter().partition(is_away);
    away.iter()
        .enumerate()
        .for_each(|(index, pooler)| lose(index, pooler));
    cluster.node2().kill9();
    let decided = wait_for_decision(&daemon);
    let times = wait_for_redirects(&daemon, &there);
    away.iter()
        .enumerate()
        .for_each(|(index, pooler)| find_again(index, pooler));
    let verified = there
        .iter()
        .try_for_each(|pooler| served([*pooler], cluster));
    daemon.terminate();
    verified.map_err(|error| format!("{error}; the daemon's log:\n{}", daemon.log()))?;
    let ms = |at: SystemTime| at.duration_since(decided).unwrap_or_default().as_secs_f64() * 1000.0;
    Ok(times.into_iter().map(|at| at.map(ms)).collect())
}

/// In three ways: the whole host hangs, its sshd hangs, the whole host is dead.
fn lose(index: usize, pooler: &Pooler) {
    match index % AWAY {
        0 => {
            pooler.sshd().freeze();
            pooler.freeze();
        }
        1 => pooler.sshd().freeze(),
        _ => {
            pooler.stop_sshd();
            pooler.kill9();
        }
    }
}

fn find_again(index: usize, pooler: &Pooler) {
    if index % AWAY < 2 {
        pooler.thaw();
        pooler.sshd().thaw();
    } else {
        pooler.start_sshd();
        pooler.start();
    }
}

/// Asks the PgBouncers themselves.
fn served<'a>(
    poolers: impl IntoIterator<Item = &'a Pooler>,
    cluster: &Cluster,
) -> Result<(), String> {
    let wanted = cluster.node1().port().to_string();
    for pooler in poolers {
        let rows = pooler.try_admin("SHOW DATABASES")?;
        let row = rows.iter().find(|row| row["name"] == "app");
        let port = row
            .and_then(|row| row.get("port"))
            .cloned()
            .unwrap_or_default();
        let paused = row.is_some_and(|row| row["paused"] == "1");
        if port != wanted || paused {
            let name = pooler.name();
            return Err(format!(
                "{name} leads to port {port}, not {wanted}; paused: {paused}"
            ));
        }
    }
    Ok(())
}

/// Everything as it was: node 2 is there again, and all PgBouncers lead to it.
fn reset(cluster: &Cluster, files: &[String]) {
    let node2 = cluster.node2();
    if !node2.is_running() {
        node2.start();
    }
    // The failover has set the record of the node to inactive; a recovery takes longer than a run.
    for node in cluster.nodes() {
        let _no_such_table_yet = node.try_rows("update repmgr.nodes set active = true");
    }
    for (pooler, text) in cluster.poolers().iter().zip(files) {
        pooler.write_file(text);
        wait_until(
            DEADLINE,
            format_args!("{} leads to node2 again", pooler.name()),
            || {
                let _asked_again = pooler.try_admin("RELOAD");
                pooler.served_port("app") == node2.port()
            },
        );
    }
}

fn last(times: &[Option<f64>]) -> Option<f64> {
    let times: Option<Vec<f64>> = times.iter().copied().collect();
    times?.into_iter().reduce(f64::max)
}
