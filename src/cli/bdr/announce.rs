//! Events of the commands: a row in repmgr.events, and the operator's hook, as repmgr's own
//! commands have them. Neither stops a command that has done its work: a failure is a warning.

use super::one_line;
use crate::cli::say::Voice;
use crate::cluster_db::repmgr_tables::record_event;
use crate::config::{Hook, NodeId};
use crate::core::event::{Event, EventKind, hook_script, wanted};
use crate::edge::chain;
use crate::edge::hook::{self, HookStatus};
use crate::edge::postgres::Session;

/// What happened, before it has a time.
pub(super) struct Happening<'a> {
    pub(super) node_id: NodeId,
    pub(super) kind: EventKind,
    pub(super) successful: bool,
    pub(super) details: &'a str,
}

pub(super) async fn announce(
    session: &Session,
    hook: Option<&Hook>,
    voice: Voice,
    happening: Happening<'_>,
) {
    let Happening {
        node_id,
        kind,
        successful,
        details,
    } = happening;
    let recorded = record_event(session, node_id, kind.as_str(), successful, details).await;
    let timestamp = recorded.unwrap_or_else(|error| {
        voice.warning(&format!("event {kind} was not recorded"));
        voice.detail(&one_line(&error.to_string()));
        None
    });
    let Some(hook) = hook.filter(|hook| wanted(&hook.events, kind)) else {
        return;
    };
    let Some(command) = &hook.command else { return };
    let event = Event {
        kind,
        node_id,
        successful,
        timestamp: timestamp.unwrap_or_else(|| {
            jiff::Zoned::now()
                .strftime("%Y-%m-%d %H:%M:%S%z")
                .to_string()
        }),
        details: details.to_owned(),
        conninfo: None,
        node_name: None,
        other_id: None,
    };
    if let Err(why) = run(command, hook, &event).await {
        voice.warning(&format!("event_notification_command for {kind} {why}"));
    }
}

async fn run(command: &str, hook: &Hook, event: &Event) -> Result<(), String> {
    let script = hook_script(command, event);
    let script = script.map_err(|error| format!("was not run: {}", chain(&error)))?;
    let end = hook::run(&script, hook.timeout).await;
    let end = end.map_err(|error| format!("was not run: {}", chain(&error)))?;
    match end.status {
        HookStatus::Exited { code: 0 } => Ok(()),
        HookStatus::Exited { code } => Err(format!("ended with exit status {code}")),
        HookStatus::Signalled { signal } => Err(format!("was ended by signal {signal}")),
        HookStatus::TimedOut => Err(format!(
            "did not end within {} s and was ended",
            hook.timeout.as_secs_f64()
        )),
    }
}
