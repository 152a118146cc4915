//! Paying later: a process of its own that stays until `server_login_retry` can be set again.
//!
//! What is owed is on record on the PgBouncers' hosts before this process begins, so nothing is
//! lost with it: whoever looks next pays what is overdue.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::course::{Known, Watched};
use crate::agent::planning::Planner;
use crate::agent::pooler::Identities;
use crate::config::Config;

/// Longer than any `server_login_retry` that makes sense.
const LIMIT: Duration = Duration::from_secs(300);

/// Starts it; `false`: it does not start.
pub(super) fn begin(file: &Path) -> bool {
    let Ok(program) = std::env::current_exe() else {
        return false;
    };
    // No stream of ours: whoever reads them to their end would wait for it.
    let started = tokio::process::Command::new(program)
        .arg("-f")
        .arg(file)
        .args(["notify", "--settle"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = &started {
        tracing::debug!(%error, "no process that pays later");
    }
    started.is_ok()
}

/// Stays until nothing is on record on any host that is reached.
pub(super) async fn run(
    config: &Config,
    planners: BTreeMap<String, Planner>,
) -> anyhow::Result<()> {
    // What ends the session or the process group of repmgrd's command does not concern this one.
    let _is_leader_already = rustix::process::setsid();
    let deadline = Instant::now() + LIMIT;
    let mut watched = Watched::start(config, planners, Identities::new())?;
    watched.look(deadline).await;
    let settled = |known: &Known| known.values().all(|status| !status.on_record);
    watched.until(deadline, settled).await;
    watched.stop(deadline).await;
    Ok(())
}
