//! `repoint config`: from repmgr.conf to repoint.toml.

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::Exit;
use super::failure::Failure;
use super::say::Voice;
use super::{load, print};
use crate::config::repmgr_conf::import::to_toml;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the repoint.toml that means the same as a repmgr.conf.
    ///
    /// repoint config import /etc/repmgr.conf > /etc/repoint/repoint.toml
    ///
    /// Options that mean nothing here are listed in comments, with the reason. A password in
    /// conninfo is printed as it stands. Changes nothing.
    ///
    /// Exit status: 0, or 1 with the list of what is wrong.
    Import {
        /// The repmgr.conf.
        file: PathBuf,
        #[command(flatten)]
        voice: Voice,
    },
}

impl Command {
    /// How much its user wants to read.
    pub(super) fn voice(&self) -> Voice {
        match self {
            Self::Import { voice, .. } => *voice,
        }
    }
}

pub(super) fn run(command: Command) -> Result<Exit, Failure> {
    let Command::Import { file, voice } = command;
    let conf = load::read_repmgr_conf(&file)?;
    // What is printed must be usable, so the file of the PgBouncers must be, too.
    load::over(&conf)?;
    for warning in &conf.warnings {
        voice.warning(&warning.to_string());
    }
    if voice.verbose {
        let file = file.display();
        voice.info(&format!("`{file}` is read in {}", conf.dialect));
    }
    let pgbouncers = load::pgbouncers_text(&conf)?;
    print::bytes(to_toml(&conf, pgbouncers.as_deref()).as_bytes());
    Ok(Exit::Success)
}
