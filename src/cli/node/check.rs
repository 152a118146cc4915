//! `repoint node check`: prints verdicts. Judging is `core::node_check`'s.

use std::path::Path;

use super::{look, quoted};
use crate::cli::connection::Connection;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::say::Voice;
use crate::cli::table::printable;
use crate::config::NodeId;
use crate::core::node_check::{Check, Facts, Known, LagLimits, Verdict, What, check};

const EXAMPLE: &str = "\
Examples:
  repoint -f /etc/repoint/repoint.toml node check
  repoint -f /etc/repoint/repoint.toml node check --role --nagios
  repoint node check -h 10.0.0.11 -U repmgr -d bdrtest --slots";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
#[command(group = clap::ArgGroup::new("one").args(
    ["db_connection", "role", "replication_lag", "archive_ready", "slots"]
))]
pub(in crate::cli) struct Arguments {
    /// Whether the server lets us in.
    #[arg(long)]
    db_connection: bool,
    /// Whether the node is what it is registered as, and takes part in the replication.
    #[arg(long)]
    role: bool,
    /// How much WAL the slowest peer has not confirmed.
    #[arg(long)]
    replication_lag: bool,
    /// How many WAL files wait to be archived, and whether the last attempt failed.
    #[arg(long)]
    archive_ready: bool,
    /// Whether every replication slot is in use, and every registered peer has one.
    #[arg(long)]
    slots: bool,
    /// From which replication lag on a check is a WARNING.
    #[arg(long, value_name = "MB", default_value_t = LagLimits::DEFAULT_MB.0)]
    lag_warning: u64,
    /// From which replication lag on a check is CRITICAL.
    #[arg(long, value_name = "MB", default_value_t = LagLimits::DEFAULT_MB.1)]
    lag_critical: u64,
    /// Print the line of a plugin of Nagios; for one check.
    #[arg(long, requires = "one")]
    nagios: bool,
    /// Print a list for programs: name of the check, verdict, reason; for all checks.
    #[arg(long, conflicts_with = "one")]
    csv: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    pub(super) voice: Voice,
}

impl Arguments {
    fn one(&self) -> Option<What> {
        let named = [
            (self.db_connection, What::Connection),
            (self.role, What::Role),
            (self.replication_lag, What::Lag),
            (self.archive_ready, What::Archive),
            (self.slots, What::Slots),
        ];
        named
            .iter()
            .find(|(given, _)| *given)
            .map(|(_, what)| *what)
    }

    fn limits(&self) -> LagLimits {
        LagLimits::megabytes(self.lag_warning, self.lag_critical)
    }
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let target = arguments.connection.target(file, arguments.voice)?;
    let looked = match target.connect().await {
        Ok(session) => look::at(&session, &target).await,
        Err(failure) => Err(failure.detail.unwrap_or(failure.message)),
    };
    let (node, facts): (_, Known<Facts>) = match looked {
        Ok(look) => ((look.name, look.record.map(|r| r.node_id)), Ok(look.facts)),
        Err(reason) => (look::name(&target), Err(reason)),
    };
    let judge = |what| check(what, &facts, arguments.limits());
    match arguments.one() {
        Some(what) => Ok(print_one(&judge(what), arguments.nagios)),
        None => Ok(print_all(&node, &What::ALL.map(judge), arguments.csv)),
    }
}

fn print_one(check: &Check, nagios: bool) -> Exit {
    let (word, text) = (check.verdict.word(), printable(&check.text));
    if nagios {
        // A bar begins the numbers.
        let text = text.replace('|', "/");
        let numbers = check.performance.as_ref();
        let numbers = numbers.map_or_else(String::new, |numbers| format!(" | {numbers}"));
        print::line(&format!("{} {word}: {text}{numbers}", check.what.nagios()));
    } else {
        print::line(&format!("{word} ({text})"));
    }
    match check.verdict {
        Verdict::Ok => Exit::Success,
        // Both are 1.
        Verdict::Warning => Exit::BadConfig,
        Verdict::Critical => Exit::CheckCritical,
        Verdict::Unknown => Exit::CheckUnknown,
    }
}

fn print_all(node: &(String, Option<NodeId>), checks: &[Check], csv: bool) -> Exit {
    super::print_name(node, csv);
    for check in checks {
        let (label, word) = (check.what.label(), check.verdict.word());
        let line = match csv {
            true => quoted(&[label, word, &check.text]),
            false => format!("\t{label}: {word} ({})", printable(&check.text)),
        };
        print::line(&line);
    }
    match checks.iter().all(|check| check.verdict == Verdict::Ok) {
        true => Exit::Success,
        false => Exit::NodeStatus,
    }
}
