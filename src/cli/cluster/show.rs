//! `repoint cluster show`: lays out what is registered and what was seen. Judging is
//! `core::cluster_view`'s.

use std::path::Path;

use serde::Serialize;

use super::{look, named, records};
use crate::cli::connection::{Connection, conninfo_without_password};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::say::Voice;
use crate::cli::table::{json, printable, table};
use crate::cluster_db::node_records::NodeRecord;
use crate::cluster_db::{agents, node_state};
use crate::core::cluster_view::{Issue, Seen, View, view};
use crate::core::pause::{Pause, Pauses};
use crate::edge::postgres::Session;

const EXAMPLE: &str = "\
Examples:
  repoint -f /etc/repoint/repoint.toml cluster show
  repoint cluster show -h 10.0.0.11 -U repmgr -d bdrtest --compact

--csv prints a line a node: its id, 0 if it can be connected to, else -1, and 0 if it is
writable, 1 if it is a standby, -1 if it is not known.

--json prints one object: `nodes`, a list of objects with node_id, node_name, role, status
(running, rejected, unreachable, failed, \"running as standby\", \"running as primary\"), active,
upstream, location, priority, timeline, conninfo (without password) and error; `issues`, a list of
sentences, empty if all is well; and `pauses`, a list of sentences, see `repoint service pause`.
What is not known is null.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Arguments {
    /// Print a list for programs.
    #[arg(long)]
    csv: bool,
    /// Leave out the connection strings, and shorten headings.
    #[arg(long)]
    compact: bool,
    /// Print an object for programs.
    #[arg(long, conflicts_with_all = ["csv", "compact"])]
    json: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    pub(super) voice: Voice,
}

/// A node with all that is known of it.
struct Shown<'a> {
    record: &'a NodeRecord,
    upstream: Option<&'a str>,
    seen: Seen,
    view: View,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> Result<Exit, Failure> {
    let voice = arguments.voice;
    let target = arguments.connection.target(file, arguments.voice)?;
    let session = target.connect_to_any(voice).await?;
    let (records, unusable) = records(&session).await?;
    let with_timeline = node_state::tells_timeline(&session);
    let pauses = pauses_in_force(&session).await;
    let seen = look::at_all(&records).await;
    let all = records.iter().zip(seen);
    let nodes: Vec<Shown<'_>> = all
        .map(|(record, seen)| shown(record, seen, &records))
        .collect();
    let wrong = !unusable.is_empty() || nodes.iter().any(|node| node.view.issue.is_some());
    if arguments.json {
        print::line(&json(&object(&nodes, unusable, pauses)));
    } else if arguments.csv {
        for node in &nodes {
            let (available, recovery) = node.seen.availability();
            print::line(&format!("{},{available},{recovery}", node.record.node_id));
        }
    } else {
        let text = text(&nodes, arguments.compact, with_timeline);
        print::bytes(text.as_bytes());
        if wrong && !voice.terse && !voice.quiet {
            warn(&nodes, unusable, voice);
        }
        for pause in &pauses {
            voice.notice(pause);
        }
    }
    Ok(match wrong {
        true => Exit::NodeStatus,
        false => Exit::Success,
    })
}

/// As the node that was asked has them. No pause is a fault, and without the table there is none.
async fn pauses_in_force(session: &Session) -> Vec<String> {
    let mut pauses = Pauses::default();
    pauses.learn(&agents::pauses(session).await.unwrap_or_default());
    pauses.in_force().map(Pause::sentence).collect()
}

fn shown<'a>(record: &'a NodeRecord, seen: Seen, all: &'a [NodeRecord]) -> Shown<'a> {
    let upstream = record.upstream_node_id.and_then(|id| {
        let upstream = all.iter().find(|other| other.node_id == id)?;
        Some(upstream.node_name.as_str())
    });
    let view = view(&record.kind, record.active, &seen);
    Shown {
        record,
        upstream,
        seen,
        view,
    }
}

fn text(nodes: &[Shown<'_>], compact: bool, with_timeline: bool) -> String {
    let (priority, timeline) = match compact {
        true => ("Prio.", "TLI"),
        false => ("Priority", "Timeline"),
    };
    let mut headings = vec![
        "ID", "Name", "Role", "Status", "Upstream", "Location", priority,
    ];
    headings.extend(with_timeline.then_some(timeline));
    headings.extend((!compact).then_some("Connection string"));
    let row = |node: &Shown<'_>| {
        let record = node.record;
        let mut cells = vec![
            record.node_id.to_string(),
            record.node_name.clone(),
            record.kind.clone(),
            format!("{} {}", node.view.mark, node.view.status),
            node.upstream_cell(),
            record.location.clone(),
            record.priority.to_string(),
        ];
        let timeline = node.timeline();
        let timeline = timeline.map_or_else(|| "?".to_owned(), |timeline| timeline.to_string());
        cells.extend(with_timeline.then_some(timeline));
        cells.extend((!compact).then(|| conninfo_without_password(&record.conninfo)));
        cells
    };
    table(&headings, &nodes.iter().map(row).collect::<Vec<_>>())
}

impl Shown<'_> {
    fn timeline(&self) -> Option<u32> {
        match self.seen {
            Seen::Running { timeline, .. } => timeline,
            Seen::Rejected { .. } | Seen::Unreachable { .. } => None,
        }
    }

    /// Whether a standby that was not reached follows its upstream is not known.
    fn upstream_cell(&self) -> String {
        match self.upstream {
            Some(upstream) if self.seen.reason().is_some() => format!("? {upstream}"),
            Some(upstream) => upstream.to_owned(),
            None => String::new(),
        }
    }

    fn issue(&self) -> Option<String> {
        Some(self.view.issue?.sentence(&named(self.record)))
    }
}

/// Behind the table, as repmgr prints it there.
fn warn(nodes: &[Shown<'_>], unusable: Vec<String>, voice: Voice) {
    let mut block = "\nWARNING: following issues were detected\n".to_owned();
    let issue = |node: &Shown<'_>| {
        let issue = node.issue()?;
        Some(match node.seen.reason().filter(|_| voice.verbose) {
            Some(reason) => format!("{issue}: {}", printable(reason)),
            None => issue,
        })
    };
    let issues = nodes.iter().filter_map(issue);
    issues.chain(unusable).for_each(|issue| {
        block.push_str(&format!("  - {issue}\n"));
    });
    print::bytes(block.as_bytes());
    let lost = |node: &Shown<'_>| node.view.issue == Some(Issue::NotConnected);
    if nodes.iter().any(lost) && !voice.verbose {
        voice.hint("with --verbose it says why a connection failed");
    }
}

#[derive(Serialize)]
struct Object<'a> {
    nodes: Vec<NodeObject<'a>>,
    issues: Vec<String>,
    pauses: Vec<String>,
}

#[derive(Serialize)]
struct NodeObject<'a> {
    node_id: u32,
    node_name: &'a str,
    role: &'a str,
    status: &'static str,
    active: bool,
    upstream: Option<&'a str>,
    location: &'a str,
    priority: i32,
    timeline: Option<u32>,
    conninfo: String,
    error: Option<&'a str>,
}

fn object<'a>(nodes: &'a [Shown<'a>], unusable: Vec<String>, pauses: Vec<String>) -> Object<'a> {
    let node = |node: &'a Shown<'a>| NodeObject {
        node_id: node.record.node_id.0,
        node_name: &node.record.node_name,
        role: &node.record.kind,
        status: node.view.status,
        active: node.record.active,
        upstream: node.upstream,
        location: &node.record.location,
        priority: node.record.priority,
        timeline: node.timeline(),
        conninfo: conninfo_without_password(&node.record.conninfo),
        error: node.seen.reason(),
    };
    let issues = nodes.iter().filter_map(Shown::issue).chain(unusable);
    Object {
        nodes: nodes.iter().map(node).collect(),
        issues: issues.collect(),
        pauses,
    }
}
