//! A failover in the database: the failed node's row at once, `bdr_failover` when it is known what
//! came of it. When that is, and what the row says, is [`crate::core::event::failover`]'s.

use std::sync::Arc;
use std::time::Instant;

use super::{Recorder, local_timestamp};
use crate::cluster_db::repmgr_tables::{self, Activation, EventTime, FailoverEvent, Later};
use crate::config::{Node, NodeId};
use crate::core::event::failover::{
    COMMAND, COMMAND_SUCCEEDED, FailoverRecord, FailoverRow, Marked, RowKind,
};
use crate::core::event::{Event, EventKind, Roles};
use crate::core::plan::Decision;
use crate::edge::postgres::PostgresError;

/// One failover whose rows are not all written.
#[derive(Debug)]
pub(super) struct Open {
    record: FailoverRecord,
    decision: Decision,
    decided: Instant,
    /// The time of the decision, if this agent marked the node.
    timestamp: Option<String>,
    /// The node could not be marked then.
    unmarked: bool,
}

/// repmgr's sentence about a failover.
fn sentence(failed: &Node, next: &Node) -> String {
    format!(
        "node \"{}\" (ID: {}) detected as failed; next available node is \"{}\" (ID: {})",
        failed.node_name, failed.node_id, next.node_name, next.node_id
    )
}

/// The beginning of what is told of a recovery.
pub(super) fn recovered(node: &Node) -> String {
    let (name, id) = (&node.node_name, node.node_id);
    format!("node \"{name}\" (ID: {id}) has recovered")
}

impl Recorder {
    /// A failover was decided. `idle`: why there is nothing to redirect.
    pub(super) async fn failover(&mut self, decision: Decision, news: bool, idle: Option<String>) {
        let config = Arc::clone(&self.config);
        let node = |id: NodeId| config.nodes.get(&id);
        let (Some(failed), Some(next)) = (node(decision.failed), node(decision.active)) else {
            return;
        };
        let decided = Instant::now();
        let marked = self.set_inactive(failed, next).await;
        let still_open =
            |open: &Open| !open.record.is_done() && open.decision.active == next.node_id;
        let known = self.failovers.get(&failed.node_id).is_some_and(still_open);
        if known && !matches!(marked, Ok(Some(_))) {
            // The same failure, once more.
            let progress = idle.as_ref().map(|idle| (true, idle.as_str()));
            return self.progressed(failed.node_id, progress);
        }
        self.write_failovers(true).await;
        let (marked, timestamp, unmarked) = match marked {
            Ok(Some(timestamp)) => {
                tracing::info!(
                    target: crate::agent::NOTICE,
                    "setting node record for node {} to inactive",
                    failed.node_id
                );
                (Marked::Here, Some(timestamp), false)
            }
            Ok(None) => {
                tracing::info!(
                    target: crate::agent::NOTICE,
                    "record for node {} has already been set inactive",
                    failed.node_id
                );
                (Marked::Already, None, false)
            }
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(error, "node {} could not be set inactive", failed.node_id);
                (Marked::Here, Some(local_timestamp()), true)
            }
        };
        let record = FailoverRecord::new(sentence(failed, next), marked, news, decided);
        let mut open = Open {
            record,
            decision,
            decided,
            timestamp,
            unmarked,
        };
        if marked == Marked::Here {
            let timestamp = open.timestamp.clone().unwrap_or_else(local_timestamp);
            if self.tell_failover(&open, true, timestamp, sentence(failed, next)) {
                open.record.command_started();
            }
        }
        if let Some(idle) = idle {
            open.record.redirected(true, &idle);
        }
        self.failovers.insert(failed.node_id, open);
    }

    /// How far the redirect for a failure has come.
    pub(super) fn progressed(&mut self, failed: NodeId, progress: Option<(bool, &str)>) {
        if let (Some(open), Some((complete, summary))) = (self.failovers.get_mut(&failed), progress)
        {
            open.record.redirected(complete, summary);
        }
    }

    /// The hook of a failover has ended.
    pub(super) fn command_ended(&mut self, failed: NodeId, successful: bool, how: &str) {
        if let Some(open) = self.failovers.get_mut(&failed) {
            open.record.command_ended(successful, how);
        }
    }

    /// When there may be a row to write although nothing was told.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let open = self.failovers.values();
        open.filter_map(|open| open.record.wake_at()).min()
    }

    /// Writes what is to be written now; at the `end`, also what is still owed.
    pub(super) async fn write_failovers(&mut self, end: bool) {
        let failed: Vec<NodeId> = self.failovers.keys().copied().collect();
        for failed in failed {
            let Some(mut open) = self.failovers.remove(&failed) else {
                continue;
            };
            let now = Instant::now();
            let owed = |record: &FailoverRecord| record.last().filter(|_| end);
            while let Some(row) = open.record.next(now).or_else(|| owed(&open.record)) {
                let inserted = self.write_failover(&mut open, &row).await;
                open.record.written(&row, inserted);
            }
            if !open.record.is_done() {
                self.failovers.insert(failed, open);
            }
        }
    }

    /// `false`: another agent's row was there already.
    async fn write_failover(&mut self, open: &mut Open, row: &FailoverRow) -> bool {
        let config = Arc::clone(&self.config);
        let node = |id: NodeId| config.nodes.get(&id);
        let (Some(failed), Some(next)) = (node(open.decision.failed), node(open.decision.active))
        else {
            return false;
        };
        if std::mem::take(&mut open.unmarked)
            && let Err(error) = self.set_inactive(failed, next).await
        {
            let error = error.to_string();
            tracing::warn!(error, "node {} could not be set inactive", failed.node_id);
        }
        match self.insert_failover(open, row, failed, next).await {
            Ok(Some(timestamp)) => {
                if row.kind == RowKind::TakenOver {
                    // Whether the one that is gone has told anybody is not known.
                    self.tell_failover(open, row.successful, timestamp, row.details.clone());
                }
                true
            }
            Ok(None) => {
                tracing::debug!(node = %failed.node_id, "the failover is recorded already");
                false
            }
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(error, "bdr_failover could not be recorded");
                true
            }
        }
    }

    async fn insert_failover(
        &mut self,
        open: &Open,
        row: &FailoverRow,
        failed: &Node,
        next: &Node,
    ) -> Result<Option<String>, PostgresError> {
        let activations = [
            Activation {
                event: EventKind::BdrRecovery.as_str(),
                details: recovered(failed),
            },
            Activation {
                event: EventKind::BdrFailover.as_str(),
                details: sentence(next, failed),
            },
        ];
        let later = match &open.timestamp {
            Some(_) => Later::OfOwn,
            None => Later::OfOther {
                command: COMMAND,
                succeeded: COMMAND_SUCCEEDED,
            },
        };
        let mut tries = 1;
        loop {
            let at = match &open.timestamp {
                Some(timestamp) => EventTime::At(timestamp),
                None => EventTime::Ago(open.decided.elapsed()),
            };
            let event = FailoverEvent {
                failed: failed.node_id,
                at,
                successful: row.successful,
                details: &row.details,
                later: (row.kind == RowKind::Later).then_some(later),
                activations: &activations,
            };
            let written = async {
                let session = self.session(next).await?;
                repmgr_tables::record_failover(&session, &event).await
            };
            let result = written.await;
            if result.is_ok() || !self.try_again(&mut tries).await {
                return result;
            }
        }
    }

    async fn set_inactive(
        &mut self,
        failed: &Node,
        next: &Node,
    ) -> Result<Option<String>, PostgresError> {
        let mut tries = 1;
        loop {
            let written = async {
                let session = self.session(next).await?;
                repmgr_tables::set_inactive(&session, failed.node_id, next.node_id).await
            };
            let result = written.await;
            if result.is_ok() || !self.try_again(&mut tries).await {
                return result;
            }
        }
    }

    /// Runs the hook, if the operator wants it.
    fn tell_failover(
        &self,
        open: &Open,
        successful: bool,
        timestamp: String,
        details: String,
    ) -> bool {
        let decision = &open.decision;
        let Some(next) = self.config.nodes.get(&decision.active) else {
            return false;
        };
        let event = Event {
            kind: EventKind::BdrFailover,
            node_id: decision.failed,
            successful,
            timestamp,
            details,
            conninfo: Some(self.conninfo_of(next)),
            node_name: Some(next.node_name.clone()),
            other_id: None,
        };
        let roles = Roles {
            failed: Some(decision.failed),
            next: Some(decision.active),
            reporter: Some(self.config.node_id),
            generation: Some(decision.generation),
        };
        self.notify(event, roles, decision.active)
    }
}
