//! What the daemon itself needs while nothing happens, by the kernel's accounts.

use std::time::{Duration, Instant};

use crate::contestants::warm_daemon;
use crate::figures::{Row, Series, Target};
use crate::fixture::{Cluster, Settings, pause};
use crate::say;

const LENGTH: Duration = Duration::from_secs(60);
const CORE_PERCENT: f64 = 0.5;
const MEMORY_MIB: f64 = 16.0;
/// In `/proc`, a second has 100 ticks on every architecture, whatever the kernel itself counts in.
const TICK_MS: u64 = 10;

/// What was found.
pub(crate) struct Idle {
    poolers: usize,
    core_percent: f64,
    memory_mib: f64,
    descriptors: usize,
}

/// With the intervals that a configuration has which says nothing about them.
pub(crate) fn measure(cluster: &Cluster) -> Idle {
    let settings = Settings {
        monitor_interval: "5s".into(),
        reconnect_attempts: 6,
        reconnect_interval: "5s".into(),
        ..Settings::default()
    };
    let daemon = warm_daemon(cluster, &settings);
    let poolers = cluster.poolers().len();
    say(&format!(
        "the daemon with {poolers} PgBouncers is left alone for {LENGTH:?}"
    ));
    let (pid, begun) = (daemon.pid(), Instant::now());
    let before = processor_time(pid);
    pause(LENGTH);
    let (used, length) = (processor_time(pid) - before, begun.elapsed());
    let idle = Idle {
        poolers,
        core_percent: 100.0 * used.as_secs_f64() / length.as_secs_f64(),
        memory_mib: resident(pid) / 1024.0,
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
    };
    daemon.terminate();
    idle
}

impl Idle {
    pub(crate) fn rows(&self) -> Vec<Row> {
        let one = |value: f64| Series::of([value]);
        let (core, memory) = (one(self.core_percent), one(self.memory_mib));
        let below = [
            Target::below(&core, CORE_PERCENT, "%"),
            Target::below(&memory, MEMORY_MIB, "MiB"),
        ];
        let [of_core, of_memory] = below.map(Some);
        let row = |what: &str, repoint, target| Row {
            figure: format!("idle with {} PgBouncers: {what}", self.poolers),
            repoint,
            script: None,
            target,
        };
        vec![
            row("% of a core, in 60 s", core, of_core),
            row("resident memory, MiB", memory, of_memory),
            row("open file descriptors", one(self.descriptors as f64), None),
        ]
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, without what children used.
fn processor_time(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<u64> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    assert!(fields.len() == 2, "the daemon has ended");
    Duration::from_millis(fields.iter().sum::<u64>() * TICK_MS)
}

/// VmRSS, in KiB.
fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a running process has resident memory")
}
