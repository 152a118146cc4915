//! `repoint bdr`: registration in repmgr.nodes.

use std::path::Path;

use clap::Subcommand;

use super::connection::Connection;
use super::exit::Exit;
use super::failure::Failure;
use super::say::Voice;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register this node.
    Register {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
    /// Take a node out of repmgr.nodes.
    Unregister {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        voice: Voice,
    },
}

pub(super) async fn run(file: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    let (Command::Register { connection, voice } | Command::Unregister { connection, voice }) =
        command;
    voice.info("not built yet");
    let target = connection.target(file)?;
    target.connect().await?;
    Ok(Exit::Success)
}
