//! The command line: one file a command. Reads the configuration, calls `agent`, prints.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod daemon;
mod load;
mod notify;
mod print;
mod render;

/// Keeps PgBouncer pointed at a live PostgreSQL node.
#[derive(Debug, Parser)]
#[command(name = "repoint", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// The configuration; without it ./repoint.toml, then /etc/repoint/repoint.toml.
    #[arg(short = 'f', long = "config-file", value_name = "FILE", global = true)]
    config_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch both nodes, and redirect the PgBouncers when one fails.
    ///
    /// Runs in the foreground and logs to standard error (RUST_LOG=repoint=debug for more). SIGTERM
    /// ends it and leaves nothing paused; SIGHUP reads the configuration again.
    Daemon,
    /// Redirect the PgBouncers because repmgrd says so: name this as its
    /// event_notification_command.
    ///
    /// event_notification_command='/usr/bin/repoint -f /etc/repoint/repoint.toml
    /// notify %n %e %s "%c" "%a"'
    ///
    /// Prints one line for each PgBouncer, and an error to standard error.
    ///
    /// Exit status: 0 when every PgBouncer serves the node or the event is ignored, else 1.
    Notify(notify::Arguments),
    /// Show what would be done, and do nothing.
    ///
    /// Prints for each PgBouncer the file's path, the difference from the file that is there now,
    /// and the steps of a redirect with the exact console commands.
    Render(render::Arguments),
}

/// Runs the command. Its exit status is the command's own; errors are 1.
///
/// # Errors
/// What is to be printed, with its causes.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let file = cli.config_file.as_deref();
    let end = runtime.block_on(async {
        match cli.command {
            Command::Daemon => daemon::run(file).await,
            Command::Notify(arguments) => notify::run(file, arguments).await,
            Command::Render(arguments) => render::run(file, &arguments).await,
        }
    });
    // A name that is being looked up blocks a thread for as long as the resolver likes.
    runtime.shutdown_background();
    end
}
