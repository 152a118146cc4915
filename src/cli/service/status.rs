//! `service status`: for each node, whether its daemon runs and whether its failover is paused.

use std::collections::BTreeMap;

use super::members::Member;
use super::pausing::freshest;
use crate::agent::heartbeat::STALE;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::say::Voice;
use crate::cli::table::{csv, printable, table};
use crate::cluster_db::agents::{self, Agent};
use crate::config::NodeId;
use crate::core::pause::{Pause, Pauses, Scope};
use crate::edge::postgres::PostgresError;

/// How it is shown.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(in crate::cli) struct Form {
    /// Location and priority, too.
    #[arg(long)]
    detail: bool,
    /// A line for each node: id, name, type, PostgreSQL runs (1, 0), the daemon runs (1, 0, -1: not
    /// known), its process (-1), paused (1, 0, -1), priority, -1, location.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Everything that is known, as JSON.
    #[arg(long)]
    json: bool,
}

/// What is known of one node, for `--json`; the other forms are made from it.
#[derive(Debug, serde::Serialize)]
struct Line {
    node_id: NodeId,
    node_name: String,
    role: String,
    status: &'static str,
    upstream: Option<String>,
    location: String,
    priority: i32,
    pg_running: bool,
    /// `None`: nothing could be read.
    daemon_running: Option<bool>,
    pid: Option<u32>,
    host: Option<String>,
    version: Option<String>,
    started_at: Option<String>,
    seconds_ago: Option<u64>,
    sees: Option<String>,
    paused: Option<bool>,
}

#[derive(Debug, serde::Serialize)]
struct PauseLine {
    /// `None`: of every node.
    node_id: Option<NodeId>,
    since: String,
    by: String,
    reason: Option<String>,
}

#[derive(Debug, serde::Serialize)]
struct Everything {
    nodes: Vec<Line>,
    pauses: Vec<PauseLine>,
}

pub(super) async fn run(members: &[Member], form: Form, voice: Voice) -> Result<Exit, Failure> {
    let mut living = BTreeMap::new();
    let mut pauses = Pauses::default();
    let (mut read, mut problems) = (false, Vec::new());
    for member in members {
        let name = format!("{:?} (ID: {})", member.record.node_name, member.id());
        let session = match &member.session {
            Ok(session) => session,
            Err(error) => {
                let problem = format!("unable to connect to node {name}");
                problems.push((problem, printable(&error.to_string())));
                continue;
            }
        };
        match agents::tables(session).await {
            Ok(Some(tables)) => {
                read = true;
                pauses.learn(&tables.pauses);
                freshest(&mut living, tables);
            }
            Ok(None) => problems.push((
                format!("node {name} has no schema repoint"),
                "a daemon makes it, if its user may".to_owned(),
            )),
            Err(error) => problems.push((
                format!("unable to read the schema repoint of node {name}"),
                printable(&error.to_string()),
            )),
        }
    }
    let line = |member: &Member| {
        let agent = living.get(&member.id());
        let paused = read.then(|| pauses.on(member.id()).is_some());
        line(members, member, agent, read, paused)
    };
    let lines: Vec<Line> = members.iter().map(line).collect();
    if form.json {
        json(lines, &pauses)?;
    } else if form.csv {
        lines.iter().for_each(|line| print::line(&as_csv(line)));
    } else {
        show(&lines, form);
        for (problem, why) in problems {
            voice.warning(&problem);
            voice.detail(&why);
        }
        for pause in pauses.in_force() {
            voice.warning(&pause.sentence());
        }
    }
    Ok(Exit::Success)
}

fn line(
    members: &[Member],
    member: &Member,
    agent: Option<&Agent>,
    read: bool,
    paused: Option<bool>,
) -> Line {
    let record = &member.record;
    let upstream = record.upstream_node_id.map(|id| {
        let upstream = members.iter().find(|other| other.id() == id);
        upstream.map_or_else(|| id.to_string(), |member| member.record.node_name.clone())
    });
    let runs = |agent: &Agent| !agent.stopped && agent.age < STALE;
    let running = agent.is_some_and(runs);
    let beat = agent.map(|agent| &agent.beat);
    Line {
        node_id: record.node_id,
        node_name: record.node_name.clone(),
        role: record.kind.clone(),
        status: status(member),
        upstream,
        location: record.location.clone(),
        priority: record.priority,
        pg_running: match &member.session {
            Ok(_) | Err(PostgresError::Answered { .. }) => true,
            Err(_) => false,
        },
        daemon_running: read.then_some(running),
        pid: beat.filter(|_| running).map(|beat| beat.pid),
        host: beat.map(|beat| beat.host_name.clone()),
        version: beat.map(|beat| beat.version.clone()),
        started_at: beat.map(|beat| beat.started_at.clone()),
        seconds_ago: agent.map(|agent| agent.age.as_secs()),
        sees: beat.map(|beat| beat.sees.clone()),
        paused,
    }
}

/// As `cluster show` has it.
fn status(member: &Member) -> &'static str {
    let record = &member.record;
    let leads = ["bdr", "primary"].contains(&record.kind.as_str());
    match (&member.session, record.active) {
        (Ok(_), true) if leads => "* running",
        (Ok(_), true) => "  running",
        (Ok(_), false) => "! running",
        (Err(PostgresError::Answered { .. }), true) => "? rejected",
        (Err(PostgresError::Answered { .. }), false) => "! failed",
        (Err(_), true) => "? unreachable",
        (Err(_), false) => "- failed",
    }
}

fn show(lines: &[Line], form: Form) {
    let mut headings = vec!["ID", "Name", "Role", "Status", "Upstream"];
    if form.detail {
        headings.extend(["Location", "Priority"]);
    }
    headings.extend(["repmgrd", "PID", "Paused?", "Upstream last seen"]);
    let choose = |known: Option<bool>, yes: &str, no: &str| match known {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => "n/a".to_owned(),
    };
    let row = |line: &Line| {
        let mut cells = vec![
            line.node_id.to_string(),
            line.node_name.clone(),
            line.role.clone(),
            line.status.to_owned(),
            line.upstream.clone().unwrap_or_default(),
        ];
        if form.detail {
            cells.extend([line.location.clone(), line.priority.to_string()]);
        }
        cells.extend([
            choose(line.daemon_running, "running", "not running"),
            line.pid.map_or("n/a".to_owned(), |pid| pid.to_string()),
            choose(line.paused, "yes", "no"),
            "n/a".to_owned(),
        ]);
        cells
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    print::bytes(table(&headings, &rows).as_bytes());
}

fn as_csv(line: &Line) -> String {
    let number = |known: Option<bool>| known.map_or("-1".to_owned(), |k| u8::from(k).to_string());
    [
        line.node_id.to_string(),
        csv(&line.node_name),
        csv(&line.role),
        u8::from(line.pg_running).to_string(),
        number(line.daemon_running),
        line.pid.map_or("-1".to_owned(), |pid| pid.to_string()),
        number(line.paused),
        line.priority.to_string(),
        // When the upstream was last seen: there is none.
        "-1".to_owned(),
        csv(&line.location),
    ]
    .join(",")
}

fn json(nodes: Vec<Line>, pauses: &Pauses) -> Result<(), Failure> {
    let line = |pause: &Pause| PauseLine {
        node_id: match pause.scope {
            Scope::Cluster => None,
            Scope::Node(node) => Some(node),
        },
        since: pause.changed_at.clone(),
        by: pause.changed_by.clone(),
        reason: pause.reason.clone(),
    };
    let pauses = pauses.in_force().map(line).collect();
    let text = serde_json::to_string_pretty(&Everything { nodes, pauses })
        .map_err(|error| Failure::new(Exit::BadConfig, error.to_string()))?;
    print::line(&text);
    Ok(())
}
