//! The operator's hook: one run after the other, each bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Job;
use crate::config::{Config, NodeId};
use crate::core::event::{Event, EventKind, Roles, hook_script, wanted};
use crate::edge::chain;
use crate::edge::hook::{self, HookStatus};

/// Hooks that wait for the one before them to end.
pub(super) const QUEUE: usize = 64;

/// One run of the hook.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) event: Event,
    pub(super) roles: Roles,
    /// The node whose database takes the row about its end.
    pub(super) on: NodeId,
}

/// Whether the operator wants the hook to be run for such an event.
pub(super) fn is_wanted(config: &Config, kind: EventKind) -> bool {
    config.hook.command.is_some() && wanted(&config.hook.events, kind)
}

/// Runs what comes in, until nothing can come any more.
pub(super) async fn run_all(
    config: Arc<Config>,
    mut queue: mpsc::Receiver<Call>,
    jobs: mpsc::WeakSender<Job>,
) {
    while let Some(call) = queue.recv().await {
        let Some((successful, details)) = run(&config, &call.event, &call.roles).await else {
            continue;
        };
        if let Some(jobs) = jobs.upgrade() {
            let ended = Job::HookEnded {
                event: call.event.kind,
                failed: call.roles.failed,
                on: call.on,
                successful,
                details,
            };
            let _ = jobs.send(ended).await;
        }
    }
}

/// Runs the hook once: whether it ended with status 0, and how it ended. `None`: there is no hook.
pub(super) async fn run(config: &Config, event: &Event, roles: &Roles) -> Option<(bool, String)> {
    let command = config.hook.command.as_ref()?;
    let (successful, details) = match hook_script(command, event) {
        Ok(script) => {
            let script = roles.exports() + &script;
            run_script(&script, config.hook.timeout, event.kind).await
        }
        Err(error) => (false, format!("was not run: {}", chain(&error))),
    };
    let kind = event.kind.as_str();
    if successful {
        tracing::info!(event = kind, "event_notification_command {details}");
    } else {
        tracing::warn!(event = kind, "event_notification_command {details}");
    }
    Some((successful, details))
}

async fn run_script(script: &str, timeout: Duration, kind: EventKind) -> (bool, String) {
    // The command line itself may hold a password: it is never logged.
    tracing::info!("executing notification command for event \"{kind}\"");
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
