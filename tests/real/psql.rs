//! `psql` beside `repoint`: whether a connection comes about is libpq's decision, and ours must be
//! the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fixture::{Cluster, process};

const DEADLINE: Duration = Duration::from_secs(30);

/// repmgr's status for "no connection".
const NO_CONNECTION: i32 = 6;

/// What both programs make of one connection string.
pub(crate) struct Pair<'c> {
    cluster: &'c Cluster,
    home: PathBuf,
    /// Further variables of the environment.
    variables: Vec<(String, String)>,
    differences: Vec<String>,
    connected: usize,
    refused: usize,
}

impl<'c> Pair<'c> {
    pub(crate) fn new(cluster: &'c Cluster, home: PathBuf) -> Self {
        Self {
            cluster,
            home,
            variables: Vec::new(),
            differences: Vec::new(),
            connected: 0,
            refused: 0,
        }
    }

    /// Sets the environment of what follows.
    pub(crate) fn environment(&mut self, variables: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.variables = variables.iter().map(owned).collect();
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command: Command = self.cluster.home().command(program);
        command.args(arguments).env("HOME", &self.home);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = process::run(&mut command, "", DEADLINE);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), errors)
    }

    /// Notes a difference; gives our reason, empty when connected.
    pub(crate) fn compare(&mut self, conninfo: &str) -> String {
        let psql = ["-X", "-w", "-At", "-c", "select 1", conninfo];
        let (status, theirs) = self.run(Path::new("psql"), &psql);
        let libpq_connects = status == Some(0);
        let repoint = self.cluster.home().repoint();
        let (status, ours) = self.run(repoint, &["cluster", "show", "-d", conninfo]);
        let we_connect = status != Some(NO_CONNECTION);
        if we_connect {
            assert!(!ours.contains("unable to connect"), "{conninfo}: {ours}");
            self.connected += 1;
        } else {
            assert!(ours.contains("DETAIL: "), "{conninfo}: {ours}");
            self.refused += 1;
        }
        if libpq_connects != we_connect {
            let variables = &self.variables;
            let difference = format!("{conninfo} {variables:?}\n  psql: {theirs}  ours: {ours}");
            self.differences.push(difference);
        }
        let reason = ours.split_once("DETAIL: ").map(|(_, reason)| reason);
        reason
            .filter(|_| !we_connect)
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn agree(&self, connected_min: usize, refused_min: usize) {
        let count = self.differences.len();
        assert!(
            count == 0,
            "{count} differences:\n{}",
            self.differences.join("\n")
        );
        let (connected, refused) = (self.connected, self.refused);
        let enough = connected >= connected_min && refused >= refused_min;
        assert!(
            enough,
            "only {connected} connected and {refused} were refused"
        );
    }
}
