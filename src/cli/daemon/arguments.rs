//! The options of `repoint daemon`: repmgrd's, as far as they have a meaning here. The others are
//! refused with what to do instead, so that a unit file never runs something else than it says.

use std::path::PathBuf;

use anyhow::bail;

use crate::config::{Config, LogLevel};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Write the process id here, over the configuration's pid_file.
    #[arg(short = 'p', long, value_name = "FILE", conflicts_with = "no_pid_file")]
    pid_file: Option<PathBuf>,
    /// Write the process id nowhere.
    #[arg(long)]
    no_pid_file: bool,
    /// Print the path of the PID file, and do nothing else.
    #[arg(short = 's', long)]
    pub(super) show_pid_file: bool,
    /// Say as much as this word of repmgr's lets through (DEBUG, INFO, NOTICE, WARNING, ERROR),
    /// over RUST_LOG and the configuration's log_level.
    #[arg(short = 'L', long, value_name = "LEVEL", value_parser = level)]
    log_level: Option<LogLevel>,
    /// Say more, as -L DEBUG.
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Only false, which goes without saying: it runs in the foreground.
    #[arg(short = 'd', long, value_name = "BOOLEAN", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean)]
    daemonize: Option<bool>,
    /// repmgrd's, for streaming replication.
    #[arg(short = 'm', long, hide = true)]
    monitoring_history: bool,
}

impl Arguments {
    /// Refuses what repmgrd does and repoint does not.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.daemonize == Some(true) {
            bail!(
                "--daemonize: repoint runs in the foreground; leave the option out, and let \
                 systemd or another supervisor keep it running"
            );
        }
        if self.monitoring_history {
            bail!(
                "--monitoring-history: there is no such history where both nodes take writes; \
                 leave the option out"
            );
        }
        Ok(())
    }

    /// Where the PID file is to be.
    pub(super) fn pid_file(&self, config: &Config) -> Option<PathBuf> {
        match (&self.pid_file, self.no_pid_file) {
            (_, true) => None,
            (Some(named), false) => Some(named.clone()),
            (None, false) => config.pid_file.clone(),
        }
    }

    /// What is logged whatever the configuration says.
    pub(super) fn level(&self) -> Option<LogLevel> {
        self.log_level.or(self.verbose.then_some(LogLevel::Debug))
    }
}

/// repmgr's words, in either case.
fn level(word: &str) -> Result<LogLevel, &'static str> {
    Ok(match word.to_ascii_uppercase().as_str() {
        "DEBUG" => LogLevel::Debug,
        "INFO" => LogLevel::Info,
        "NOTICE" => LogLevel::Notice,
        "WARNING" => LogLevel::Warning,
        "ERROR" | "ALERT" | "CRIT" | "EMERG" => LogLevel::Error,
        _ => return Err("write DEBUG, INFO, NOTICE, WARNING or ERROR"),
    })
}

fn boolean(word: &str) -> Result<bool, &'static str> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => true,
        "false" | "0" | "off" | "no" => false,
        _ => return Err("write true or false"),
    })
}
