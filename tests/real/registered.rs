//! What tests of the commands on `repmgr.nodes` and `repmgr.events` share: tables of repmgr's
//! shape with both nodes in them, and a run of the command to its end.

use std::process::Output;

use crate::fixture::{Cluster, Settings};

/// The tables as the extension makes them.
pub(crate) const TABLES: &str = "
    CREATE SCHEMA repmgr;
    CREATE TABLE repmgr.nodes (node_id int PRIMARY KEY,
        upstream_node_id int REFERENCES repmgr.nodes (node_id) DEFERRABLE,
        active bool NOT NULL DEFAULT true, node_name text NOT NULL,
        type text NOT NULL CHECK (type IN ('primary', 'standby', 'witness', 'bdr')),
        location text NOT NULL DEFAULT 'default', priority int NOT NULL DEFAULT 100,
        conninfo text NOT NULL, repluser varchar(63) NOT NULL, slot_name text,
        config_file text NOT NULL);
    CREATE TABLE repmgr.events (node_id int NOT NULL, event text NOT NULL,
        successful bool NOT NULL DEFAULT true,
        event_timestamp timestamptz NOT NULL DEFAULT current_timestamp, details text);";

/// Two nodes without PgBouncers, registered on both.
pub(crate) fn start() -> Cluster {
    let cluster = Cluster::builder().poolers(0).start();
    for node in cluster.nodes() {
        node.client().batch_execute(TABLES).expect("SQL");
    }
    for node in cluster.nodes() {
        add(&cluster, node.id(), node.name(), &node.conninfo());
    }
    cluster
}

/// Registers a node, on both nodes.
pub(crate) fn add(cluster: &Cluster, id: u32, name: &str, conninfo: &str) {
    let id = i32::try_from(id).expect("a small number");
    let insert = "INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, \
                  config_file) VALUES ($1, $2, 'bdr', $3, '', '')";
    for node in cluster.nodes() {
        let mut client = node.client();
        client
            .execute(insert, &[&id, &name, &conninfo])
            .expect("SQL");
    }
}

/// Runs a statement on both nodes.
pub(crate) fn on_both(cluster: &Cluster, sql: &str) {
    for node in cluster.nodes() {
        node.client().batch_execute(sql).expect("SQL");
    }
}

/// What a command gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Ran {
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!(self.stdout, stdout, "standard output of {self:?}");
        assert_eq!(self.stderr, stderr, "standard error of {self:?}");
        assert_eq!(self.code, code, "{self:?}");
    }
}

/// Runs `repoint` with the words of a command, and gives what it printed.
#[track_caller]
pub(crate) fn run(cluster: &Cluster, arguments: &[&str]) -> Ran {
    let output = cluster.repoint(arguments);
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    Ran {
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        code: output.status.code().expect("an exit status"),
    }
}

/// As [`run`], on a node that the command line names, without any configuration.
#[track_caller]
pub(crate) fn run_at(cluster: &Cluster, node_id: u32, command: &str) -> Ran {
    let server = cluster.node(node_id).connection_options();
    let words = command.split(' ').collect::<Vec<_>>();
    let server = server.each_ref().map(String::as_str);
    run(cluster, &[&words[..], &server].concat())
}

/// As [`run`], with the configuration of a node.
#[track_caller]
pub(crate) fn run_on(cluster: &Cluster, node_id: u32, command: &str) -> Ran {
    let file = cluster.write_config(node_id, &Settings::default(), |_| ());
    let file = file.display().to_string();
    let words = command.split(' ').collect::<Vec<_>>();
    run(cluster, &[&["-f", file.as_str()], &words[..]].concat())
}

/// Runs `repoint bdr` with the configuration of a node.
pub(crate) fn bdr(cluster: &Cluster, node_id: u32, arguments: &[&str]) -> Output {
    let file = cluster.write_config(node_id, &Settings::default(), |_| ());
    let file = file.display().to_string();
    let all: Vec<&str> = ["-f", &file, "bdr"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    cluster.repoint(&all)
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
