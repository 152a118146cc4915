//! The command line: one file a command. Reads the configuration, calls `agent` or asks a database,
//! prints.
//!
//! Grammar, exit statuses and the words of the interface are repmgr's where repmgr has the command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

mod bdr;
mod cluster;
mod config;
mod connection;
mod daemon;
mod exit;
mod failure;
mod grammar;
mod load;
mod log;
mod node;
mod notify;
mod print;
mod render;
mod say;
mod service;
mod status;
mod table;

use exit::Exit;
use failure::Failure;
use say::Voice;

use crate::edge::pid_file::PidFileError;

/// Keeps PgBouncer pointed at a live PostgreSQL node.
#[derive(Debug, Parser)]
#[command(name = "repoint", version, about)]
#[command(disable_help_subcommand = true, disable_help_flag = true)]
pub struct Cli {
    /// The configuration: repoint.toml, or repmgr.conf if the name ends in .conf; without it the
    /// first of ./repoint.toml, /etc/repoint/repoint.toml, ./repmgr.conf, /etc/repmgr.conf.
    #[arg(short = 'f', long = "config-file", value_name = "FILE", global = true)]
    config_file: Option<PathBuf>,
    /// Print help.
    // Not -h: that is the host, as with psql and repmgr.
    #[arg(short = '?', long, action = ArgAction::Help, global = true)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch both nodes, and redirect the PgBouncers when one fails.
    ///
    /// Runs in the foreground and logs to standard error (RUST_LOG=repoint=debug for more). SIGTERM
    /// ends it and leaves nothing paused; SIGHUP reads the configuration again, and opens the log
    /// file again.
    ///
    /// Exit status: 0 after SIGTERM, 3 when another daemon holds the PID file or it cannot be made,
    /// else 1.
    ///
    /// Example: repoint -f /etc/repoint/repoint.toml daemon --pid-file /run/repoint/repoint.pid
    ///
    /// `repoint daemon pause`, `unpause` and `status` are those of `repoint service`.
    #[command(args_conflicts_with_subcommands = true)]
    Daemon {
        #[command(flatten)]
        arguments: Box<daemon::Arguments>,
        #[command(subcommand)]
        service: Option<service::Command>,
    },
    /// Redirect the PgBouncers because repmgrd says so: name this as its
    /// event_notification_command.
    #[command(long_about = notify::ABOUT, override_usage = notify::USAGE)]
    Notify(Box<notify::Arguments>),
    /// Show what would be done, and do nothing.
    ///
    /// Prints for each PgBouncer the file's path, the difference from the file that is there now,
    /// and the steps of a redirect with the exact console commands.
    Render(render::Arguments),
    /// Show what the PgBouncers' hosts remember of decisions, and how they see both nodes.
    ///
    /// A line for each PgBouncer and each `[[witness]]`: whether it has a vote, the decision in its
    /// ledger and when traffic was moved by it, what it has promised, the decision in the first
    /// line of the managed file, and each node as it is seen from there. Changes nothing.
    ///
    /// Exit status: 0 when enough witnesses have a ledger that can be read, else 25.
    ///
    /// Example: repoint -f /etc/repoint/repoint.toml status
    Status,
    /// Register this node in repmgr.nodes, or take a node out.
    #[command(subcommand)]
    Bdr(bdr::Command),
    /// Show the nodes and what happened to them.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Show or check this host's node.
    #[command(subcommand)]
    Node(node::Command),
    /// Pause the daemons' failover, end the pause, or see how they are.
    #[command(subcommand)]
    Service(service::Command),
    /// Read a repmgr.conf.
    #[command(subcommand)]
    Config(config::Command),
}

/// Runs the command line that the process was given, prints its errors, and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    log::begin();
    let words = grammar::options_last(std::env::args_os());
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Standard output for --help and --version, else standard error.
            let _ = error.print();
            // repmgr's status of a wrong command line, where clap's is 2.
            return match error.use_stderr() {
                true => Exit::BadConfig.into(),
                false => Exit::Success.into(),
            };
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return gave_up(&error.into()),
    };
    let end = runtime.block_on(run(cli));
    // A name that is being looked up blocks a thread for as long as the resolver likes.
    runtime.shutdown_background();
    end
}

async fn run(cli: Cli) -> ExitCode {
    let file = cli.config_file.as_deref();
    match cli.command {
        Command::Daemon {
            service: Some(command),
            ..
        } => {
            let voice = command.voice();
            command_of_repmgr(voice, service::run(file, command).await)
        }
        Command::Daemon { arguments, .. } => agent(daemon::run(file, *arguments).await),
        Command::Notify(arguments) => agent(notify::run(file, *arguments).await),
        Command::Status => agent(status::run(file).await),
        Command::Render(arguments) => agent(render::run(file, &arguments).await),
        Command::Bdr(command) => {
            let voice = command.voice();
            command_of_repmgr(voice, bdr::run(file, command).await)
        }
        Command::Cluster(command) => {
            let voice = command.voice();
            command_of_repmgr(voice, cluster::run(file, command).await)
        }
        Command::Node(command) => {
            let voice = command.voice();
            command_of_repmgr(voice, node::run(file, command).await)
        }
        Command::Service(command) => {
            let voice = command.voice();
            command_of_repmgr(voice, service::run(file, command).await)
        }
        Command::Config(command) => {
            let voice = command.voice();
            command_of_repmgr(voice, config::run(command))
        }
    }
}

fn agent(end: anyhow::Result<ExitCode>) -> ExitCode {
    end.unwrap_or_else(|error| gave_up(&error))
}

fn gave_up(error: &anyhow::Error) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "repoint: {error:#}");
    match error.downcast_ref::<PidFileError>() {
        Some(_) => Exit::BadPidfile.into(),
        None => Exit::BadConfig.into(),
    }
}

/// Prints why it failed. What is behind an error is part of it, and stays with `--quiet`.
fn command_of_repmgr(voice: Voice, end: Result<Exit, Failure>) -> ExitCode {
    let failure = match end {
        Ok(exit) => return exit.into(),
        Err(failure) => failure,
    };
    let voice = Voice {
        quiet: false,
        ..voice
    };
    voice.error(&failure.message);
    if let Some(detail) = &failure.detail {
        voice.detail(detail);
    }
    if let Some(hint) = &failure.hint {
        voice.hint(hint);
    }
    failure.exit.into()
}
