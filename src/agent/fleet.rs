//! The tasks of all PgBouncers: started together, told together, ended together.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::planning::Planner;
use super::pooler::{Identities, PoolerTask};
use super::witnesses;
use crate::config::Config;
use crate::core::worker::{Assignment, Status};
use crate::edge::remote::AllTurns;

/// Messages of tasks; one that finds the queue full waits.
const QUEUE: usize = 256;

/// The tasks, and the ways to and from them.
#[derive(Debug)]
pub struct Fleet {
    assignments: watch::Sender<Assignment>,
    statuses: mpsc::Receiver<(String, Status)>,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Starts a task for each PgBouncer, with a directory for its sockets below `sockets`.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn start(
        config: &Config,
        planners: BTreeMap<String, Planner>,
        sockets: &Path,
        identities: &watch::Receiver<Identities>,
        turns: &mut AllTurns,
    ) -> std::io::Result<Self> {
        let (assignments, assigned) = watch::channel(Assignment::default());
        let (sender, statuses) = mpsc::channel(QUEUE);
        let (mut tasks, voters) = (JoinSet::new(), witnesses::sites(config));
        for (index, (name, planner)) in planners.into_iter().enumerate() {
            let Some(pgbouncer) = config.pgbouncers.get(&name).cloned() else {
                continue;
            };
            // By number: the path of a socket is short, a name may not be.
            let sockets = sockets.join(index.to_string());
            std::fs::create_dir_all(&sockets)?;
            let task = PoolerTask {
                votes: voters.contains_key(&name),
                turns: turns.of(&pgbouncer.host),
                pgbouncer,
                planner,
                sockets,
                assignments: assigned.clone(),
                identities: identities.clone(),
                statuses: sender.clone(),
            };
            tasks.spawn(task.run());
        }
        Ok(Self {
            assignments,
            statuses,
            tasks,
        })
    }

    /// Tells all of them, if it is news.
    pub fn assign(&self, assignment: Assignment) {
        self.assignments.send_if_modified(|current| {
            let changed = *current != assignment;
            *current = assignment;
            changed
        });
    }

    /// The next news of one of them; `None`: all have ended.
    pub async fn heard(&mut self) -> Option<(String, Status)> {
        self.statuses.recv().await
    }

    /// Tells all of them that somebody else pays what is owed when they are stopped.
    pub fn leave_debts(&self) {
        self.assignments
            .send_modify(|assignment| assignment.leave_debt = true);
    }

    /// Tells all of them to end what they have begun, and waits for it until `deadline`; `false`:
    /// some did not.
    pub async fn stop(mut self, deadline: Instant) -> bool {
        self.assignments
            .send_modify(|assignment| assignment.stopping = true);
        let ends = async {
            loop {
                tokio::select! {
                    ended = self.tasks.join_next() => if ended.is_none() { return },
                    // Their last words must not make them wait.
                    Some(_) = self.statuses.recv() => {}
                }
            }
        };
        tokio::time::timeout_at(deadline.into(), ends).await.is_ok()
    }
}
