//! `repoint node`: this host's node.

use std::path::Path;

use clap::Subcommand;

use super::exit::Exit;
use super::failure::Failure;
use super::print;
use super::table::printable;
use crate::cli::say::Voice;
use crate::config::NodeId;

mod check;
mod look;
mod status;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check the node: connection, role, replication lag, WAL archiving, replication slots.
    ///
    /// Exit status of all checks together: 0, or 25 if one is not OK. Of the one that an option
    /// names: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, as plugins of Nagios have it.
    Check(check::Arguments),
    /// Show what the node says of itself.
    ///
    /// Exit status: 0; 25 if something is wrong with it; 6 without a connection.
    Status(status::Arguments),
}

impl Command {
    /// How much its user wants to read.
    pub(super) fn voice(&self) -> Voice {
        match self {
            Self::Check(arguments) => arguments.voice,
            Self::Status(arguments) => arguments.voice,
        }
    }
}

pub(super) async fn run(file: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Check(arguments) => check::run(file, &arguments).await,
        Command::Status(arguments) => status::run(file, &arguments).await,
    }
}

/// Cells in double quotes, as repmgr prints them for programs.
fn quoted(cells: &[&str]) -> String {
    let quote = |cell: &&str| format!("\"{}\"", printable(cell).replace('"', "\"\""));
    cells.iter().map(quote).collect::<Vec<_>>().join(",")
}

/// The heading of an overview: the name, and for programs the id too, if it is known.
fn print_name((name, id): &(String, Option<NodeId>), csv: bool) {
    if !csv {
        print::line(&format!("Node \"{}\":", printable(name)));
        return;
    }
    print::line(&quoted(&["Node name", name]));
    if let Some(id) = id {
        print::line(&quoted(&["Node ID", &id.to_string()]));
    }
}
