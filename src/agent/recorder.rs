//! What is written into the database and told to the operator's hook, beside the redirect.
//!
//! One job after the other, each bounded, in a task of its own: a database that is slow or a hook
//! that hangs delays neither monitoring nor redirects. What rows mean is `cluster_db`'s, what the
//! hook gets is [`crate::core::event`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::failovers::{Open, recovered};
use self::hooks::Call;
use crate::cluster_db::{replication, repmgr_tables};
use crate::config::{Config, Node, NodeId};
use crate::core::cluster::Recovery;
use crate::core::event::{Event, EventKind, Roles};
use crate::core::plan::Decision;
use crate::edge::postgres::{PostgresError, Session, connect};

mod failovers;
mod hooks;
mod job;

pub use job::{Job, Told};

/// Jobs that wait; more means that a database does not answer, and then the log has to do.
const QUEUE: usize = 256;
/// A row is worth this many tries; what could not be written is in the log.
const TRIES: u32 = 3;
const TRY_INTERVAL: Duration = Duration::from_millis(500);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// All that a daemon that ends still writes; the rest of its time is the hook's.
const LAST_ROWS_LIMIT: Duration = Duration::from_millis(800);

struct Recorder {
    config: Arc<Config>,
    told: mpsc::Sender<Told>,
    hooks: mpsc::Sender<Call>,
    /// Nodes whose tables were found or made.
    prepared: Arc<Mutex<BTreeSet<NodeId>>>,
    /// By failed node.
    failovers: BTreeMap<NodeId, Open>,
    stopping: bool,
}

/// Works until there are no more jobs, and then until the hooks have ended. Dropping it kills them.
///
/// What a failover needs waits for nothing else: a node that hangs while its recovery is looked at
/// must not delay the mark of one that has failed. Hence two recorders.
pub async fn record(
    config: Arc<Config>,
    mut jobs: mpsc::Receiver<Job>,
    again: mpsc::WeakSender<Job>,
    told: mpsc::Sender<Told>,
) {
    let (hooks, queue) = mpsc::channel(hooks::QUEUE);
    let mut running = JoinSet::new();
    running.spawn(hooks::run_all(Arc::clone(&config), queue, again));
    let prepared = Arc::default();
    let (failovers, failover_jobs) = mpsc::channel(QUEUE);
    let (others, other_jobs) = mpsc::channel(QUEUE);
    for queue in [failover_jobs, other_jobs] {
        let recorder = Recorder {
            config: Arc::clone(&config),
            told: told.clone(),
            hooks: hooks.clone(),
            prepared: Arc::clone(&prepared),
            failovers: BTreeMap::new(),
            stopping: false,
        };
        running.spawn(recorder.run(queue));
    }
    drop((hooks, told));
    while let Some(job) = jobs.recv().await {
        let queue = if job.is_of_failover() {
            &failovers
        } else {
            &others
        };
        if queue.try_send(job).is_err() {
            tracing::warn!("the database is too slow; an event is in this log only");
        }
    }
    drop((failovers, others));
    while running.join_next().await.is_some() {}
}

impl Recorder {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            let wake = self.wake_at().unwrap_or(far);
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => self.work(job).await,
                    None => break,
                },
                () = tokio::time::sleep_until(wake.into()) => self.write_failovers(false).await,
            }
        }
        // Where another daemon goes on, there was no [`Job::Stopping`].
        self.stopping = true;
        self.write_failovers(true).await;
    }

    async fn work(&mut self, job: Job) {
        match job {
            Job::Prepare(node) => self.prepare(node).await,
            Job::Started(on) => self.started(on).await,
            Job::Stopping(on) => self.stopping(on).await,
            Job::Reconnected { node, after } => self.reconnected(node, after).await,
            Job::Failover {
                decision,
                news,
                idle,
            } => self.failover(decision, news, idle).await,
            Job::Progress {
                failed,
                complete,
                summary,
            } => self.progressed(failed, Some((complete, &summary))),
            Job::Aborted { failed, details } => self.aborted(failed, details).await,
            Job::Redirect {
                decision,
                complete,
                details,
            } => self.redirected(&decision, complete, &details).await,
            Job::Recovery { node, on, away } => {
                let result = match self.recover(node, on, away).await {
                    Ok(result) => result,
                    Err(error) => Recovery::Pending(error.to_string()),
                };
                let _ = self.told.send(Told::Recovery(node, result)).await;
            }
            Job::HookEnded {
                event,
                failed,
                on,
                successful,
                details,
            } => {
                self.hook_ended(event, failed, on, successful, &details)
                    .await;
            }
        }
        self.write_failovers(false).await;
    }

    /// As repmgr does: the row alone, no hook.
    async fn started(&mut self, on: NodeId) {
        let config = Arc::clone(&self.config);
        let Some(on) = config.nodes.get(&on) else {
            return;
        };
        let details = concat!("repoint ", env!("CARGO_PKG_VERSION"));
        let row = Row {
            kind: EventKind::RepmgrdStart,
            node: config.node_id,
            successful: true,
        };
        self.write_or_warn(on, row, details).await;
    }

    /// Everything that is still owed, then the row, then the hook: it gets what is left of the
    /// time, whatever the database does, and whatever hook was running before.
    async fn stopping(&mut self, on: Option<NodeId>) {
        self.stopping = true;
        let config = Arc::clone(&self.config);
        let details = concat!("repoint ", env!("CARGO_PKG_VERSION"), " ends");
        let row = Row {
            kind: EventKind::RepmgrdShutdown,
            node: config.node_id,
            successful: true,
        };
        let rows = async {
            self.write_failovers(true).await;
            match on.and_then(|on| config.nodes.get(&on)) {
                Some(on) => self.write_or_warn(on, row, details).await,
                None => None,
            }
        };
        let written = tokio::time::timeout(LAST_ROWS_LIMIT, rows).await;
        let timestamp = written.ok().flatten().unwrap_or_else(local_timestamp);
        if hooks::is_wanted(&config, row.kind) {
            let event = bare_event(row, timestamp, details.to_owned());
            hooks::run(&config, &event, &self.roles()).await;
        }
    }

    /// The row is written on the node that answers again, and the hook gets neither conninfo nor
    /// name, as in repmgr.
    async fn reconnected(&mut self, node: NodeId, after: Duration) {
        let config = Arc::clone(&self.config);
        let Some(on) = config.nodes.get(&node) else {
            return;
        };
        let details = format!(
            "reconnected to node {node} after {} seconds",
            after.as_secs()
        );
        let row = Row {
            kind: EventKind::BdrReconnect,
            node: config.node_id,
            successful: true,
        };
        let timestamp = self.write_or_warn(on, row, &details).await;
        let event = bare_event(row, timestamp.unwrap_or_else(local_timestamp), details);
        self.notify(event, self.roles(), node);
    }

    /// On this host's own node, which the agent may be cut off with.
    async fn aborted(&mut self, failed: NodeId, details: String) {
        let config = Arc::clone(&self.config);
        let mut others = config.nodes.values().filter(|node| node.node_id != failed);
        let Some(on) = others.next() else {
            return;
        };
        let row = Row {
            kind: EventKind::RepointFailoverAborted,
            node: config.node_id,
            successful: false,
        };
        let timestamp = self.write_or_warn(on, row, &details).await;
        let event = bare_event(row, timestamp.unwrap_or_else(local_timestamp), details);
        let roles = Roles {
            failed: Some(failed),
            ..self.roles()
        };
        self.notify(event, roles, on.node_id);
    }

    async fn redirected(&mut self, decision: &Decision, complete: bool, details: &str) {
        // In the order in which people expect to find them.
        self.write_failovers(false).await;
        let config = Arc::clone(&self.config);
        let Some(active) = config.nodes.get(&decision.active) else {
            return;
        };
        let row = Row {
            kind: EventKind::RepointRedirect,
            node: decision.active,
            successful: complete,
        };
        let timestamp = self.write_or_warn(active, row, details).await;
        let timestamp = timestamp.unwrap_or_else(local_timestamp);
        let event = Event {
            conninfo: Some(self.conninfo_of(active)),
            node_name: Some(active.node_name.clone()),
            ..bare_event(row, timestamp, details.to_owned())
        };
        let roles = Roles {
            failed: Some(decision.failed),
            next: Some(decision.active),
            generation: Some(decision.generation),
            ..self.roles()
        };
        self.notify(event, roles, decision.active);
    }

    /// A row about the end of a hook, unless it is in the row of its event. No hook is told of the
    /// end of hooks: it would never rest.
    async fn hook_ended(
        &mut self,
        event: EventKind,
        failed: Option<NodeId>,
        on: NodeId,
        successful: bool,
        details: &str,
    ) {
        if event == EventKind::BdrFailover {
            if let Some(failed) = failed {
                self.command_ended(failed, successful, details);
            }
            self.write_failovers(false).await;
            if successful {
                return;
            }
        }
        let config = Arc::clone(&self.config);
        let Some(node) = config.nodes.get(&on) else {
            return;
        };
        let details = format!("event_notification_command for {event} {details}");
        let row = Row {
            kind: EventKind::RepointNotification,
            node: on,
            successful,
        };
        self.write_or_warn(node, row, &details).await;
    }

    fn roles(&self) -> Roles {
        Roles {
            reporter: Some(self.config.node_id),
            ..Roles::default()
        }
    }

    /// Has the tables ready on a node. What cannot be had now, because the node is just going down
    /// again perhaps, is made before the first row is written there.
    async fn prepare(&mut self, node: NodeId) {
        let Some(node) = self.config.nodes.get(&node).cloned() else {
            return;
        };
        let mut tries = 1;
        let error = loop {
            let prepared = match connect(&node.conninfo, CONNECT_LIMIT).await {
                Ok(session) => self.prepare_with(&session, &node).await,
                Err(error) => Err(error),
            };
            match prepared {
                Err(error) if !self.try_again(&mut tries).await => break Some(error),
                Err(_) => {}
                Ok(()) => break None,
            }
        };
        if let Some(error) = error {
            tracing::warn!(
                node = node.node_name,
                error = error.to_string(),
                "repmgr.nodes and repmgr.events cannot be used yet"
            );
        }
    }

    async fn prepare_with(&mut self, session: &Session, node: &Node) -> Result<(), PostgresError> {
        let (made, inactive) = repmgr_tables::prepare(session, &self.config.nodes).await?;
        if made {
            let node = &node.node_name;
            tracing::info!(node, "made the tables repmgr.nodes and repmgr.events");
        }
        self.prepared().insert(node.node_id);
        let _ = self.told.send(Told::Inactive(node.node_id, inactive)).await;
        Ok(())
    }

    async fn recover(
        &self,
        node: NodeId,
        on: NodeId,
        away: Option<Duration>,
    ) -> Result<Recovery, PostgresError> {
        let (Some(node), Some(stayed)) = (self.config.nodes.get(&node), self.config.nodes.get(&on))
        else {
            return Ok(Recovery::Pending("no such node".to_owned()));
        };
        let on_stayed = connect(&stayed.conninfo, CONNECT_LIMIT).await?;
        let on_node = connect(&node.conninfo, CONNECT_LIMIT).await?;
        let mut lags = Vec::new();
        let ways = [
            (&on_stayed, &on_node, stayed, node),
            (&on_node, &on_stayed, node, stayed),
        ];
        for (session, peer, from, to) in ways {
            let kind = self.config.replication;
            let (from, to) = (&from.node_name, &to.node_name);
            match replication::feeds_peer(session, Some(peer), kind, from, to).await? {
                Ok(feed) => {
                    lags.extend(feed.lag_bytes.map(|lag| format!("{lag} bytes to \"{to}\"")))
                }
                Err(why) => return Ok(Recovery::Pending(why)),
            }
        }
        let after = away.map(|away| format!(" after {} seconds", away.as_secs()));
        let lags = match lags.is_empty() {
            true => String::new(),
            false => format!("; replication lag {}", lags.join(", ")),
        };
        let details = recovered(node) + &after.unwrap_or_default() + &lags;
        let recorded =
            repmgr_tables::record_recovery(&on_stayed, node.node_id, on, &details).await?;
        repmgr_tables::mark_active(&on_node, node.node_id).await?;
        // What it has of the other one may be older than its own failure.
        if repmgr_tables::is_active(&on_stayed, on).await? {
            repmgr_tables::mark_active(&on_node, on).await?;
        }
        if let Some(timestamp) = recorded {
            let event = Event {
                kind: EventKind::BdrRecovery,
                node_id: on,
                successful: true,
                timestamp,
                details,
                conninfo: Some(self.conninfo_of(node)),
                node_name: Some(node.node_name.clone()),
                other_id: None,
            };
            let roles = Roles {
                failed: Some(node.node_id),
                ..self.roles()
            };
            self.notify(event, roles, on);
        }
        Ok(Recovery::Recovered)
    }

    /// Has the hook run, if the operator wants it for this event; `false`: it is not run.
    fn notify(&self, event: Event, roles: Roles, on: NodeId) -> bool {
        if !hooks::is_wanted(&self.config, event.kind) {
            return false;
        }
        let sent = self.hooks.try_send(Call { event, roles, on }).is_ok();
        if !sent {
            let queue = hooks::QUEUE;
            tracing::warn!("{queue} hooks are waiting already; this one is left out");
        }
        sent
    }

    fn conninfo_of(&self, node: &Node) -> String {
        if self.config.hook.pass_password {
            node.conninfo.original().to_owned()
        } else {
            node.conninfo.original_without_password()
        }
    }

    fn prepared(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session with a node whose tables are there.
    async fn session(&mut self, on: &Node) -> Result<Session, PostgresError> {
        let session = connect(&on.conninfo, CONNECT_LIMIT).await?;
        let prepared = self.prepared().contains(&on.node_id);
        if !prepared {
            self.prepare_with(&session, on).await?;
        }
        Ok(session)
    }

    /// Whether there is one more try, after a pause.
    async fn try_again(&self, tries: &mut u32) -> bool {
        if *tries >= TRIES || self.stopping {
            return false;
        }
        *tries += 1;
        tokio::time::sleep(TRY_INTERVAL).await;
        true
    }

    /// Writes a row on a node, with a few tries. Gives its time; `None`: it could not be written,
    /// and the log says so.
    async fn write_or_warn(&mut self, on: &Node, row: Row, details: &str) -> Option<String> {
        let mut tries = 1;
        loop {
            let written = async {
                let session = self.session(on).await?;
                let (kind, node) = (row.kind.as_str(), row.node);
                repmgr_tables::record_event(&session, node, kind, row.successful, details).await
            };
            match written.await {
                Ok(timestamp) => return timestamp,
                Err(_) if self.try_again(&mut tries).await => {}
                Err(error) => {
                    let (error, event) = (error.to_string(), row.kind.as_str());
                    tracing::warn!(error, event, "event is not recorded");
                    return None;
                }
            }
        }
    }
}

/// A row of `repmgr.events`.
#[derive(Debug, Clone, Copy)]
struct Row {
    kind: EventKind,
    node: NodeId,
    successful: bool,
}

/// What the hook is told of a row that names no other node.
fn bare_event(row: Row, timestamp: String, details: String) -> Event {
    Event {
        kind: row.kind,
        node_id: row.node,
        successful: row.successful,
        timestamp,
        details,
        conninfo: None,
        node_name: None,
        other_id: None,
    }
}

fn local_timestamp() -> String {
    jiff::Zoned::now()
        .strftime("%Y-%m-%d %H:%M:%S%z")
        .to_string()
}
