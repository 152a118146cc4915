//! The daemon: one coordinator ([`crate::core::cluster`]) among the tasks that watch and act.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::claim::{self, Wanted};
use super::fleet::Fleet;
use super::heartbeat::Heartbeat;
use super::nodes::{self, Probed};
use super::planning::{Planner, PlanningError};
use super::pooler::Identities;
use super::recorder::{self, Job};
use super::witnesses::{self, Witnesses};
use super::words::Words;
use crate::config::{Config, NodeId};
use crate::core::agreement::Obstacle;
use crate::core::cluster::{Action, ClaimResult, Cluster, Recovery, report};
use crate::core::node::Health;
use crate::core::pause::Pause;
use crate::core::plan::Decision;
use crate::core::worker::note_foreign;
use crate::edge::remote::AllTurns;
use crate::generation::Generation;

/// When the daemon is told to stop, what is under way is brought to its end within this time.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// Messages between tasks; a sender that finds the queue full waits.
const QUEUE: usize = 256;
/// Hook and rows of a daemon that stops.
const RECORD_LIMIT: Duration = Duration::from_secs(2);

/// Why the daemon is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// For good: `repmgrd_shutdown`.
    Stop,
    /// Another one begins at once, with a new configuration.
    Reload,
}

struct Agent {
    config: Arc<Config>,
    cluster: Cluster,
    words: Words,
    /// Whether the other node is to be probed.
    peer_wanted: watch::Sender<bool>,
    /// `repmgrd_start` is still to be written.
    announces_start: bool,
    /// Who holds the claim, when it is somebody else.
    holder: Option<NodeId>,
    /// Why the last attempt at the claim failed: said when it changes.
    claim_trouble: Option<String>,
    /// When the log is to say again that the daemon is there.
    status_at: Option<Instant>,
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

/// Runs until `stop` is done, then brings what is under way to its end. `first`: it does not go on
/// for one that ended with [`Ending::Reload`].
pub async fn run(
    config: Config,
    planners: BTreeMap<String, Planner>,
    sockets: &Path,
    first: bool,
    stop: impl Future<Output = Ending>,
) {
    let config = Arc::new(config);
    let (identities, identified) = watch::channel(Identities::new());
    let mut turns = AllTurns::default();
    let fleet = Fleet::start(&config, planners, sockets, &identified, &mut turns);
    let witnesses = Witnesses::start(&config, sockets, &mut turns);
    let (mut fleet, mut witnesses) = match (fleet, witnesses) {
        (Ok(fleet), Ok(witnesses)) => (fleet, witnesses),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!("make a directory for sockets: {error}");
            return;
        }
    };
    let mut monitors = JoinSet::new();
    let (probe_tx, mut probes) = mpsc::channel(QUEUE);
    let always = watch::Sender::new(true);
    let peer_wanted = watch::Sender::new(!config.monitoring.local_only);
    for node in config.nodes.values().cloned() {
        let wanted = match node.node_id == config.node_id {
            true => always.subscribe(),
            false => peer_wanted.subscribe(),
        };
        let watch = nodes::watch(node, config.monitoring, wanted, probe_tx.clone());
        monitors.spawn(watch);
    }
    let (wanted, wants) = watch::channel(Wanted::Nothing);
    let (claim_tx, mut claims) = mpsc::channel(QUEUE);
    let (own, nodes) = (config.node_id, config.nodes.clone());
    monitors.spawn(claim::hold(own, nodes, wants, claim_tx));
    let (jobs, job_rx) = mpsc::channel(QUEUE);
    let (told_tx, mut told) = mpsc::channel(QUEUE);
    let record = recorder::record(Arc::clone(&config), job_rx, jobs.downgrade(), told_tx);
    let recorder = tokio::spawn(record);
    let (paused_tx, mut paused) = mpsc::channel(QUEUE);
    let heartbeat = Heartbeat::start(&config, &paused_tx);
    let mut agent = Agent::new(config, identities, wanted, peer_wanted, jobs, heartbeat);
    agent.announces_start = first;
    agent.say_start();
    tokio::pin!(stop);
    let ending = loop {
        agent.act(&fleet, &witnesses);
        tokio::select! {
            Some(probed) = probes.recv() => agent.probed(probed),
            Some((name, status)) = fleet.heard() => agent.cluster.pooler(&name, status),
            Some(word) = witnesses.heard() => agent.cluster.heard(word, Instant::now()),
            Some(claimed) = claims.recv() => agent.claimed(&claimed),
            Some(heard) = told.recv() => agent.told(heard),
            Some(copy) = paused.recv() => agent.pauses_read(&copy),
            () = tokio::time::sleep_until(agent.wake_at().into()) => agent.say_status(),
            ending = &mut stop => break ending,
        }
    };
    let deadline = Instant::now() + STOP_LIMIT;
    let stopped = tokio::join!(fleet.stop(deadline), witnesses.stop(deadline));
    if !stopped.0 {
        tracing::warn!("a PgBouncer does not answer; what is owed there is on record on its host");
    }
    let heartbeat = agent.end(ending);
    drop((told, paused));
    heartbeat.end().await;
    end_recorder(recorder).await;
}

/// Lets the recorder end what it has been given, but not for long.
async fn end_recorder(mut recorder: JoinHandle<()>) {
    if tokio::time::timeout(RECORD_LIMIT, &mut recorder)
        .await
        .is_err()
    {
        tracing::warn!("the last events could not be recorded and told in time");
        recorder.abort();
    }
}

impl Agent {
    fn new(
        config: Arc<Config>,
        identities: watch::Sender<Identities>,
        wanted: watch::Sender<Wanted>,
        peer_wanted: watch::Sender<bool>,
        jobs: mpsc::Sender<Job>,
        heartbeat: Heartbeat,
    ) -> Self {
        let nodes = config.nodes.keys().copied();
        let names = config.pgbouncers.keys().cloned();
        Self {
            cluster: Cluster::new(config.node_id, nodes, names, config.monitoring)
                .reconciling(config.reconciliation)
                .agreeing(witnesses::agreement(&config, Instant::now())),
            words: Words::new(&config),
            peer_wanted,
            announces_start: false,
            holder: None,
            claim_trouble: None,
            status_at: None,
            config,
            identities,
            wanted,
            requests: 0,
            jobs,
            down_since: BTreeMap::new(),
            heartbeat,
        }
    }

    fn say_start(&mut self) {
        self.words.starting(self.config.monitoring.local_only);
        if let Some(warning) = witnesses::even_warning(&self.config) {
            tracing::warn!("{warning}");
        }
        self.status_at = Some(Instant::now());
        self.say_status();
    }

    /// Says that it is still there, when it is time to.
    fn say_status(&mut self) {
        let now = Instant::now();
        if self.status_at.is_some_and(|at| now >= at) {
            self.words.status(&self.cluster.degraded());
            let interval = self.config.log.status_interval;
            self.status_at = (!interval.is_zero()).then(|| now + interval);
        }
    }

    /// When there may be something to do or to say although nothing was heard.
    fn wake_at(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        let wakes = [self.cluster.wake_at(), self.status_at];
        wakes.into_iter().flatten().fold(far, Instant::min)
    }

    /// The last word. A node that does not answer is not waited for.
    fn end(self, ending: Ending) -> Heartbeat {
        if ending == Ending::Stop {
            let own = self.config.node_id;
            let all = [own].into_iter().chain(self.config.nodes.keys().copied());
            let on = all.into_iter().find(|id| !self.cluster.is_failing(*id));
            self.record(Job::Stopping(on));
        }
        self.heartbeat
    }

    /// Does all that is to be done now; nothing here waits for anything outside.
    fn act(&mut self, fleet: &Fleet, witnesses: &Witnesses) {
        while let Some(action) = self.cluster.next(Instant::now()) {
            // First the workers, then the words.
            fleet.assign(self.cluster.assignment());
            self.carry_out(action, witnesses);
        }
        fleet.assign(self.cluster.assignment());
        let wanted = self.cluster.probes_peer();
        self.peer_wanted
            .send_if_modified(|known| std::mem::replace(known, wanted) != wanted);
    }

    fn carry_out(&mut self, action: Action, witnesses: &Witnesses) {
        match action {
            Action::Claim { on } => {
                self.requests += 1;
                self.wanted.send_replace(Wanted::On(on, self.requests));
            }
            Action::Release => {
                self.wanted.send_replace(Wanted::Nothing);
            }
            Action::Announce { decision, news } => self.announce(decision, news),
            Action::Ask(request) => witnesses.ask(request),
            Action::Aborted { failed, obstacle } => self.aborted(failed, &obstacle),
            Action::StandBy { failed } => self.words.stand_by(failed, self.holder),
            Action::NoCandidate { failed } => self.words.no_candidate(failed),
            Action::Paused { failed, pause } => tracing::warn!(
                "node {failed} is down; {}; `repoint service unpause` ends the pause",
                pause.sentence()
            ),
            Action::Reappeared { node } => self.words.reappeared(node),
            Action::Report {
                decision,
                complete,
                news,
            } => self.report(decision, complete, news),
            Action::Superseded { decision, by } => self.superseded(&decision, by),
            Action::NotReplicating { waited, why, .. } => self.words.not_replicating(waited, &why),
            Action::CheckRecovery { node, on } => {
                let away = self.down_since.get(&node).map(Instant::elapsed);
                self.record(Job::Recovery { node, on, away });
            }
        }
    }

    fn aborted(&self, failed: NodeId, obstacle: &Obstacle) {
        let details = self.words.aborted(failed, obstacle);
        self.record(Job::Aborted { failed, details });
    }

    fn announce(&mut self, decision: Decision, news: bool) {
        let failed = decision.failed;
        if news {
            self.words.decided(&decision);
        } else {
            self.words.unused(failed);
            for (name, status) in self.cluster.poolers() {
                if let Some(note) = note_foreign(status, failed) {
                    tracing::warn!(pgbouncer = name, "{note}");
                }
            }
        }
        let idle = match (self.cluster.poolers().is_empty(), news) {
            (true, _) => Some("there is no PgBouncer to redirect".to_owned()),
            (false, false) => Some(format!("no PgBouncer points at node {failed}")),
            (false, true) => None,
        };
        self.record(Job::Failover {
            decision,
            news,
            idle,
        });
    }

    fn report(&mut self, decision: Decision, complete: bool, news: bool) {
        if self.cluster.poolers().is_empty() {
            return;
        }
        let report = report::report(self.cluster.poolers(), &decision);
        let (generation, details) = (decision.generation, report.details);
        if complete {
            tracing::info!(%generation, "redirect complete: {details}");
        } else if !report.open {
            tracing::warn!(
                %generation,
                "redirect ended, but not every PgBouncer serves the node: {details}"
            );
        } else {
            tracing::warn!(
                %generation,
                "redirect not complete, going on until it is: {details}"
            );
        }
        self.record(Job::Progress {
            failed: decision.failed,
            complete,
            summary: report.summary,
        });
        if news {
            self.record(Job::Redirect {
                decision,
                complete,
                details,
            });
        }
    }

    fn superseded(&self, decision: &Decision, by: Generation) {
        let failed = decision.failed;
        tracing::warn!(
            generation = %decision.generation,
            by = %by,
            "another agent decided later that traffic goes to node {failed}; standing back. Are \
             the nodes cut off from each other?"
        );
        self.record(Job::Progress {
            failed,
            complete: false,
            summary: format!("another agent decided later ({by}) that traffic goes to {failed}"),
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
        let (now, node) = (Instant::now(), probed.node);
        if let Health::Down { since, .. } = &probed.health {
            self.down_since.insert(node, *since);
        }
        if let Health::Up { identity } = &probed.health {
            let known = self.identities.borrow().get(&node) == Some(identity);
            if !known {
                let identity = identity.clone();
                self.identities.send_modify(|all| {
                    all.insert(node, identity);
                });
                self.record(Job::Prepare(node));
            }
        }
        let up = matches!(probed.health, Health::Up { .. });
        self.heartbeat.sees(node, &probed.health);
        self.cluster.node(node, probed.health, now);
        if let Some(after) = probed.reconnected
            && self.cluster.is_watched(node)
        {
            self.words.reconnected(node, after);
            self.record(Job::Reconnected { node, after });
        }
        // On the node of this host, unless that one is down.
        let own = self.config.node_id;
        if up && self.announces_start && (node == own || self.cluster.is_failing(own)) {
            self.announces_start = false;
            self.record(Job::Started(node));
        }
    }

    fn claimed(&mut self, told: &claim::Told) {
        let now = Instant::now();
        match told {
            claim::Told::Result(on, result) => {
                tracing::debug!(node = %on, ?result, "claim");
                self.say_claim_trouble(*on, result);
                self.cluster.claimed(*on, result, now);
            }
            claim::Told::Pauses(copy) => self.pauses_read(copy),
            claim::Told::Holder(holder) => self.holder = *holder,
            claim::Told::Lost => {
                tracing::warn!("the session that held the claim is gone");
                self.cluster.claim_lost(now);
            }
        }
    }

    /// Without the claim nothing is decided: what keeps it back is said once.
    fn say_claim_trouble(&mut self, on: NodeId, result: &ClaimResult) {
        let trouble = match result {
            ClaimResult::Failed(error) => Some(error.clone()),
            ClaimResult::Granted | ClaimResult::Held => None,
        };
        if let Some(error) = trouble.as_ref().filter(|_| trouble != self.claim_trouble) {
            tracing::warn!(
                error,
                "the claim cannot be taken on node {on}; trying again until it can, nothing is \
                 decided before"
            );
        }
        self.claim_trouble = trouble;
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
            recorder::Told::Inactive(on, nodes) => {
                for node in nodes {
                    if self.cluster.row_inactive(node, on, now) {
                        self.words.inactive(node);
                    }
                }
            }
            recorder::Told::Recovery(node, result) => self.looked_at_recovery(node, &result),
        }
    }

    fn looked_at_recovery(&mut self, node: NodeId, result: &Recovery) {
        match result {
            Recovery::Recovered => {
                let looked = self.cluster.returned_at(node);
                let away = self.down_since.remove(&node);
                let [looked, away] = [looked, away].map(|since| Some(since?.elapsed()));
                self.words.recovered(node, looked, away);
            }
            Recovery::Pending(why) => {
                tracing::debug!("node {node} answers, but has not recovered yet: {why}");
            }
        }
        self.cluster.recovery(node, result, Instant::now());
    }
}
