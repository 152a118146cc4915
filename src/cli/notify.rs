//! `repoint notify`: what a real repmgrd calls in place of `bdr-pgbouncer.sh`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::watch;

use super::say::Voice;
use super::{load, print};
use crate::agent::fleet::Fleet;
use crate::agent::planning::Planner;
use crate::agent::pooler::Identities;
use crate::agent::sockets::SocketDirectory;
use crate::cluster_db::claim::ClaimSession;
use crate::config::{Config, Node, NodeId};
use crate::conninfo::Conninfo;
use crate::core::node::{Fault, Probe};
use crate::core::plan::Decision;
use crate::core::worker::{Assignment, Status};
use crate::edge::postgres::probe;
use crate::generation::Generation;

/// The claim is a hint that saves work: it is waited for no longer than this.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);
const CLAIM_INTERVAL: Duration = Duration::from_millis(100);
/// Every PgBouncer that answers says its generation within this time.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// What is left of the time limit for paying what is owed.
const PAY_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// %n: the node that failed.
    node_id: String,
    /// %e: the event; only bdr_failover is acted on.
    event: String,
    /// %s: 1 or 0.
    success: String,
    /// "%c": how to connect to the node that traffic goes to; without it, the configuration's.
    #[arg(default_value = "", allow_hyphen_values = true)]
    next_conninfo: String,
    /// "%a": its name; without it, the node that did not fail.
    #[arg(default_value = "", allow_hyphen_values = true)]
    next_node_name: String,
    /// Seconds after which it ends, with what is known then.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    timeout: f64,
}

/// The fleet, and what was heard of it last.
struct Watched {
    fleet: Fleet,
    known: BTreeMap<String, Status>,
}

pub(super) async fn run(file: Option<&Path>, arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.event != "bdr_failover" {
        print::line(&format!(
            "ignored: event {:?}; only bdr_failover is acted on",
            arguments.event
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.success != "1" {
        print::line("ignored: the event says that the failover was not successful");
        return Ok(ExitCode::SUCCESS);
    }
    let limit = Duration::try_from_secs_f64(arguments.timeout).context("--timeout")?;
    let deadline = Instant::now().checked_add(limit);
    let deadline = deadline.context("--timeout: the number is too large")?;
    let path = load::find(file)?;
    let loaded = load::load(&path)?;
    loaded.warn(Voice::default());
    let mut config = loaded.config;
    let prepared = prepare(&mut config, &arguments, deadline).await;
    let (failed, active, planners, identity) = prepared.context("nothing was changed")?;
    // Neither is worth more than the rest of the time: without an answer the node is silent.
    let fault = tokio::time::timeout_at(deadline.into(), fault_of(&config, failed)).await;
    let fault = fault.unwrap_or(Fault::Blackhole);
    let claim = tokio::time::timeout_at(deadline.into(), claim(&config, active)).await;

    let sockets = SocketDirectory::create_or_temporary(&config.runtime_directory)
        .context("make a directory for the sockets of ssh")?;
    // The sender may go: nothing new is learned here.
    let (_, identities) = watch::channel(Identities::from([(active, identity)]));
    let fleet = Fleet::start(&config, planners, sockets.path(), &identities)
        .context("make a directory for the sockets of ssh")?;
    let known = config.pgbouncers.keys().cloned();
    let known = known.map(|name| (name, Status::default())).collect();
    let mut watched = Watched { fleet, known };
    let looked = Instant::now() + LOOK_LIMIT;
    watched
        .until(looked.min(deadline), |status| status.reached)
        .await;
    let highest = watched.known.values().map(|status| status.generation).max();
    // Named after the target, not after this host: two calls at once with opposite targets must not
    // have one number, or neither would give way to the other.
    let generation = highest.unwrap_or(Generation::NONE).next(active);
    let decision = Decision {
        generation,
        failed,
        active,
        fault,
    };
    watched.fleet.assign(Assignment {
        decision: Some(decision),
        may_act: true,
        busy: true,
        insist: true,
        ..Assignment::default()
    });
    let missing = watched
        .end(generation, deadline - PAY_LIMIT.min(limit / 4))
        .await;
    watched.fleet.stop(deadline).await;
    drop(claim);
    if missing > 0 {
        bail!(
            "{missing} of {} PgBouncers not redirected; \
             run the same command again when the cause is gone",
            config.pgbouncers.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that can be refused while nothing has been touched.
async fn prepare(
    config: &mut Config,
    arguments: &Arguments,
    deadline: Instant,
) -> anyhow::Result<(NodeId, NodeId, BTreeMap<String, Planner>, String)> {
    let failed = failed_node(config, &arguments.node_id)?;
    let active = next_node(config, failed, arguments)?;
    let planners = crate::agent::daemon::planners(config).context("NEXT_CONNINFO")?;
    let healthy = healthy_identity(config, active);
    let identity = tokio::time::timeout_at(deadline.into(), healthy).await;
    let late = |_| anyhow!("--timeout is over before the next node has answered");
    let identity = identity.map_err(late)??;
    Ok((failed, active, planners, identity))
}

impl Watched {
    /// Waits until `condition` holds for every PgBouncer; `false`: it does not by `deadline`.
    async fn until(&mut self, deadline: Instant, condition: impl Fn(&Status) -> bool) -> bool {
        while !self.known.values().all(&condition) {
            let heard = tokio::time::timeout_at(deadline.into(), self.fleet.heard()).await;
            let Ok(Some((name, status))) = heard else {
                return false;
            };
            self.known.insert(name, status);
        }
        true
    }

    /// Waits for what becomes of each PgBouncer and prints it; then until nothing is owed, which
    /// concerns no client. Gives how many do not serve the node.
    async fn end(&mut self, generation: Generation, deadline: Instant) -> usize {
        let settled = |status: &Status| status.settled == Some(generation);
        let ended = |status: &Status| settled(status) || status.generation > generation;
        self.until(deadline, ended).await;
        for (name, status) in &self.known {
            print::line(&sentence(name, status, generation));
        }
        let serves = |status: &&Status| settled(status) && status.astray.is_empty();
        let missing = self.known.len() - self.known.values().filter(serves).count();
        if self.known.values().any(|status| status.owes) {
            tracing::info!("staying until server_login_retry can be set again");
        }
        self.until(deadline, |status| !status.owes).await;
        missing
    }
}

fn failed_node(config: &Config, text: &str) -> anyhow::Result<NodeId> {
    let id = text.parse().ok().map(NodeId);
    id.filter(|id| config.nodes.contains_key(id))
        .with_context(|| {
            let known: Vec<String> = config.nodes.keys().map(NodeId::to_string).collect();
            format!(
                "NODE_ID {text:?} is no node of the configuration; there are {}",
                known.join(" and ")
            )
        })
}

/// The node to go to; what repmgrd says of its address replaces what the configuration says.
fn next_node(config: &mut Config, failed: NodeId, arguments: &Arguments) -> anyhow::Result<NodeId> {
    let name = &arguments.next_node_name;
    let others = |node: &&mut Node| node.node_id != failed;
    let Some(node) = config.nodes.values_mut().find(others) else {
        bail!("there is only one node")
    };
    if !name.is_empty() && node.node_name != *name {
        bail!(
            "NEXT_NODE_NAME {name:?} is not the node that is left, which is {:?}; \
             the names in the configuration must be repmgr's",
            node.node_name
        );
    }
    if !arguments.next_conninfo.is_empty() {
        let parsed = Conninfo::parse(&arguments.next_conninfo).context("NEXT_CONNINFO")?;
        // A password that repmgr leaves out is still the one to use.
        node.conninfo = match (parsed.get("password"), node.conninfo.get("password")) {
            (None, Some(password)) => {
                let password = password.to_owned();
                parsed.with("password", &password)
            }
            (Some(_), _) | (None, None) => parsed,
        };
    }
    Ok(node.node_id)
}

/// Nobody is sent to a node that was not just seen healthy.
async fn healthy_identity(config: &Config, active: NodeId) -> anyhow::Result<String> {
    let Some(node) = config.nodes.get(&active) else {
        bail!("no node {active}")
    };
    match probe(&node.conninfo, &mut None).await {
        Probe::Healthy { identity } => Ok(identity),
        Probe::Refusing { reason } | Probe::Failed { reason, .. } => bail!(
            "node {:?} (ID: {active}) is not healthy: {reason}",
            node.node_name
        ),
    }
}

async fn fault_of(config: &Config, failed: NodeId) -> Fault {
    let Some(node) = config.nodes.get(&failed) else {
        return Fault::Crash;
    };
    match probe(&node.conninfo, &mut None).await {
        Probe::Failed { fault, .. } => fault,
        Probe::Refusing { .. } => Fault::Crash,
        Probe::Healthy { .. } => {
            print::line(&format!(
                "note: node {:?} (ID: {failed}) answers this host; \
                 going on, because repmgrd says so",
                node.node_name
            ));
            Fault::Crash
        }
    }
}

/// Takes the claim when it comes free in time; the order of generations does without it.
async fn claim(config: &Config, active: NodeId) -> Option<ClaimSession> {
    let conninfo = &config.nodes.get(&active)?.conninfo;
    let wait = async {
        let session = ClaimSession::open(conninfo).await.ok()?;
        while !session.take().await.ok()? {
            tokio::time::sleep(CLAIM_INTERVAL).await;
        }
        Some(session)
    };
    tokio::time::timeout(CLAIM_LIMIT, wait).await.ok().flatten()
}

fn sentence(name: &str, status: &Status, generation: Generation) -> String {
    if status.settled == Some(generation) && !status.astray.is_empty() {
        return format!("{name}: NOT redirected: {}", status.serving());
    }
    if status.settled == Some(generation) {
        return match &status.outcome {
            Some(outcome) => format!("{name}: {outcome}"),
            None => format!("{name}: serves the node"),
        };
    }
    if status.generation > generation {
        let newer = status.generation;
        return format!("{name}: NOT redirected: its file holds a newer decision ({newer})");
    }
    match (&status.trouble, &status.outcome) {
        (Some(trouble), _) => format!("{name}: NOT redirected: {trouble}"),
        (None, Some(outcome)) => format!("{name}: NOT redirected: {outcome}"),
        (None, None) => format!("{name}: NOT redirected in time"),
    }
}
