//! The daemon: one coordinator ([`crate::core::cluster`]) among the tasks that watch and act.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::claim::{self, Wanted};
use super::fleet::Fleet;
use super::heartbeat::Heartbeat;
use super::nodes::{self, Probed};
use super::planning::{Planner, PlanningError};
use super::pooler::Identities;
use super::recorder::{self, Job};
use crate::config::{Config, NodeId};
use crate::core::cluster::{Action, Cluster, Recovery};
use crate::core::node::Health;
use crate::core::pause::Pause;
use crate::core::plan::Decision;
use crate::core::worker::{Status, note_foreign};

/// When the daemon is told to stop, what is under way is brought to its end within this time.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// Messages between tasks; a sender that finds the queue full waits.
const QUEUE: usize = 256;
/// Hook and rows of a daemon that stops.
const RECORD_LIMIT: Duration = Duration::from_secs(2);

struct Agent {
    config: Arc<Config>,
    cluster: Cluster,
    identities: watch::Sender<Identities>,
    wanted: watch::Sender<Wanted>,
    requests: u64,
    jobs: mpsc::Sender<Job>,
    down_since: BTreeMap<NodeId, Instant>,
    heartbeat: Heartbeat,
}

/// The planners of all PgBouncers: everything about the configuration that can be found wrong
/// without connecting anywhere.
///
/// # Errors
/// The first that does not do.
pub fn planners(config: &Config) -> Result<BTreeMap<String, Planner>, PlanningError> {
    let planner = |(name, pgbouncer): (&String, _)| {
        Planner::new(config, pgbouncer).map(|planner| (name.clone(), planner))
    };
    config.pgbouncers.iter().map(planner).collect()
}

/// Runs until `stop` is done, then brings what is under way to its end.
pub async fn run(
    config: Config,
    planners: BTreeMap<String, Planner>,
    sockets: &Path,
    stop: impl Future<Output = ()>,
) {
    let config = Arc::new(config);
    let (identities, identified) = watch::channel(Identities::new());
    let mut fleet = match Fleet::start(&config, planners, sockets, &identified) {
        Ok(fleet) => fleet,
        Err(error) => {
            tracing::error!("make a directory for sockets: {error}");
            return;
        }
    };
    let mut monitors = JoinSet::new();
    let (probe_tx, mut probes) = mpsc::channel(QUEUE);
    for node in config.nodes.values().cloned() {
        monitors.spawn(nodes::watch(node, config.monitoring, probe_tx.clone()));
    }
    let (wanted, wants) = watch::channel(Wanted::Nothing);
    let (claim_tx, mut claims) = mpsc::channel(QUEUE);
    monitors.spawn(claim::hold(config.nodes.clone(), wants, claim_tx));
    let (jobs, job_rx) = mpsc::channel(QUEUE);
    let (told_tx, mut told) = mpsc::channel(QUEUE);
    let record = recorder::record(Arc::clone(&config), job_rx, jobs.downgrade(), told_tx);
    let recorder = tokio::spawn(record);
    let (paused_tx, mut paused) = mpsc::channel(QUEUE);
    let heartbeat = Heartbeat::start(&config, &paused_tx);
    let mut agent = Agent::new(config, identities, wanted, jobs, heartbeat);
    tokio::pin!(stop);
    loop {
        agent.act(&fleet);
        let far = Instant::now() + Duration::from_secs(3600);
        let wake = agent.cluster.wake_at().unwrap_or(far);
        tokio::select! {
            Some(probed) = probes.recv() => agent.probed(probed),
            Some((name, status)) = fleet.heard() => agent.cluster.pooler(&name, status),
            Some(claimed) = claims.recv() => agent.claimed(&claimed),
            Some(heard) = told.recv() => agent.told(heard),
            Some(copy) = paused.recv() => agent.pauses_read(&copy),
            () = tokio::time::sleep_until(wake.into()) => {}
            () = &mut stop => break,
        }
    }
    if !fleet.stop(Instant::now() + STOP_LIMIT).await {
        tracing::warn!("a PgBouncer does not answer; what is owed there is on record on its host");
    }
    let Agent {
        jobs, heartbeat, ..
    } = agent;
    drop((jobs, told, paused));
    heartbeat.end().await;
    let _ = tokio::time::timeout(RECORD_LIMIT, recorder).await;
}

impl Agent {
    fn new(
        config: Arc<Config>,
        identities: watch::Sender<Identities>,
        wanted: watch::Sender<Wanted>,
        jobs: mpsc::Sender<Job>,
        heartbeat: Heartbeat,
    ) -> Self {
        let nodes = config.nodes.keys().copied();
        let names = config.pgbouncers.keys().cloned();
        let interval = config.monitoring.monitor_interval;
        Self {
            cluster: Cluster::new(config.node_id, nodes, names, interval),
            config,
            identities,
            wanted,
            requests: 0,
            jobs,
            down_since: BTreeMap::new(),
            heartbeat,
        }
    }

    /// Does all that is to be done now; nothing here waits for anything outside.
    fn act(&mut self, fleet: &Fleet) {
        while let Some(action) = self.cluster.next(Instant::now()) {
            // First the workers, then the words.
            fleet.assign(self.cluster.assignment());
            match action {
                Action::Claim { on } => {
                    self.requests += 1;
                    self.wanted.send_replace(Wanted::On(on, self.requests));
                }
                Action::Release => {
                    self.wanted.send_replace(Wanted::Nothing);
                }
                Action::Announce { decision, news } => self.announce(decision, news),
                Action::StandBy { failed } => {
                    tracing::info!(
                        "the other agent is handling the failure of node {failed}; standing by"
                    );
                }
                Action::NoCandidate { failed } => tracing::error!(
                    "node {failed} is down and no other node is available; nothing is changed"
                ),
                Action::Paused { failed, pause } => tracing::warn!(
                    "node {failed} is down; {}; `repoint service unpause` ends the pause",
                    pause.sentence()
                ),
                Action::Reappeared { node } => {
                    tracing::info!("node {node} answers again before anything was decided");
                }
                Action::Report { decision, complete } => self.report(decision, complete),
                Action::Superseded { decision, by } => tracing::warn!(
                    generation = %decision.generation,
                    by = %by,
                    "another agent decided later that traffic goes to node {}; standing back. Are \
                     the nodes cut off from each other?",
                    decision.failed
                ),
                Action::CheckRecovery { node, on } => {
                    let away = self.down_since.get(&node).map(Instant::elapsed);
                    self.record(Job::Recovery { node, on, away });
                }
            }
        }
        fleet.assign(self.cluster.assignment());
    }

    fn announce(&mut self, decision: Decision, news: bool) {
        let name = |id: NodeId| {
            let node = self.config.nodes.get(&id);
            format!(
                "{:?} (ID: {id})",
                node.map(|node| node.node_name.as_str()).unwrap_or_default()
            )
        };
        let (failed, active) = (name(decision.failed), name(decision.active));
        if news {
            tracing::warn!(
                generation = %decision.generation,
                fault = %decision.fault,
                "failover decided: node {failed} detected as failed; \
                 next available node is {active}"
            );
        } else {
            tracing::info!("node {failed} is down; no PgBouncer points at it");
            for (name, status) in self.cluster.poolers() {
                if let Some(note) = note_foreign(status, decision.failed) {
                    tracing::warn!(pgbouncer = name, "{note}");
                }
            }
        }
        self.record(Job::Failover(decision));
    }

    fn report(&mut self, decision: Decision, complete: bool) {
        let poolers = self.cluster.poolers();
        if poolers.is_empty() {
            return;
        }
        let settled = |status: &&Status| status.settled == Some(decision.generation);
        let there = poolers.values().filter(settled).count();
        let words: Vec<String> = poolers
            .iter()
            .map(|(name, status)| match (&status.outcome, &status.trouble) {
                (_, Some(trouble)) => format!("{name}: not reached ({trouble})"),
                (Some(outcome), None) => format!("{name}: {outcome}"),
                (None, None) => format!("{name}: not reached yet"),
            })
            .collect();
        let details = format!(
            "{there} of {} PgBouncers serve node {}; {}",
            poolers.len(),
            decision.active,
            words.join("; ")
        );
        if complete {
            tracing::info!(generation = %decision.generation, "redirect complete: {details}");
        } else {
            tracing::warn!(
                generation = %decision.generation,
                "redirect not complete, going on until it is: {details}"
            );
        }
        self.record(Job::Redirect {
            decision,
            complete,
            details,
        });
    }

    fn record(&self, job: Job) {
        // The queue is long and its jobs are bounded; that it is full means that the database does
        // not answer, and then the log has to do.
        if self.jobs.try_send(job).is_err() {
            tracing::warn!("the database is too slow; an event is in this log only");
        }
    }

    fn probed(&mut self, probed: Probed) {
        let now = Instant::now();
        if let Health::Down { since, .. } = &probed.health {
            self.down_since.insert(probed.node, *since);
        }
        if let Health::Up { identity } = &probed.health {
            let known = self.identities.borrow().get(&probed.node) == Some(identity);
            if !known {
                let identity = identity.clone();
                self.identities.send_modify(|all| {
                    all.insert(probed.node, identity);
                });
                self.record(Job::Prepare(probed.node));
            }
        }
        self.heartbeat.sees(probed.node, &probed.health);
        self.cluster.node(probed.node, probed.health, now);
    }

    fn claimed(&mut self, told: &claim::Told) {
        let now = Instant::now();
        match told {
            claim::Told::Result(on, result) => {
                tracing::debug!(node = %on, ?result, "claim");
                self.cluster.claimed(*on, result, now);
            }
            claim::Told::Pauses(copy) => self.pauses_read(copy),
            claim::Told::Lost => {
                tracing::warn!("the session that held the claim is gone");
                self.cluster.claim_lost(now);
            }
        }
    }

    /// Pauses were read on some node.
    fn pauses_read(&mut self, copy: &[Pause]) {
        for pause in self.cluster.pauses_read(copy) {
            match pause.paused {
                true => tracing::warn!("{}", pause.sentence()),
                false => tracing::info!("{}", pause.sentence()),
            }
        }
        self.heartbeat.honours(self.cluster.pauses());
    }

    fn told(&mut self, told: recorder::Told) {
        let now = Instant::now();
        match told {
            recorder::Told::Inactive(nodes) => {
                for node in nodes {
                    self.cluster.row_inactive(node, now);
                }
            }
            recorder::Told::Recovery(node, result) => {
                match &result {
                    Recovery::Recovered => {
                        self.down_since.remove(&node);
                    }
                    Recovery::Pending(why) => {
                        tracing::debug!("node {node} answers, but has not recovered yet: {why}");
                    }
                }
                self.cluster.recovery(node, &result, now);
            }
        }
    }
}
