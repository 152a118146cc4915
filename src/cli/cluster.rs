//! `repoint cluster`: the nodes, and what happened to them.

use std::path::Path;

use clap::Subcommand;

use super::connection::Connection;
use super::exit::Exit;
use super::failure::Failure;
use super::say::Voice;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the nodes.
    Show {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
    /// Show events.
    Event {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
    /// Remove old events.
    Cleanup {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
}

pub(super) async fn run(file: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    let (Command::Show { connection, voice }
    | Command::Event { connection, voice }
    | Command::Cleanup { connection, voice }) = command;
    voice.info("not built yet");
    let target = connection.target(file)?;
    target.connect().await?;
    Ok(Exit::Success)
}
