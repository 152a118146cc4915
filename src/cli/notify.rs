//! `repoint notify`: what a real repmgrd calls, in place of `bdr-pgbouncer.sh` or of a script of
//! the operator's.
//!
//! What an event leads to is `core::notification`'s, who is the primary `core::primary`'s. Here the
//! facts for both are collected; [`course`] carries out what follows.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::say::Voice;
use super::{load, print};
use crate::core::notification::{Meaning, NotificationError};

mod again;
mod arguments;
mod course;
mod failover;
mod members;
mod promotion;
mod settle;

pub(super) use arguments::Arguments;
use course::Time;

/// The lines for `repmgr.conf`, and the exit statuses.
pub(super) const ABOUT: &str = "\
Redirect the PgBouncers because repmgrd says so: name this as its event_notification_command.

In repmgr.conf, one of:

event_notification_command='/usr/bin/repoint -f /etc/repoint/repoint.toml notify %n %e %s \"%c\" \
\"%a\"'

event_notification_command='/usr/bin/repoint -f /etc/repoint/repoint.toml notify --node-id %n \
--event %e --success %s --conninfo \"%c\" --node-name \"%a\" --timestamp \"%t\" --details \"%d\" \
--primary-id \"%p\"'

Acts on bdr_failover, standby_promote, repmgrd_failover_promote and standby_switchover, or on what \
act_on names. The same event twice does nothing the second time. What could not be done is done \
by the next call, or by `notify --again`, which is safe to run at any time, from a timer as well.

Prints one line for each PgBouncer, and an error to standard error, which repmgrd puts into its \
log.

Exit status: 0 when every PgBouncer serves the node or the event is ignored, else 1.";

/// As it is meant: some are optional only because repmgr may leave them out.
pub(super) const USAGE: &str = "\
repoint notify [OPTIONS] <NODE_ID> <EVENT> <SUCCESS> [NEXT_CONNINFO] [NEXT_NODE_NAME]
       repoint notify [OPTIONS] --node-id <%n> --event <%e> --success <%s> …
       repoint notify [OPTIONS] --again";

pub(super) async fn run(file: Option<&Path>, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let limit = Duration::try_from_secs_f64(arguments.timeout).context("--timeout")?;
    let deadline = Instant::now().checked_add(limit);
    let deadline = deadline.context("--timeout: the number is too large")?;
    let time = Time { limit, deadline };
    let told = arguments.told().context("nothing was changed")?;
    if !arguments.again && !arguments.settle && told.event.is_empty() {
        return Err(NotificationError::NoEvent).context("nothing was changed");
    }
    let path = load::find(file)?;
    let loaded = load::load(&path)?;
    loaded.warn(Voice::default());
    let (config, planners) = (loaded.config, loaded.planners);
    if arguments.settle {
        settle::run(&config, planners).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let meaning = match (arguments.again, told.event.is_empty()) {
        (true, true) => Meaning::Look,
        (true, false) => bail!("nothing was changed: --again takes no event"),
        (false, _) => {
            let meaning = told.meaning(&config.act_on);
            meaning.context("nothing was changed")?
        }
    };
    let course = match meaning {
        Meaning::Ignored(why) => {
            print::line(&format!("ignored: {why}"));
            return Ok(ExitCode::SUCCESS);
        }
        Meaning::Look => {
            again::run(config, &path, time).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Meaning::Failover { failed } => failover::prepare(config, failed, &told, deadline).await,
        Meaning::Promotion { node, before } => {
            promotion::promoted(&config, node, before, limit, deadline).await
        }
    };
    let course = course.context("nothing was changed")?;
    course.take(&path, time).await?;
    Ok(ExitCode::SUCCESS)
}
