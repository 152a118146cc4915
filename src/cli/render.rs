//! `repoint render`: the dry run. Reads what is there, prints what would be done, touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::say::Voice;
use super::{load, print};
use crate::agent;
use crate::agent::links::Links;
use crate::agent::membership;
use crate::agent::planning::Planner;
use crate::agent::sockets::SocketDirectory;
use crate::config::{Config, Host, Node, Peers, PgBouncer};
use crate::core::node::Fault;
use crate::core::plan::{Decision, Plan, Step};
use crate::core::worker::HASTY;
use crate::edge::admin_console::{pause_command, resume_command, set_command};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The node that traffic would go to; without it, the node of this host.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only this PgBouncer.
    #[arg(long, value_name = "NAME")]
    pgbouncer: Option<String>,
    /// Print the whole file with every entry at the node, connecting nowhere: what to begin with.
    #[arg(long)]
    full: bool,
    /// How the other node is supposed to have failed.
    #[arg(long = "for", value_name = "FAULT", default_value = "crash")]
    fault: FaultArgument,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FaultArgument {
    /// Connections are refused: its processes are gone.
    Crash,
    /// Silence: it is frozen, or the network to it is gone.
    Blackhole,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = load::find(file)?;
    let loaded = load::load(&path)?;
    loaded.warn(Voice::default());
    let (config, planners) = (loaded.config, loaded.planners);
    let (config, planners) = with_peers(config, planners, arguments).await?;
    let node = chosen_node(&config, arguments.node.as_deref())?;
    let chosen = chosen_pgbouncers(&config, arguments.pgbouncer.as_deref())?;
    if arguments.full {
        return full(node, &chosen, &planners);
    }
    if chosen.is_empty() {
        Voice::default().warning("the configuration names no PgBouncer: nothing to redirect");
    }
    let sockets = SocketDirectory::create_or_temporary(&config.runtime_directory)
        .context("make a directory for the sockets of ssh")?;
    let mut all_reached = true;
    for pgbouncer in chosen {
        let Some(planner) = planners.get(&pgbouncer.name) else {
            continue;
        };
        match show(
            &config,
            node,
            pgbouncer,
            planner,
            sockets.path(),
            arguments.fault,
        )
        .await
        {
            Ok(text) => print::line(&text),
            Err(error) => {
                all_reached = false;
                print::line(&format!("{}: not reached: {error:#}\n", pgbouncer.name));
            }
        }
    }
    Ok(if all_reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// With the other node from `repmgr.nodes`, where the configuration does not name it. What is asked
/// of this host's node alone needs no connection.
async fn with_peers(
    config: Config,
    planners: BTreeMap<String, Planner>,
    arguments: &Arguments,
) -> anyhow::Result<(Config, BTreeMap<String, Planner>)> {
    let local = &config.local().node_name;
    let named = arguments.node.as_ref().unwrap_or(local);
    if config.peers == Peers::Listed || (arguments.full && named == local) {
        return Ok((config, planners));
    }
    let deadline = Instant::now() + membership::LIMIT;
    let completed = membership::complete(&config, deadline).await;
    let config = completed.context(
        "the other node is not known: describe each in a `[[node]]`, or use --full for the file \
         with every entry at this node",
    )?;
    let planners = agent::daemon::planners(&config)?;
    Ok((config, planners))
}

fn chosen_node<'a>(config: &'a Config, name: Option<&str>) -> anyhow::Result<&'a Node> {
    let mut nodes = config.nodes.values();
    let found = match name {
        Some(name) => nodes.find(|node| node.node_name == name),
        None => config.nodes.get(&config.node_id),
    };
    found.with_context(|| {
        let names: Vec<String> = config
            .nodes
            .values()
            .map(|node| format!("{:?}", node.node_name))
            .collect();
        format!(
            "no node is called {:?}; there are {}",
            name.unwrap_or_default(),
            names.join(" and ")
        )
    })
}

fn chosen_pgbouncers<'a>(
    config: &'a Config,
    name: Option<&str>,
) -> anyhow::Result<Vec<&'a PgBouncer>> {
    let Some(name) = name else {
        return Ok(config.pgbouncers.values().collect());
    };
    let Some(found) = config.pgbouncers.get(name) else {
        let names: Vec<String> = config.pgbouncers.keys().map(|n| format!("{n:?}")).collect();
        let are = if names.len() == 1 { "is" } else { "are" };
        bail!(
            "no PgBouncer is called {name:?}; there {are} {}",
            names.join(", ")
        );
    };
    Ok(vec![found])
}

/// The file alone goes to standard output when it is one file, so that it can be put where it
/// belongs.
fn full(
    node: &Node,
    chosen: &[&PgBouncer],
    planners: &BTreeMap<String, Planner>,
) -> anyhow::Result<ExitCode> {
    for pgbouncer in chosen {
        let Some(planner) = planners.get(&pgbouncer.name) else {
            continue;
        };
        let rendered = planner.render_all_at(node.node_id)?;
        if chosen.len() > 1 {
            print::line(&format!("==> {} <==", place(pgbouncer)));
        }
        print::bytes(&rendered.content);
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(
    config: &Config,
    node: &Node,
    pgbouncer: &PgBouncer,
    planner: &Planner,
    sockets: &Path,
    fault: FaultArgument,
) -> anyhow::Result<String> {
    let links = Links::open(pgbouncer, sockets).await?;
    let inspection = links.host.inspect().await?;
    let observation = links.look(None).await?;
    let version = links.consoles.iter().map(|console| console.version).min();
    links.host.close().await;
    let Some(failed) = config.nodes.keys().find(|id| **id != node.node_id) else {
        bail!("there is only one node");
    };
    let decision = Decision {
        generation: observation.file.generation.next(node.node_id),
        failed: *failed,
        active: node.node_id,
        fault: match fault {
            FaultArgument::Crash => Fault::Crash,
            FaultArgument::Blackhole => Fault::Blackhole,
        },
    };
    let routing = planner.routing();
    let at_failed = |name: &&String| observation.nodes_of(name, routing).contains(failed);
    let moves: BTreeSet<String> = routing.names().filter(at_failed).cloned().collect();
    let head = format!("{}: {}", pgbouncer.name, place(pgbouncer));
    if moves.is_empty() {
        return Ok(format!(
            "{head}\n  nothing to do: no entry of it points at {:?}\n",
            config
                .nodes
                .get(failed)
                .map(|node| node.node_name.as_str())
                .unwrap_or_default()
        ));
    }
    let plan = planner.plan(&decision, &moves, moves.clone(), &observation, version)?;
    let now = inspection.content.unwrap_or_default();
    let (now, then) = (
        String::from_utf8_lossy(&now),
        String::from_utf8_lossy(&plan.content),
    );
    let diff = similar::TextDiff::from_lines(now.as_ref(), then.as_ref());
    let path = inspection.path.display();
    let diff = diff
        .unified_diff()
        .header(&format!("{path} now"), &format!("{path} then"))
        .to_string();
    let login_retry = observation
        .processes
        .first()
        .map(|p| p.server_login_retry.clone());
    let steps = steps(&plan, pgbouncer, &login_retry.unwrap_or_default());
    Ok(format!("{head}\n{diff}{steps}"))
}

fn place(pgbouncer: &PgBouncer) -> String {
    let file = pgbouncer.file.display();
    match &pgbouncer.host {
        Host::Local => file.to_string(),
        Host::Ssh { destination, .. } => format!("{destination}:{file}"),
    }
}

/// The steps in words; every console command stands in it exactly as it is sent.
fn steps(plan: &Plan, pgbouncer: &PgBouncer, login_retry: &str) -> String {
    let mut lines = Vec::new();
    for step in plan.steps() {
        let (who, command, why) = match step {
            Step::Stage => (
                "host",
                "stage the file beside the old one".to_owned(),
                String::new(),
            ),
            Step::Pause { database, limit } => (
                "console",
                pause_command(&database),
                format!(
                    "on a connection of its own, given up after {} ms",
                    limit.as_millis()
                ),
            ),
            Step::Activate => (
                "host",
                "rename it into place".to_owned(),
                "if the file is still the one above".to_owned(),
            ),
            Step::Reload => ("console", "RELOAD".to_owned(), String::new()),
            Step::ReadBack => (
                "console",
                "SHOW DATABASES".to_owned(),
                "if an entry is not as meant: the old file back, RELOAD, RESUME".to_owned(),
            ),
            Step::Hasten => (
                "console",
                set_command("server_login_retry", HASTY),
                "after SHOW CONFIG for the value to set again".to_owned(),
            ),
            Step::Resume { database } => ("console", resume_command(&database), String::new()),
            Step::Confirm { database } => confirm(pgbouncer, &database),
            Step::RecordDebt => (
                "console",
                set_command("server_login_retry", login_retry),
                "when that time has passed since RELOAD".to_owned(),
            ),
            Step::RestoreFile | Step::ReadBackPrevious | Step::Settle => continue,
        };
        let why = if why.is_empty() {
            why
        } else {
            format!("  -- {why}")
        };
        lines.push(format!("  {who:<8}{command}{why}\n"));
    }
    lines.concat()
}

fn confirm(pgbouncer: &PgBouncer, database: &str) -> (&'static str, String, String) {
    let user = pgbouncer
        .databases
        .get(database)
        .and_then(|d| d.probe_user.as_deref());
    match user {
        Some(user) => (
            "client",
            format!("a query through `{database}` as `{user}`"),
            "must land on the node, up to 5 s".to_owned(),
        ),
        None => (
            "console",
            "SHOW SERVERS".to_owned(),
            format!(
                "and SHOW POOLS: `{database}` must have a live connection to the node, \
                 if it has clients"
            ),
        ),
    }
}
