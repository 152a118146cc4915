//! `repoint service`: pausing the daemons.

use std::path::Path;

use clap::Subcommand;

use super::connection::Connection;
use super::exit::Exit;
use super::failure::Failure;
use super::say::Voice;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Pause.
    Pause {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
    /// End the pause.
    Unpause {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
    /// See how the daemons are.
    Status {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
}

pub(super) async fn run(file: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    let (Command::Pause { connection, voice }
    | Command::Unpause { connection, voice }
    | Command::Status { connection, voice }) = command;
    voice.info("not built yet");
    let target = connection.target(file)?;
    target.connect().await?;
    Ok(Exit::Success)
}
