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
use crate::core::plan::Decision;
use crate::core::sequence::before_reload;
use crate::core::worker::{Depth, note_edited};
use crate::edge::remote::Turns;
use crate::render::difference;

mod steps;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The node that traffic would go to; without it, the node of this host, and with --full the
    /// `home` of each PgBouncer that has one.
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
        let told = arguments.node.is_some();
        return full(node, told, &chosen, &planners);
    }
    if chosen.is_empty() {
        Voice::default().warning("the configuration names no PgBouncer: nothing to redirect");
    }
    let sockets = SocketDirectory::create_or_temporary(&config.runtime_directory)
        .context("make a directory for the sockets of ssh")?;
    let mut all_well = true;
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
            Ok((well, text)) => {
                all_well &= well;
                print::line(&text);
            }
            Err(error) => {
                all_well = false;
                print::line(&format!("{}: not reached: {error:#}\n", pgbouncer.name));
            }
        }
    }
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// With the other node from `repmgr.nodes`, where the configuration does not name it. A file that
/// leads to this host's node alone needs no connection.
async fn with_peers(
    config: Config,
    planners: BTreeMap<String, Planner>,
    arguments: &Arguments,
) -> anyhow::Result<(Config, BTreeMap<String, Planner>)> {
    let local = &config.local().node_name;
    let named = arguments.node.as_ref().unwrap_or(local);
    let prefers_other = |pgbouncer: &PgBouncer| {
        let home = pgbouncer.home.is_some_and(|home| home != config.node_id);
        home && arguments.node.is_none()
    };
    let here = named == local && !config.pgbouncers.values().any(prefers_other);
    if config.peers == Peers::Listed || (arguments.full && here) {
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
    told: bool,
    chosen: &[&PgBouncer],
    planners: &BTreeMap<String, Planner>,
) -> anyhow::Result<ExitCode> {
    for pgbouncer in chosen {
        let Some(planner) = planners.get(&pgbouncer.name) else {
            continue;
        };
        let home = pgbouncer.home.filter(|_| !told);
        let rendered = planner.render_all_at(home.unwrap_or(node.node_id))?;
        if chosen.len() > 1 {
            print::line(&format!("==> {} <==", place(pgbouncer)));
        }
        print::bytes(&rendered.content);
    }
    Ok(ExitCode::SUCCESS)
}

/// What would be done; `false`: it would fail.
async fn show(
    config: &Config,
    node: &Node,
    pgbouncer: &PgBouncer,
    planner: &Planner,
    sockets: &Path,
    fault: FaultArgument,
) -> anyhow::Result<(bool, String)> {
    let links = Links::open(pgbouncer, sockets, &Turns::default()).await?;
    let inspection = links.host.inspect().await?;
    let observation = links.look(Depth::All, None).await?;
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
    let home = pgbouncer.home.and_then(|home| config.nodes.get(&home));
    let home = home.map_or(String::new(), |home| {
        format!(" (home: {:?})", home.node_name)
    });
    let head = format!("{}: {}{home}", pgbouncer.name, place(pgbouncer));
    if moves.is_empty() {
        let failed = config.nodes.get(failed);
        let name = failed
            .map(|node| node.node_name.as_str())
            .unwrap_or_default();
        let text = format!("{head}\n  nothing to do: no entry of it points at {name:?}\n");
        return Ok((true, text));
    }
    let plan = planner.plan(&decision, &moves, moves.clone(), &observation, version);
    let file = &observation.file;
    let notes = note_edited(file, planner.edits(), None).into_iter();
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            let notes: String = notes.map(note).collect();
            return Ok((
                false,
                format!("{head}\n  nothing would be done: {error}\n{notes}"),
            ));
        }
    };
    let now = file.content.as_ref().map_or([].as_slice(), |now| &now.0);
    let path = inspection.path.display();
    let names = (format!("{path} now"), format!("{path} then"));
    let diff = difference::unified(now, &plan.content, (&names.0, &names.1));
    let notes: String = notes.chain(plan.notes.iter().cloned()).map(note).collect();
    let processes = observation.processes.into_iter().enumerate();
    let before = processes.map(|(index, process)| {
        let on_record = plan.inherited.settings_of(index);
        before_reload(process.settings, on_record)
    });
    let steps = steps::steps(&plan, pgbouncer, &before.collect::<Vec<_>>());
    Ok((true, format!("{head}\n{diff}{notes}{steps}")))
}

fn note(what: String) -> String {
    format!("  note: {what}\n")
}

fn place(pgbouncer: &PgBouncer) -> String {
    let file = pgbouncer.file.display();
    match &pgbouncer.host {
        Host::Local => file.to_string(),
        Host::Ssh { destination, .. } => format!("{destination}:{file}"),
    }
}
