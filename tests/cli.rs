//! The binary as a black box, without any server: exact output, exit status, and what it leaves
//! behind. One file for each topic; what needs servers is in `tests/real/`.

#[path = "cli/configuration.rs"]
mod configuration;
#[path = "cli/conninfo.rs"]
mod conninfo;
#[path = "cli/daemon.rs"]
mod daemon;
#[path = "cli/daemon_log.rs"]
mod daemon_log;
#[path = "cli/full.rs"]
mod full;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/open_files.rs"]
mod open_files;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/repmgr_conf.rs"]
mod repmgr_conf;
#[path = "cli/service.rs"]
mod service;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory of its own to run in.
struct Place {
    directory: tempfile::TempDir,
}

/// What a run gave.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    stdout: String,
    stderr: String,
    code: i32,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// With `repoint.toml`: `text`.
    fn with_configuration(text: &str) -> Self {
        let place = Self::new();
        place.write("repoint.toml", text);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    /// The files that are there, by name.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("a directory");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// Runs in the directory, with nothing of our environment that could change the output.
    fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_repoint"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .expect("repoint starts");
        let text = |bytes| String::from_utf8(bytes).expect("output is text");
        Ran {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code().expect("an exit status"),
        }
    }
}

impl Ran {
    #[track_caller]
    fn is(&self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!(self.stdout, stdout, "standard output of {self:?}");
        assert_eq!(self.stderr, stderr, "standard error of {self:?}");
        assert_eq!(self.code, code);
    }

    /// Nothing on standard output, exit status 1, and exactly this message.
    #[track_caller]
    fn fails(&self, stderr: &str) {
        self.is(1, "", stderr);
    }
}

/// The example that an operator begins with.
fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/repoint.toml");
    std::fs::read_to_string(path).expect("the example is there")
}

/// The example, with the beginnings of lines exchanged for whole lines.
#[track_caller]
fn example_with(lines: &[(&str, &str)]) -> String {
    let mut text = example();
    for (beginning, replacement) in lines {
        let line = text.lines().find(|line| line.starts_with(beginning));
        let line = line.unwrap_or_else(|| panic!("no line begins with {beginning}"));
        text = text.replacen(&line.to_owned(), replacement, 1);
    }
    text
}
