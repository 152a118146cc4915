//! `repoint node`: this host's node.

use std::path::Path;

use clap::Subcommand;

use super::connection::Connection;
use super::exit::Exit;
use super::failure::Failure;
use super::say::Voice;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check the node.
    Check {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
    /// Show the node.
    Status {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
}

pub(super) async fn run(file: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    let (Command::Check { connection, voice } | Command::Status { connection, voice }) = command;
    voice.info("not built yet");
    let target = connection.target(file)?;
    target.connect().await?;
    Ok(Exit::Success)
}
