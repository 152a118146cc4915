//! `repoint service`, and `repoint daemon` with the same words: pausing the daemons' failover, and
//! how they are.
//!
//! What a pause means is [`crate::core::pause`]'s, where it is kept [`crate::cluster_db::agents`]'.

use std::path::Path;

use clap::Subcommand;

use super::connection::Connection;
use super::exit::Exit;
use super::failure::Failure;
use super::say::Voice;

mod members;
mod pausing;
mod status;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Pause failover: of every node, or of one that is being worked on.
    ///
    /// While failover is paused the daemons watch, but a node that fails is not acted upon: no
    /// PgBouncer is redirected, no event is written, no hook is run. What was decided before is
    /// brought to its end. The pause is kept on every node, survives restarts of daemons and
    /// servers, and lasts until `service unpause`.
    ///
    /// Exit status: 0 when every node has it and every running daemon honours it, else 26.
    ///
    /// Example: repoint -f /etc/repoint/repoint.toml service pause --node-id 2 --reason "new
    /// kernel"
    Pause {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        selection: Selection,
        /// Why; told with the pause.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        voice: Voice,
    },
    /// End the pause: every one, or that of one node.
    ///
    /// A node that is down at that moment is failed over at once.
    ///
    /// Exit status: 0 when every node has it and every running daemon honours it, else 26.
    ///
    /// Example: repoint -h db1 -U repmgr -d bdrtest service unpause
    Unpause {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        selection: Selection,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        voice: Voice,
    },
    /// Show for each node whether its daemon runs, and whether its failover is paused.
    ///
    /// Example: repoint -h db1 -U repmgr -d bdrtest service status
    Status {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        form: status::Form,
        #[command(flatten)]
        voice: Voice,
    },
}

/// Which node is meant; none: all of them.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Selection {
    /// Only the failover of this node.
    #[arg(long, value_name = "ID", conflicts_with = "node_name")]
    node_id: Option<u32>,
    /// Only the failover of the node of this name.
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
}

impl Command {
    /// How much its user wants to read.
    pub(super) fn voice(&self) -> Voice {
        match self {
            Self::Pause { voice, .. }
            | Self::Unpause { voice, .. }
            | Self::Status { voice, .. } => *voice,
        }
    }
}

pub(super) async fn run(file: Option<&Path>, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Pause {
            connection,
            selection,
            reason,
            dry_run,
            voice,
        } => {
            let members = members::reach(&connection.target(file, voice)?, voice).await?;
            let wish = pausing::Wish {
                paused: true,
                selection,
                reason,
                dry_run,
            };
            pausing::run(&members, wish, voice).await
        }
        Command::Unpause {
            connection,
            selection,
            dry_run,
            voice,
        } => {
            let members = members::reach(&connection.target(file, voice)?, voice).await?;
            let wish = pausing::Wish {
                paused: false,
                selection,
                reason: None,
                dry_run,
            };
            pausing::run(&members, wish, voice).await
        }
        Command::Status {
            connection,
            form,
            voice,
        } => {
            let members = members::reach(&connection.target(file, voice)?, voice).await?;
            status::run(&members, form, voice).await
        }
    }
}
