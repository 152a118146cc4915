//! The agent's sign of life, and what it hears of pauses: one task for each node.
//!
//! Every few seconds a task reads the node's pauses for the coordinator, gives the node what it
//! lacks of those that the coordinator knows, and writes the agent's row. It has a session of its
//! own, and a node that hangs delays neither monitoring nor the task of the other. The tables are
//! [`crate::cluster_db::agents`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::cluster_db::agents::{self, Beat};
use crate::config::{Config, Node, NodeId};
use crate::core::node::Health;
use crate::core::pause::{Pause, Pauses};
use crate::edge::postgres::{PostgresError, Session};
use crate::edge::this_host;

/// Time between two signs of life.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// A row that was not renewed for so long is of an agent that does not live: several signs are
/// missing, and one may take some seconds where a node answers slowly.
pub const STALE: Duration = Duration::from_secs(12);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// After being refused: the server logs each attempt, too.
const RETRY_REFUSED: Duration = Duration::from_secs(30);
/// For the last word of an agent that ends.
const END_LIMIT: Duration = Duration::from_secs(1);
/// What is not a matter of rights may be over by the next attempt: said when it is not.
const FAILURES_TOLD: u32 = 3;

/// What the coordinator shares with the tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// What the agent sees of each node.
    pub(super) sees: BTreeMap<NodeId, &'static str>,
    /// The pauses that it honours.
    pub(super) pauses: Pauses,
}

/// All tasks.
#[derive(Debug)]
pub(super) struct Heartbeat {
    view: watch::Sender<View>,
    tasks: JoinSet<()>,
}

impl Heartbeat {
    /// Starts a task for each node; what is read comes out of `read`.
    pub(super) fn start(config: &Arc<Config>, read: &mpsc::Sender<Vec<Pause>>) -> Self {
        let beat = Beat {
            node_id: config.node_id,
            host_name: this_host::host_name(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: jiff::Zoned::now()
                .strftime("%Y-%m-%d %H:%M:%S%:z")
                .to_string(),
            sees: String::new(),
            honours: String::new(),
        };
        let (view, seen) = watch::channel(View::default());
        let mut tasks = JoinSet::new();
        for node in config.nodes.values().cloned() {
            let task = Task {
                node,
                beat: beat.clone(),
                session: None,
                failures: 0,
                told: false,
            };
            tasks.spawn(task.run(seen.clone(), read.clone()));
        }
        Self { view, tasks }
    }

    /// The agent sees a node otherwise: told with the next sign of life.
    pub(super) fn sees(&self, node: NodeId, health: &Health) {
        let word = match health {
            Health::Unknown => "unknown",
            Health::Up { .. } => "up",
            Health::Refusing { .. } => "refusing",
            Health::Suspect { .. } => "suspect",
            Health::Down { .. } => "down",
        };
        self.view.send_if_modified(|view| {
            view.sees.insert(node, word);
            false
        });
    }

    /// The agent knows of these pauses: told at once.
    pub(super) fn honours(&self, pauses: &Pauses) {
        self.view.send_if_modified(|view| {
            let changed = view.pauses != *pauses;
            view.pauses.clone_from(pauses);
            changed
        });
    }

    /// Marks the agent's rows and ends.
    pub(super) async fn end(self) {
        let Self { view, mut tasks } = self;
        drop(view);
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(END_LIMIT, all).await;
    }
}

/// What is done at one node.
struct Task {
    node: Node,
    beat: Beat,
    session: Option<Session>,
    failures: u32,
    told: bool,
}

impl Task {
    async fn run(mut self, mut view: watch::Receiver<View>, read: mpsc::Sender<Vec<Pause>>) {
        loop {
            let begun = Instant::now();
            let mut wait = INTERVAL;
            let ends = closed(view.clone());
            let beat = tokio::select! {
                beat = self.beat(&mut view, &read) => beat,
                // An agent that ends does not wait for a node that hangs.
                () = ends => Ok(()),
            };
            match beat {
                Ok(()) => (self.failures, self.told) = (0, false),
                Err(error) => {
                    self.session = None;
                    wait = self.failed(&error);
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until((begun + wait).into()) => {}
                changed = view.changed() => if changed.is_err() { break },
            }
        }
        if let Some(session) = &self.session {
            let _ = agents::write_end(session, &self.beat).await;
        }
    }

    async fn beat(
        &mut self,
        view: &mut watch::Receiver<View>,
        read: &mpsc::Sender<Vec<Pause>>,
    ) -> Result<(), PostgresError> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => {
                let session = agents::open(&self.node.conninfo, CONNECT_LIMIT).await?;
                if agents::prepare(&session).await? {
                    tracing::info!(node = self.node.node_name, "made the schema repoint");
                }
                session
            }
        };
        let session = self.session.insert(session);
        let copy = agents::pauses(session).await?;
        let lacking = {
            let known = view.borrow_and_update();
            self.beat.honours = known.pauses.honoured();
            let sees = known.sees.iter();
            let sees: Vec<String> = sees.map(|(node, word)| format!("{node}={word}")).collect();
            self.beat.sees = sees.join(" ");
            known.pauses.lacking(&copy)
        };
        // The coordinator may know none of it yet; it then changes the view, which is told at once.
        let _ = read.send(copy).await;
        for pause in &lacking {
            agents::write_pause(session, pause).await?;
        }
        agents::write_beat(session, &self.beat).await
    }

    /// Says once what keeps it from these tables, and how long to wait. That a node is away is
    /// monitoring's to say.
    fn failed(&mut self, error: &PostgresError) -> Duration {
        self.failures += 1;
        let error_text = error.to_string();
        tracing::debug!(node = self.node.node_name, error = error_text, "heartbeat");
        let PostgresError::Answered { sqlstate, .. } = error else {
            return INTERVAL;
        };
        if sqlstate.starts_with("57P") {
            return INTERVAL;
        }
        let refused = ["42501", "25006"].contains(&sqlstate.as_str());
        let due = refused || self.failures >= FAILURES_TOLD;
        if due && !std::mem::replace(&mut self.told, true) {
            let hint = match sqlstate == "42501" {
                true => {
                    ". An administrator may make it: CREATE SCHEMA repoint AUTHORIZATION (the user \
                     of the conninfo)"
                }
                false => "",
            };
            tracing::warn!(
                error = error_text,
                "the schema repoint cannot be used on node {:?} (ID: {}); monitoring and failover \
                 go on, but a pause is not seen there{hint}",
                self.node.node_name,
                self.node.node_id
            );
        }
        match refused {
            true => RETRY_REFUSED,
            false => INTERVAL,
        }
    }
}

async fn closed(mut view: watch::Receiver<View>) {
    while view.changed().await.is_ok() {}
}
