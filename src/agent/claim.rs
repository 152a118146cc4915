//! The task that holds the claim ([`crate::cluster_db::claim`]): takes it, watches it, gives it
//! back.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::cluster_db::claim::ClaimSession;
use crate::config::{Node, NodeId};
use crate::core::cluster::ClaimResult;
use crate::core::pause::Pause;
use crate::edge::postgres::PostgresError;

/// How often a session that holds the claim is asked whether it is still there.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What is wanted of the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No claim.
    Nothing,
    /// The claim on this node; the number makes each request a new one.
    On(NodeId, u64),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Told {
    /// The answer to one request.
    Result(NodeId, ClaimResult),
    /// The pauses of the surviving node, before the answer to the request that was granted.
    Pauses(Vec<Pause>),
    /// Another agent has it: that of this node, if it can be seen. Told before the result.
    Holder(Option<NodeId>),
    /// The session that held it is gone.
    Lost,
}

/// Serves requests until nobody makes any more, for the agent of the node `own`.
pub(super) async fn hold(
    own: NodeId,
    nodes: BTreeMap<NodeId, Node>,
    mut wanted: watch::Receiver<Wanted>,
    told: mpsc::Sender<Told>,
) {
    // The session of the last request: a lock that is asked for again needs no new login.
    let mut session: Option<(NodeId, ClaimSession)> = None;
    let mut held = false;
    let mut holder = None;
    loop {
        if held {
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(CHECK_INTERVAL) => {
                    let alive = match &session {
                        Some((_, session)) => session.check().await.is_ok(),
                        None => false,
                    };
                    if !alive {
                        (session, held) = (None, false);
                        if told.send(Told::Lost).await.is_err() { return }
                    }
                    continue;
                }
            }
        } else if wanted.changed().await.is_err() {
            return;
        }
        let request = wanted.borrow_and_update().clone();
        match request {
            Wanted::Nothing => (session, held) = (None, false),
            Wanted::On(on, _) => {
                let mut result = take(own, &nodes, on, &mut session).await;
                if result == ClaimResult::Granted {
                    match read_pauses(session.as_ref()).await {
                        Ok(pauses) => {
                            let _ = told.send(Told::Pauses(pauses)).await;
                        }
                        Err(error) => {
                            session = None;
                            result = ClaimResult::Failed(error);
                        }
                    }
                }
                held = result == ClaimResult::Granted;
                if let (ClaimResult::Held, Some((_, session))) = (&result, &session) {
                    let found = session.holder().await.ok().flatten();
                    if found != std::mem::replace(&mut holder, found)
                        && told.send(Told::Holder(found)).await.is_err()
                    {
                        return;
                    }
                }
                if told.send(Told::Result(on, result)).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn take(
    own: NodeId,
    nodes: &BTreeMap<NodeId, Node>,
    on: NodeId,
    session: &mut Option<(NodeId, ClaimSession)>,
) -> ClaimResult {
    let Some(node) = nodes.get(&on) else {
        return ClaimResult::Failed("no such node".to_owned());
    };
    if session.as_ref().is_none_or(|(at, _)| *at != on) {
        match ClaimSession::open_for(&node.conninfo, own).await {
            Ok(opened) => *session = Some((on, opened)),
            Err(error) => return ClaimResult::Failed(error.to_string()),
        }
    }
    let Some((_, open)) = session.as_ref() else {
        return ClaimResult::Failed("no session".to_owned());
    };
    match open.take().await {
        Ok(true) => ClaimResult::Granted,
        Ok(false) => ClaimResult::Held,
        Err(error) => {
            *session = None;
            ClaimResult::Failed(error.to_string())
        }
    }
}

/// Nothing is decided before the surviving node was asked whether failover is paused. One that says
/// no (there is no such table, it may not be read) is no obstacle; one that does not answer is.
async fn read_pauses(session: Option<&(NodeId, ClaimSession)>) -> Result<Vec<Pause>, String> {
    let Some((node, session)) = session else {
        return Ok(Vec::new());
    };
    match session.pauses().await {
        Ok(pauses) => Ok(pauses),
        Err(PostgresError::Answered { sqlstate, message }) if !sqlstate.starts_with("57P") => {
            tracing::info!(
                error = message,
                "node {node} does not tell whether failover is paused; going on with what is known"
            );
            Ok(Vec::new())
        }
        Err(error) => Err(error.to_string()),
    }
}
