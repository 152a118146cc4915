//! `repoint node status`: what a node says of itself, for people and programs.

use std::path::Path;

use super::{look, quoted};
use crate::cli::connection::{Connection, conninfo_without_password};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::say::Voice;
use crate::cli::table::printable;
use crate::cluster_db::node_state::{self, Figures};
use crate::core::node_check::{Facts, LagLimits, Verdict, What, check};

const EXAMPLE: &str = "\
Examples:
  repoint -f /etc/repoint/repoint.toml node status
  repoint node status -h 10.0.0.11 -U repmgr -d bdrtest --csv";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Arguments {
    /// Print a list for programs.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    pub(super) voice: Voice,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let voice = arguments.voice;
    let target = arguments.connection.target(file, arguments.voice)?;
    let session = target.connect().await?;
    let failed = |reason: String| {
        Failure::new(Exit::DbQuery, "unable to ask the node").detail(printable(&reason))
    };
    let look = look::at(&session, &target).await.map_err(failed)?;
    let figures = node_state::figures(&session).await;
    let figures = figures.map_err(|error| failed(error.to_string()))?;
    let lines = lines(&look, &session.server_version, &figures);
    let id = look.record.as_ref().map(|record| record.node_id);
    super::print_name(&(look.name.clone(), id), arguments.csv);
    for (label, value) in &lines {
        print::line(&match arguments.csv {
            true => quoted(&[label, value]),
            false => format!("\t{label}: {}", printable(value)),
        });
    }
    let facts = Ok(look.facts);
    let checks = What::ALL.map(|what| check(what, &facts, LagLimits::default()));
    let wrong = checks.iter().filter(|check| check.verdict != Verdict::Ok);
    let issues: Vec<String> = wrong.map(|check| printable(&check.text)).collect();
    if issues.is_empty() {
        return Ok(Exit::Success);
    }
    if !arguments.csv && !voice.terse && !voice.quiet {
        print::line("\nWARNING: following issues were detected");
        for issue in &issues {
            print::line(&format!("  - {issue}"));
        }
    }
    Ok(Exit::NodeStatus)
}

fn lines(look: &look::Look, version: &str, figures: &Figures) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    // Behind a blank, packagers name themselves.
    let version = version.split(' ').next().unwrap_or_default();
    lines.push(("PostgreSQL version", version.to_owned()));
    lines.push(("Database size", figures.database_size.clone()));
    if let Some(record) = &look.record {
        lines.push(("Conninfo", conninfo_without_password(&record.conninfo)));
        let active = if record.active { "active" } else { "inactive" };
        lines.push(("Role", record.kind.clone()));
        lines.push(("Record", active.to_owned()));
    }
    lines.push(("WAL archiving", archiving(&look.facts)));
    let (now, most) = (&figures.walsenders, &figures.walsenders_max);
    let connections = format!("{now} (of maximal {most})");
    lines.push(("Replication connections", connections));
    lines.push(("Replication slots", slots(&look.facts, &figures.slots_max)));
    lines.push(("Replication lag", lag(&look.facts)));
    lines
}

fn archiving(facts: &Facts) -> String {
    match &facts.archiver {
        Err(reason) => format!("unknown ({reason})"),
        Ok(archiver) if !archiver.on => "off".to_owned(),
        Ok(archiver) => match archiver.ready {
            Some(ready) => format!("on ({ready} pending files)"),
            None => "on".to_owned(),
        },
    }
}

fn slots(facts: &Facts, most: &str) -> String {
    match &facts.slots {
        Err(reason) => format!("unknown ({reason})"),
        Ok(slots) => {
            let inactive = slots.iter().filter(|slot| !slot.active).count();
            format!("{} (of maximal {most}; {inactive} inactive)", slots.len())
        }
    }
}

fn lag(facts: &Facts) -> String {
    let slots = match &facts.slots {
        Ok(slots) => slots,
        Err(reason) => return format!("unknown ({reason})"),
    };
    let slowest = slots.iter().filter_map(|slot| slot.unconfirmed_bytes).max();
    slowest.map_or_else(|| "n/a".to_owned(), |bytes| format!("{bytes} bytes"))
}
