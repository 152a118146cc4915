//! What is written into the database and told to the operator's hook, beside the redirect.
//!
//! One job after the other, each bounded, in a task of its own: a database that is slow or a hook
//! that hangs delays neither monitoring nor redirects. What rows mean is `cluster_db`'s, what the
//! hook gets is [`crate::core::event`]'s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cluster_db::{replication, repmgr_tables};
use crate::config::{Config, Node, NodeId};
use crate::core::cluster::Recovery;
use crate::core::event::{Event, EventKind, hook_script, wanted};
use crate::core::plan::Decision;
use crate::edge::chain;
use crate::edge::hook::{self, HookStatus};
use crate::edge::postgres::{PostgresError, Session, connect};

/// A row is worth this many tries; what could not be written is in the log.
const TRIES: u32 = 3;
const TRY_INTERVAL: Duration = Duration::from_millis(500);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Hooks that wait for the one before them to end.
const HOOK_QUEUE: usize = 64;

/// Something to record.
#[derive(Debug)]
pub enum Job {
    /// A node answers: have repmgr's tables ready there, and see who is inactive.
    Prepare(NodeId),
    /// A failover was decided.
    Failover(Decision),
    /// How far the redirect has come.
    Redirect {
        /// Which.
        decision: Decision,
        /// Whether every PgBouncer serves the node.
        complete: bool,
        /// What became of each.
        details: String,
    },
    /// Look whether replication with a returned node runs, and if so, mark it active.
    Recovery {
        /// The node that was down.
        node: NodeId,
        /// The node that stayed.
        on: NodeId,
        /// How long it was away, if this agent saw it go.
        away: Option<Duration>,
    },
    /// A hook has ended.
    HookEnded {
        /// The event it ran for.
        event: EventKind,
        /// The node whose database takes the row.
        on: NodeId,
        /// Exit status 0.
        successful: bool,
        /// How it ended.
        details: String,
    },
}

/// What the coordinator is told.
#[derive(Debug)]
pub enum Told {
    /// These nodes are marked inactive.
    Inactive(Vec<NodeId>),
    /// What a look at replication gave.
    Recovery(NodeId, Recovery),
}

struct Recorder {
    config: Arc<Config>,
    told: mpsc::Sender<Told>,
    hooks: mpsc::Sender<(Event, NodeId)>,
    /// Nodes whose tables were found or made.
    prepared: BTreeSet<NodeId>,
}

/// Works until there are no more jobs.
pub async fn record(
    config: Arc<Config>,
    mut jobs: mpsc::Receiver<Job>,
    again: mpsc::WeakSender<Job>,
    told: mpsc::Sender<Told>,
) {
    let (hooks, queue) = mpsc::channel(HOOK_QUEUE);
    let hook_task = tokio::spawn(run_hooks(Arc::clone(&config), queue, again));
    let mut recorder = Recorder {
        config,
        told,
        hooks,
        prepared: BTreeSet::new(),
    };
    while let Some(job) = jobs.recv().await {
        recorder.work(job).await;
    }
    drop(recorder);
    hook_task.abort();
}

impl Recorder {
    async fn work(&mut self, job: Job) {
        match job {
            Job::Prepare(node) => self.prepare(node).await,
            Job::Failover(decision) => self.failover(&decision).await,
            Job::Redirect {
                decision,
                complete,
                details,
            } => {
                let (kind, on) = (EventKind::RepointRedirect, decision.active);
                self.event(kind, on, complete, &details).await;
            }
            Job::Recovery { node, on, away } => {
                let result = match self.recover(node, on, away).await {
                    Ok(result) => result,
                    Err(error) => Recovery::Pending(error.to_string()),
                };
                let _ = self.told.send(Told::Recovery(node, result)).await;
            }
            Job::HookEnded {
                event,
                on,
                successful,
                details,
            } => {
                let details = format!("event_notification_command for {event} {details}");
                self.event(EventKind::RepointNotification, on, successful, &details)
                    .await;
            }
        }
    }

    /// Has the tables ready on a node. Tried once: what cannot be had now, because the node is just
    /// going down again perhaps, is made before the first row is written there.
    async fn prepare(&mut self, node: NodeId) {
        let Some(node) = self.config.nodes.get(&node).cloned() else {
            return;
        };
        let prepared = match connect(&node.conninfo, CONNECT_LIMIT).await {
            Ok(session) => self.prepare_with(&session, &node).await,
            Err(error) => Err(error),
        };
        if let Err(error) = prepared {
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
        self.prepared.insert(node.node_id);
        let _ = self.told.send(Told::Inactive(inactive)).await;
        Ok(())
    }

    async fn failover(&mut self, decision: &Decision) {
        let config = Arc::clone(&self.config);
        let (Some(failed), Some(next)) = (
            config.nodes.get(&decision.failed),
            config.nodes.get(&decision.active),
        ) else {
            return;
        };
        let details = format!(
            "node \"{}\" (ID: {}) detected as failed; next available node is \"{}\" (ID: {})",
            failed.node_name, failed.node_id, next.node_name, next.node_id
        );
        let recorded = self
            .write(next, Row::Failover(decision.failed), &details)
            .await;
        let timestamp = match recorded {
            Ok(Some(timestamp)) => timestamp,
            Ok(None) => {
                let node = failed.node_id.0;
                tracing::debug!(node, "marked inactive already; no second event");
                return;
            }
            Err(error) => {
                tracing::warn!(
                    error = error.to_string(),
                    "bdr_failover could not be recorded"
                );
                local_timestamp()
            }
        };
        let event = Event {
            kind: EventKind::BdrFailover,
            node_id: decision.failed,
            successful: true,
            timestamp,
            details,
            conninfo: Some(self.conninfo_of(next)),
            node_name: Some(next.node_name.clone()),
            other_id: None,
        };
        self.notify(event, next.node_id);
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
        let details = format!(
            "node \"{}\" (ID: {}) has recovered{}{}{}",
            node.node_name,
            node.node_id,
            after.unwrap_or_default(),
            if lags.is_empty() {
                ""
            } else {
                "; replication lag "
            },
            lags.join(", ")
        );
        let recorded =
            repmgr_tables::record_recovery(&on_stayed, node.node_id, on, &details).await?;
        repmgr_tables::mark_active(&on_node, node.node_id).await?;
        tracing::info!("{details}; replication runs both ways again");
        if let Some(timestamp) = recorded {
            tracing::info!(event = "bdr_recovery", "event recorded");
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
            self.notify(event, on);
        }
        Ok(Recovery::Recovered)
    }

    /// A row, and the hook, for an event that concerns no other node.
    async fn event(&mut self, kind: EventKind, on: NodeId, successful: bool, details: &str) {
        let config = Arc::clone(&self.config);
        let Some(node) = config.nodes.get(&on) else {
            return;
        };
        let recorded = self
            .write(node, Row::Event(kind, successful), details)
            .await;
        let timestamp = recorded.unwrap_or_else(|error| {
            tracing::warn!(
                error = error.to_string(),
                event = kind.as_str(),
                "event is not recorded"
            );
            None
        });
        // A hook that is told of the end of hooks would never rest.
        if kind != EventKind::RepointNotification {
            let event = Event {
                kind,
                node_id: on,
                successful,
                timestamp: timestamp.unwrap_or_else(local_timestamp),
                details: details.to_owned(),
                conninfo: Some(self.conninfo_of(node)),
                node_name: Some(node.node_name.clone()),
                other_id: None,
            };
            self.notify(event, on);
        }
    }

    fn notify(&self, event: Event, on: NodeId) {
        let hook = &self.config.hook;
        if hook.command.is_none() || !wanted(&hook.events, event.kind) {
            return;
        }
        if self.hooks.try_send((event, on)).is_err() {
            tracing::warn!("{HOOK_QUEUE} hooks are waiting already; this one is left out");
        }
    }

    fn conninfo_of(&self, node: &Node) -> String {
        if self.config.hook.pass_password {
            node.conninfo.original().to_owned()
        } else {
            node.conninfo.original_without_password()
        }
    }

    async fn write_once(
        &mut self,
        on: &Node,
        row: Row,
        details: &str,
    ) -> Result<Option<String>, PostgresError> {
        let session = connect(&on.conninfo, CONNECT_LIMIT).await?;
        if !self.prepared.contains(&on.node_id) {
            self.prepare_with(&session, on).await?;
        }
        row.write(&session, on.node_id, details).await
    }

    /// Writes a row on a node, with a few tries.
    async fn write(
        &mut self,
        on: &Node,
        row: Row,
        details: &str,
    ) -> Result<Option<String>, PostgresError> {
        let mut tries = 1;
        loop {
            let result = self.write_once(on, row, details).await;
            match result {
                Err(_) if tries < TRIES => tries += 1,
                result => return result,
            }
            tokio::time::sleep(TRY_INTERVAL).await;
        }
    }
}

/// A row of `repmgr.events`.
#[derive(Debug, Clone, Copy)]
enum Row {
    /// `bdr_failover`, together with marking this node inactive.
    Failover(NodeId),
    /// Any other, and whether it was successful.
    Event(EventKind, bool),
}

impl Row {
    async fn write(
        self,
        session: &Session,
        on: NodeId,
        details: &str,
    ) -> Result<Option<String>, PostgresError> {
        match self {
            Self::Failover(failed) => {
                repmgr_tables::record_failover(session, failed, details).await
            }
            Self::Event(kind, successful) => {
                repmgr_tables::record_event(session, on, kind.as_str(), successful, details).await
            }
        }
    }
}

async fn run_hooks(
    config: Arc<Config>,
    mut queue: mpsc::Receiver<(Event, NodeId)>,
    jobs: mpsc::WeakSender<Job>,
) {
    while let Some((event, on)) = queue.recv().await {
        let Some(command) = &config.hook.command else {
            continue;
        };
        let (successful, details) = match hook_script(command, &event) {
            Ok(script) => run_hook(&script, config.hook.timeout, event.kind).await,
            Err(error) => (false, format!("was not run: {}", chain(&error))),
        };
        if successful {
            tracing::info!(
                event = event.kind.as_str(),
                "event_notification_command {details}"
            );
        } else {
            tracing::warn!(
                event = event.kind.as_str(),
                "event_notification_command {details}"
            );
        }
        if let Some(jobs) = jobs.upgrade() {
            let ended = Job::HookEnded {
                event: event.kind,
                on,
                successful,
                details,
            };
            let _ = jobs.send(ended).await;
        }
    }
}

async fn run_hook(script: &str, timeout: Duration, kind: EventKind) -> (bool, String) {
    // The command line itself may hold a password: it is never logged.
    tracing::info!(
        event = kind.as_str(),
        "executing event_notification_command"
    );
    match hook::run(script, timeout).await {
        Ok(end) => {
            let seconds = end.elapsed.as_secs_f64();
            match end.status {
                HookStatus::Exited { code } => (
                    code == 0,
                    format!("ended with exit status {code} after {seconds:.1} s"),
                ),
                HookStatus::Signalled { signal } => (
                    false,
                    format!("was ended by signal {signal} after {seconds:.1} s"),
                ),
                HookStatus::TimedOut => (
                    false,
                    format!(
                        "did not end within {} s and was ended",
                        timeout.as_secs_f64()
                    ),
                ),
            }
        }
        Err(error) => (false, format!("was not run: {}", chain(&error))),
    }
}

fn local_timestamp() -> String {
    jiff::Zoned::now()
        .strftime("%Y-%m-%d %H:%M:%S%z")
        .to_string()
}
