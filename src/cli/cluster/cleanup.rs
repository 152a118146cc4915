//! `repoint cluster cleanup`: removes old events, on every node for itself.

use std::path::Path;

use clap::value_parser;
use futures_util::future::join_all;

use super::{look, named, records};
use crate::cli::connection::Connection;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::say::Voice;
use crate::cli::table::printable;
use crate::cluster_db::node_records::NodeRecord;
use crate::cluster_db::{events, node_state, repmgr_tables};
use crate::edge::postgres::{PostgresError, Session};

const EXAMPLE: &str = "\
Examples:
  repoint -f /etc/repoint/repoint.toml cluster cleanup --keep-history 90 --dry-run
  repoint cluster cleanup -h 10.0.0.11 -U repmgr -d bdrtest -k 90";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Arguments {
    /// Keep the events of so many days; 0 removes all. Has to be said.
    #[arg(short = 'k', long, value_name = "DAYS")]
    #[arg(value_parser = value_parser!(u32).range(0..=36500))]
    keep_history: u32,
    /// Say how many would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    pub(super) voice: Voice,
}

/// How it went on a node.
enum Outcome {
    Counted(u64),
    Removed(u64),
    /// Its primary's removals come to it by themselves.
    Standby,
    Failed {
        removed: u64,
        reason: String,
    },
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let voice = arguments.voice;
    let target = arguments.connection.target(file, arguments.voice)?;
    let session = target.connect_to_any(voice).await?;
    let (records, unusable) = records(&session).await?;
    for problem in &unusable {
        voice.warning(problem);
    }
    let all = records.iter().map(|record| clean_up(record, arguments));
    let outcomes = join_all(all).await;
    let mut whole = unusable.is_empty();
    for (record, outcome) in records.iter().zip(outcomes) {
        let node = named(record);
        match outcome {
            Outcome::Counted(count) => {
                print::line(&format!("{node}: {} would be removed", counted(count)));
            }
            Outcome::Removed(count) => print::line(&format!("{node}: {} removed", counted(count))),
            Outcome::Standby => voice.info(&format!("{node} is a standby: it has its primary's")),
            Outcome::Failed { removed, reason } => {
                whole = false;
                let removed = counted(removed);
                voice.warning(&format!(
                    "{node} could not be cleaned up; {removed} removed"
                ));
                voice.detail(&printable(&reason));
            }
        }
    }
    if whole {
        return Ok(Exit::Success);
    }
    voice.hint("run it again when the cause is gone");
    Ok(Exit::NodeStatus)
}

async fn clean_up(record: &NodeRecord, arguments: &Arguments) -> Outcome {
    let session = match look::open(record).await {
        Ok(session) => session,
        Err(seen) => {
            let reason = seen.reason().unwrap_or_default().to_owned();
            return Outcome::Failed { removed: 0, reason };
        }
    };
    let mut removed = 0;
    match clean_up_through(&session, record, arguments, &mut removed).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let reason = error.to_string();
            Outcome::Failed { removed, reason }
        }
    }
}

async fn clean_up_through(
    session: &Session,
    record: &NodeRecord,
    arguments: &Arguments,
    removed: &mut u64,
) -> Result<Outcome, PostgresError> {
    if node_state::in_recovery(session).await? {
        return Ok(Outcome::Standby);
    }
    let moment = events::moment_before(session, arguments.keep_history).await?;
    if arguments.dry_run {
        let count = events::count_before(session, &moment).await?;
        return Ok(Outcome::Counted(count));
    }
    let end = loop {
        match events::remove_some_before(session, &moment).await {
            Ok((some, more)) => {
                *removed += some;
                if !more {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
    };
    let days = arguments.keep_history;
    let days = if days == 1 {
        "1 day".to_owned()
    } else {
        format!("{days} days")
    };
    let node = named(record);
    let details = format!("{} older than {days} removed on {node}", counted(*removed));
    let (event, successful) = ("cluster_cleanup", end.is_ok());
    let noted =
        repmgr_tables::record_event(session, record.node_id, event, successful, &details).await;
    end?;
    noted?;
    Ok(Outcome::Removed(*removed))
}

fn counted(events: u64) -> String {
    match events {
        1 => "1 event".to_owned(),
        _ => format!("{events} events"),
    }
}
