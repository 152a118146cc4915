//! The benchmark: `repoint daemon` against a script of the procedure that is documented for
//! PgBouncer in repmgr's BDR mode, on real servers on this machine.
//!
//! `make bench` runs it, with a release build. `BENCH_RUNS` and `BENCH_ONLY`, or the options of
//! `--help`, choose. Prints a table and writes the same as JSON. Targets that are missed are
//! figures like others; a PgBouncer that was not redirected is a failure.

#![allow(clippy::print_stdout, reason = "a benchmark talks to whoever runs it")]

#[path = "bench/contestants.rs"]
mod contestants;
#[path = "bench/drain.rs"]
mod drain;
#[path = "bench/failover.rs"]
mod failover;
#[path = "bench/figures.rs"]
mod figures;
#[path = "../tests/fixture/mod.rs"]
mod fixture;
#[path = "bench/fleet.rs"]
mod fleet;
#[path = "bench/idle.rs"]
mod idle;
#[path = "bench/machine.rs"]
mod machine;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use serde_json::json;

use figures::Row;
use machine::Machine;

/// Where the figures go when nothing else is said.
const JSON_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.json");

#[derive(Parser)]
#[command(
    name = "bench",
    about = "Measures repoint against the documented procedure"
)]
struct Arguments {
    /// Runs of each, alternating; the table has their medians.
    #[arg(long, env = "BENCH_RUNS", default_value_t = 5)]
    runs: usize,
    /// Only these, separated by commas.
    #[arg(long, env = "BENCH_ONLY", value_delimiter = ',')]
    only: Vec<Part>,
    /// How many PgBouncers the fleets have.
    #[arg(
        long,
        env = "BENCH_FLEET",
        value_delimiter = ',',
        default_values_t = [1, 2, 5, 10, 20, 50]
    )]
    fleet: Vec<usize>,
    /// Where the figures are written.
    #[arg(long, env = "BENCH_JSON", default_value = JSON_FILE)]
    json: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Crash,
    Blackhole,
    Fleet,
    Unreachable,
    Drain,
    Idle,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _first_look_at_the_clock = begun();
    let machine = Machine::look(&fixture::repoint_binary());
    println!("{}", machine.lines());
    let (rows, failures) = measure(&arguments);
    println!("\n{}", figures::table(&rows));
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    let report = json!({
        "machine": machine.json(),
        "runs": arguments.runs,
        "seconds": begun().elapsed().as_secs(),
        "rows": figures::json(&rows),
        "failures": failures,
    });
    let text = format!("{report:#}\n");
    if let Err(error) = std::fs::write(&arguments.json, text) {
        println!("cannot write `{}`: {error}", arguments.json.display());
        return ExitCode::FAILURE;
    }
    println!(
        "the same as JSON, with every run: {}",
        arguments.json.display()
    );
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn measure(arguments: &Arguments) -> (Vec<Row>, Vec<String>) {
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let (mut rows, mut failures) = (vec![], vec![]);
    if wanted(Part::Crash) {
        rows.extend(failover::crash(arguments.runs, &mut failures));
    }
    if wanted(Part::Blackhole) {
        rows.extend(failover::blackhole(arguments.runs, &mut failures));
    }
    if wanted(Part::Drain) {
        rows.extend(drain::rows(arguments.runs, &mut failures));
    }
    let mut fleets = fleet::Wanted {
        sizes: arguments.fleet.clone(),
        growth: wanted(Part::Fleet),
        unreachable: wanted(Part::Unreachable),
        idle: wanted(Part::Idle),
    };
    if !fleets.growth {
        fleets.sizes = match fleets.unreachable || fleets.idle {
            true => vec![fleet::CLOSELY],
            false => vec![],
        };
    }
    rows.extend(fleet::rows(arguments.runs, &fleets, &mut failures));
    (rows, failures)
}

/// One run that breaks leaves what the others have found. The panic has told why.
fn attempt<T>(what: &str, failures: &mut Vec<String>, run: impl FnOnce() -> T) -> Option<T> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    if result.is_err() {
        failures.push(format!("{what} broke off"));
    }
    result.ok()
}

fn begun() -> Instant {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    *BEGUN.get_or_init(Instant::now)
}

fn say(text: &str) {
    println!("+{:7.3}s {text}", begun().elapsed().as_secs_f64());
}
