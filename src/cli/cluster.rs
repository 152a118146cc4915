//! `repoint cluster`: the nodes, and what happened to them.

use std::path::Path;

use clap::Subcommand;

use super::exit::Exit;
use super::failure::Failure;
use super::table::printable;
use crate::cli::say::Voice;
use crate::cluster_db::node_records::{self, NodeRecord};
use crate::edge::postgres::{PostgresError, Session};

mod cleanup;
mod event;
mod look;
mod show;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the nodes: what is registered, and which of them can be connected to.
    ///
    /// Reads repmgr.nodes on this host's node, or on another one of the configuration if that one
    /// does not answer, and connects to all nodes at the same time. A node that hangs costs its
    /// own connect_timeout (2 seconds unless its conninfo says else), and the others nothing.
    ///
    /// Status: `* running` and, for a standby, `running`; `! running`: its record is inactive;
    /// `? rejected`: it answers, but refuses us; `? unreachable`; `- failed`: unreachable, and
    /// its record is inactive.
    ///
    /// Exit status: 0; 25 if anything is wrong with a node; 1 if there are no records; 6 without
    /// a connection.
    Show(show::Arguments),
    /// Show events, the newest first.
    ///
    /// Exit status: 0, also if there is none; 1 if no node has the name; 6 without a connection; 7
    /// if the events cannot be read.
    #[command(alias = "events")]
    Event(event::Arguments),
    /// Remove old events, on every registered node.
    ///
    /// The table repmgr.events has no key, so no replication carries the removal: it is done on
    /// each node, in small transactions, and noted there as an event `cluster_cleanup`.
    ///
    /// Exit status: 0; 25 if a node could not be reached or cleaned up, so that it is to be done
    /// again; 1 if there are no records; 6 without a connection.
    Cleanup(cleanup::Arguments),
}

impl Command {
    /// How much its user wants to read.
    pub(super) fn voice(&self) -> Voice {
        match self {
            Self::Show(arguments) => arguments.voice,
            Self::Event(arguments) => arguments.voice,
            Self::Cleanup(arguments) => arguments.voice,
        }
    }
}

pub(super) async fn run(file: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Show(arguments) => show::run(file, &arguments).await,
        Command::Event(arguments) => event::run(file, &arguments).await,
        Command::Cleanup(arguments) => cleanup::run(file, &arguments).await,
    }
}

/// The registered nodes, and a sentence for each row that is none.
async fn records(session: &Session) -> Result<(Vec<NodeRecord>, Vec<String>), Failure> {
    let read = node_records::usable(session).await;
    let (records, mut unusable) =
        read.map_err(|error| unreadable(Exit::BadConfig, "repmgr.nodes", &error))?;
    unusable.iter_mut().for_each(|text| *text = printable(text));
    if records.is_empty() && unusable.is_empty() {
        let failure = Failure::new(Exit::BadConfig, "no node is registered in repmgr.nodes");
        return Err(failure.hint(REGISTER));
    }
    Ok((records, unusable))
}

const REGISTER: &str = "run `repoint bdr register` on each node";

const GRANT: &str = "connect as the user of repmgr (-U), or let a superuser GRANT USAGE ON SCHEMA \
                     repmgr and SELECT on its tables";

fn unreadable(exit: Exit, table: &str, error: &PostgresError) -> Failure {
    let detail = printable(&error.to_string());
    let failure = Failure::new(exit, format!("unable to read {table}")).detail(detail);
    let absent = |state: &str| ["42P01", "3F000"].contains(&state);
    match error {
        PostgresError::Answered { sqlstate, .. } if absent(sqlstate) => failure.hint(REGISTER),
        PostgresError::Answered { sqlstate, .. } if sqlstate == "42501" => failure.hint(GRANT),
        PostgresError::Answered { .. }
        | PostgresError::Refused(_)
        | PostgresError::Foreign(_)
        | PostgresError::Silent(_)
        | PostgresError::Unreachable(_)
        | PostgresError::Unusable(_) => failure,
    }
}

/// `node "N" (ID: I)`, whatever the name is.
fn named(record: &NodeRecord) -> String {
    let name = printable(&record.node_name);
    format!("node \"{name}\" (ID: {})", record.node_id)
}
