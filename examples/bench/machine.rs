//! Where the figures come from: the machine, and the versions of everything.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::programs;

/// What stands above the table.
pub(crate) struct Machine {
    rows: Vec<(&'static str, String)>,
}

impl Machine {
    /// Asks the machine; `repoint` is the binary that is measured.
    pub(crate) fn look(repoint: &Path) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let model = field("/proc/cpuinfo", "model name");
        let memory = field("/proc/meminfo", "MemTotal");
        let load = text("/proc/loadavg");
        let load: Vec<&str> = load.split_whitespace().take(3).collect();
        let repoint_version = first_line(Command::new(repoint).arg("--version"));
        let commit = commit(repoint);
        let rows = vec![
            ("cores", cores.to_string()),
            ("cpu", model),
            ("memory", memory),
            ("kernel", text("/proc/sys/kernel/osrelease")),
            ("load before", load.join(" ")),
            ("repoint", format!("{repoint_version}, commit {commit}")),
            (
                "pgbouncer",
                version(
                    &programs::pgbouncer(programs::Version::Installed),
                    "--version",
                ),
            ),
            (
                "postgresql",
                version(&programs::postgres_program("postgres"), "--version"),
            ),
            ("openssh", version(&programs::ssh(), "-V")),
            ("rsync", version(&programs::rsync(), "--version")),
            ("time", jiff::Timestamp::now().to_string()),
        ];
        Self { rows }
    }

    pub(crate) fn lines(&self) -> String {
        let line = |(name, value): &(&str, String)| format!("  {name:<12} {value}\n");
        self.rows.iter().map(line).collect()
    }

    pub(crate) fn json(&self) -> Value {
        let pair = |(name, value): &(&str, String)| (name.replace(' ', "_"), json!(value));
        Value::Object(self.rows.iter().map(pair).collect())
    }
}

fn version(program: &Path, argument: &str) -> String {
    first_line(Command::new(program).arg(argument))
}

/// `ssh -V` writes to standard error.
fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return "unknown".to_owned();
    };
    let both = [output.stdout, output.stderr].concat();
    let both = String::from_utf8_lossy(&both);
    both.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// Of the checkout that the binary was built in.
fn commit(repoint: &Path) -> String {
    let directory = repoint.parent().unwrap_or(Path::new("."));
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(directory)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let root = git(&["rev-parse", "--show-toplevel"]).unwrap_or_default();
    match git(&["-C", &root, "status", "--porcelain", "--", "src"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}

fn field(path: &str, name: &str) -> String {
    let text = text(path);
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
