//! `repoint config`: from repmgr.conf to repoint.toml.

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::Exit;
use super::failure::Failure;
use super::print;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the repoint.toml that means the same as a repmgr.conf.
    Import {
        /// The repmgr.conf.
        file: PathBuf,
    },
}

pub(super) fn run(command: Command) -> Result<Exit, Failure> {
    let Command::Import { file } = command;
    print::line(&file.display().to_string());
    Ok(Exit::Success)
}
