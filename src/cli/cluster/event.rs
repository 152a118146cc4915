//! `repoint cluster event`: lays out rows of `repmgr.events`.

use std::path::Path;

use clap::value_parser;
use serde::Serialize;

use super::unreadable;
use crate::cli::connection::Connection;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::say::Voice;
use crate::cli::table::{csv, json, printable, table};
use crate::cluster_db::events::{self, Event, Filter};
use crate::config::NodeId;
use crate::edge::postgres::{PostgresError, Session};

const EXAMPLE: &str = "\
Examples:
  repoint -f /etc/repoint/repoint.toml cluster event --event bdr_failover
  repoint cluster event -h 10.0.0.11 -U repmgr -d bdrtest --node-id 2 --limit 5

--csv prints a line an event, without headings: node id, node name, event, t or f for its
success, time. --json prints a list of objects with node_id, node_name (null: no longer
registered), event, successful, timestamp (UTC) and details (null: none).";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Arguments {
    /// How many events, the newest first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    limit: u32,
    /// All events, whatever --limit says.
    #[arg(long)]
    all: bool,
    /// Events of this type only.
    #[arg(long, value_name = "TYPE")]
    event: Option<String>,
    /// Events of this node only, registered or not.
    #[arg(long, value_name = "ID", value_parser = value_parser!(u32).range(1..))]
    node_id: Option<u32>,
    /// Events of this node only; --node-id goes over it.
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Print a list for programs, without details.
    #[arg(long)]
    csv: bool,
    /// Leave out the details.
    #[arg(long)]
    compact: bool,
    /// Print objects for programs.
    #[arg(long, conflicts_with_all = ["csv", "compact"])]
    json: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    pub(super) voice: Voice,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let voice = arguments.voice;
    let target = arguments.connection.target(file, arguments.voice)?;
    let session = target.connect_to_any(voice).await?;
    let filter = Filter {
        event: arguments.event.clone(),
        nodes: nodes(&session, arguments).await?,
        limit: (!arguments.all).then_some(arguments.limit),
    };
    let events = events::newest(&session, &filter).await;
    let events = events.map_err(|error| query_failed(&error))?;
    if arguments.json {
        print::line(&json(&events.iter().map(object).collect::<Vec<_>>()));
    } else if arguments.csv {
        // Nothing to a program is no line; the user is told beside it.
        if events.is_empty() {
            voice.info(NONE);
        }
        let lines: String = events.iter().map(line).collect();
        print::bytes(lines.as_bytes());
    } else if events.is_empty() {
        print::line(NONE);
    } else {
        print::bytes(text(&events, arguments.compact).as_bytes());
    }
    Ok(Exit::Success)
}

const NONE: &str = "no matching events found";

async fn nodes(session: &Session, arguments: &Arguments) -> Result<Option<Vec<NodeId>>, Failure> {
    if let Some(id) = arguments.node_id {
        return Ok(Some(vec![NodeId(id)]));
    }
    let Some(name) = &arguments.node_name else {
        return Ok(None);
    };
    let ids = events::nodes_named(session, name).await;
    let ids = ids.map_err(|error| query_failed(&error))?;
    if ids.is_empty() {
        let message = format!("no node is registered as \"{}\"", printable(name));
        let hint = "`repoint cluster show` lists the nodes; events of a node that is gone are \
                    found with --node-id";
        return Err(Failure::new(Exit::BadConfig, message).hint(hint));
    }
    Ok(Some(ids))
}

fn query_failed(error: &PostgresError) -> Failure {
    unreadable(Exit::DbQuery, "repmgr.events", error)
}

fn text(events: &[Event], compact: bool) -> String {
    let mut headings = vec!["Node ID", "Name", "Event", "OK", "Timestamp"];
    headings.extend((!compact).then_some("Details"));
    let row = |event: &Event| {
        let mut cells = cells(event).to_vec();
        cells.extend((!compact).then(|| event.details.clone().unwrap_or_default()));
        cells
    };
    table(&headings, &events.iter().map(row).collect::<Vec<_>>())
}

fn line(event: &Event) -> String {
    let cells = cells(event).map(|cell| csv(&cell));
    format!("{}\n", cells.join(","))
}

fn cells(event: &Event) -> [String; 5] {
    let ok = if event.successful { "t" } else { "f" };
    [
        event.node_id.to_string(),
        event.node_name.clone().unwrap_or_default(),
        event.event.clone(),
        ok.to_owned(),
        event.timestamp.clone(),
    ]
}

#[derive(Serialize)]
struct Object<'a> {
    node_id: i64,
    node_name: Option<&'a str>,
    event: &'a str,
    successful: bool,
    timestamp: &'a str,
    details: Option<&'a str>,
}

fn object(event: &Event) -> Object<'_> {
    Object {
        node_id: event.node_id,
        node_name: event.node_name.as_deref(),
        event: &event.event,
        successful: event.successful,
        timestamp: &event.timestamp_utc,
        details: event.details.as_deref(),
    }
}
