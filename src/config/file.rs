//! Reads `repoint.toml`: decides which texts are a [`Config`], and notes everything that is wrong.
//!
//! Pure: the caller reads the file, and whether templates and directories exist is checked by who
//! uses them. What the file leaves out comes from a [`Base`], which may be a `repmgr.conf`. The
//! keys of the top level are here, those of `[[node]]` in `nodes`, those of `[[pgbouncer]]` in
//! `pgbouncers`; types and places are taken care of by `reader`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::base::{
    Base, INTERVAL_MAX, MONITOR_INTERVAL_MIN, NAME_BYTES_MAX, RECONNECT_ATTEMPTS_MAX,
    SQL_INTEGER_MAX,
};
use super::event_names::EVENT_NAMES;
use super::problem::{Problems, quoted};
use super::reader::{Report, Table, Value, all};
use super::repmgr_conf::RepmgrConf;
use super::suggest::nearest;
use super::{
    Config, Drift, Hook, Monitoring, NodeId, Reconciliation, Replication, ReplicationType,
};
use crate::conninfo::Conninfo;

mod databases;
mod log;
mod nodes;
mod pgbouncers;
mod quorum;
mod ssh;
#[cfg(test)]
mod tests;

/// `bdr_failover`, and what repmgr says when a standby has become the primary.
const ACT_ON_DEFAULT: [&str; 4] = [
    "bdr_failover",
    "standby_promote",
    "repmgrd_failover_promote",
    "standby_switchover",
];
/// A shell alone needs some milliseconds to start.
const HOOK_TIMEOUT_MIN: Duration = Duration::from_millis(100);
const HOOK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Socket paths hold 107 bytes, and an SSH session's socket takes 52 of them below the directory.
const RUNTIME_DIRECTORY_BYTES_MAX: usize = 48;

/// Reads the text of a configuration file; `path` is only named in problems.
///
/// # Errors
/// With everything that is wrong, by line; or with the first place that is not TOML.
pub fn parse(path: &Path, text: &str) -> Result<Config, Problems> {
    parse_over(path, text, None)
}

/// As [`parse`], with what a `repmgr.conf` says as the defaults: a key of the text wins over it. An
/// empty text gives what the `repmgr.conf` alone means.
///
/// # Errors
/// As [`parse`].
pub fn parse_over(
    path: &Path,
    text: &str,
    repmgr_conf: Option<&RepmgrConf>,
) -> Result<Config, Problems> {
    let report = Report::new(path, text);
    let config = match DeTable::parse(text) {
        Ok(document) => {
            let mut top = Table::root(&report, document.get_ref());
            let config = config(&mut top, repmgr_conf);
            top.finish();
            config
        }
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            // Only the message: the error's own text shows the line, which may hold a password.
            report.add(offset, "", format!("not valid TOML: {}", error.message()));
            None
        }
    };
    report.finish(config)
}

/// The file that the key `repmgr_conf` names, for who has to read it before [`parse_over`]. Nothing
/// when there is something wrong with the key: that is for [`parse_over`] to say.
#[must_use]
pub fn repmgr_conf_of(text: &str) -> Option<PathBuf> {
    let document = DeTable::parse(text).ok()?;
    let path = document.get_ref().get("repmgr_conf")?.get_ref().as_str()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// Asks for every key, whatever is wrong with the others.
fn config(top: &mut Table<'_>, repmgr_conf: Option<&RepmgrConf>) -> Option<Config> {
    let base = repmgr_conf.map_or_else(Base::default, |conf| conf.base.clone());
    let named = named_repmgr_conf(top, repmgr_conf);
    let types = replication(top, base.replication_type);
    let nodes = nodes::read(top, base.node.as_ref(), types.map(|(kind, _)| kind));
    let monitoring = monitoring(top, &base.monitoring);
    let reconciliation = reconciliation(top);
    let hook = hook(top, &base);
    let act_on = top.get("act_on").map_or_else(
        || Some(ACT_ON_DEFAULT.map(str::to_owned).to_vec()),
        |value| events(&value),
    );
    let log = log::read(top, &base.log);
    let pid_file = optional_path(top, "pid_file", base.pid_file.as_ref());
    let record = nodes::record_details(top, &base.record);
    let runtime_directory = runtime_directory(top);
    let pgbouncers = pgbouncers::read(top, nodes.as_ref());
    let agreement = quorum::read(top, pgbouncers.as_ref());
    let (nodes, (replication_type, replication)) = (nodes?, types?);
    named?;
    Some(Config {
        node_id: nodes.local,
        nodes: nodes.all,
        peers: nodes.peers,
        record: record?,
        act_on: act_on?,
        log: log?,
        pid_file: pid_file?,
        monitoring: monitoring?,
        agreement: agreement?,
        reconciliation: reconciliation?,
        replication_type,
        replication,
        hook: hook?,
        pgbouncers: pgbouncers?,
        runtime_directory: runtime_directory?,
    })
}

/// The caller has read the file that the key names; it must be the one.
fn named_repmgr_conf(top: &mut Table<'_>, read: Option<&RepmgrConf>) -> Option<()> {
    let Some(value) = top.get("repmgr_conf") else {
        return Some(());
    };
    let named = absolute(&value)?;
    match read {
        Some(read) if read.file == named => Some(()),
        Some(read) => {
            let file = read.file.display().to_string();
            value.problem(format!(
                "{} names this file in `repoint_pgbouncers`; name it here, or leave the key out",
                quoted(&file)
            ));
            None
        }
        None => {
            value.problem("the file that it names was not read");
            None
        }
    }
}

fn monitoring(top: &mut Table<'_>, base: &Monitoring) -> Option<Monitoring> {
    let interval = top.get("monitor_interval");
    let interval_secs = top.get("monitor_interval_secs");
    if let (Some(interval), Some(secs)) = (&interval, &interval_secs) {
        let line = interval.line();
        secs.problem(format!(
            "the same option as `monitor_interval` on line {line}; keep one"
        ));
    }
    let monitor_interval = [interval, interval_secs]
        .into_iter()
        .flatten()
        .map(|value| value.duration(MONITOR_INTERVAL_MIN..=INTERVAL_MAX))
        .reduce(|first, second| first.and(second))
        .unwrap_or(Some(base.monitor_interval));
    let reconnect_attempts = top
        .get("reconnect_attempts")
        .map_or(Some(base.reconnect_attempts), |v| {
            v.integer(0..=RECONNECT_ATTEMPTS_MAX)
        });
    let reconnect_interval = top
        .get("reconnect_interval")
        .map_or(Some(base.reconnect_interval), |v| {
            v.duration(Duration::ZERO..=INTERVAL_MAX)
        });
    let recovery_timeout = top
        .get("bdr_recovery_timeout")
        .map_or(Some(base.recovery_timeout), |v| {
            v.duration(Duration::ZERO..=INTERVAL_MAX)
        });
    let local_only = top
        .get("bdr_local_monitoring_only")
        .map_or(Some(base.local_only), |v| v.boolean());
    Some(Monitoring {
        monitor_interval: monitor_interval?,
        reconnect_attempts: reconnect_attempts?,
        reconnect_interval: reconnect_interval?,
        recovery_timeout: recovery_timeout?,
        local_only: local_only?,
    })
}

/// No shorter than a look takes on a slow host; no option of repmgr's is like it.
fn reconciliation(top: &mut Table<'_>) -> Option<Reconciliation> {
    const DEFAULT: Duration = Duration::from_secs(30);
    const SHORTEST: Duration = Duration::from_secs(1);
    let interval = top
        .get("reconcile_interval")
        .map_or(Some(DEFAULT), |v| v.duration(SHORTEST..=INTERVAL_MAX));
    let drift = top.get("drift").map_or(Some(Drift::default()), |value| {
        let words = ["repair", "report"];
        match value.word(&words, "write \"repair\" or \"report\"")? {
            "report" => Some(Drift::Report),
            _ => Some(Drift::Repair),
        }
    });
    Some(Reconciliation {
        interval: interval?,
        drift: drift?,
    })
}

/// The kind of replication and, for an active-active pair, its adapter.
fn replication(
    top: &mut Table<'_>,
    base: ReplicationType,
) -> Option<(ReplicationType, Option<Replication>)> {
    let kind = top.get("replication_type").map_or(Some(base), |value| {
        let otherwise = "write \"bdr\" (active-active) or \"physical\" (streaming)";
        Some(match value.word(&["bdr", "physical"], otherwise)? {
            "physical" => ReplicationType::Physical,
            _ => ReplicationType::Bdr,
        })
    });
    let adapter = top.get("replication").map_or(Some(None), |value| {
        let otherwise = "write \"bdr\", \"pgactive\" or \"pglogical\", or leave the key out \
                         to have it found from the installed extensions";
        let word = value.word(&["bdr", "pgactive", "pglogical"], otherwise)?;
        Some(Some(match word {
            "bdr" => Replication::Bdr,
            "pgactive" => Replication::Pgactive,
            _ => Replication::Pglogical,
        }))
    });
    Some((kind?, adapter?))
}

fn hook(top: &mut Table<'_>, base: &Base) -> Option<Hook> {
    let command = top
        .get("event_notification_command")
        .map_or_else(|| Some(base.command.clone()), |v| command(&v));
    let events = top
        .get("event_notifications")
        .map_or_else(|| Some(base.events.clone()), |v| events(&v));
    let timeout = top
        .get("event_notification_timeout")
        .map_or(Some(HOOK_TIMEOUT_DEFAULT), |v| {
            v.duration(HOOK_TIMEOUT_MIN..=INTERVAL_MAX)
        });
    let pass_password = top
        .get("event_notification_password")
        .map_or(Some(true), |v| v.boolean());
    Some(Hook {
        command: command?,
        events: events?,
        timeout: timeout?,
        pass_password: pass_password?,
    })
}

fn command(value: &Value<'_>) -> Option<Option<String>> {
    let command = value.string()?;
    let message = if command.trim().is_empty() {
        "empty; write a command, or leave the key out for no hook"
    } else if command.contains('\0') {
        "holds a NUL character, which no command can"
    } else {
        return Some(Some(command.to_owned()));
    };
    value.problem(message);
    None
}

/// The filter, as an array or as repmgr writes it: with commas, where blanks do not matter.
fn events(value: &Value<'_>) -> Option<Vec<String>> {
    if value.raw().is_str() {
        return events_of(value);
    }
    let lists = value.items("an array of event types, or a string with commas between them")?;
    all(lists.iter().map(events_of)).map(|lists: Vec<Vec<String>>| lists.concat())
}

fn events_of(value: &Value<'_>) -> Option<Vec<String>> {
    let text: String = value
        .string()?
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    all(text
        .split(',')
        .filter(|event| !event.is_empty())
        .map(|event| known_event(value, event)))
}

fn known_event(value: &Value<'_>, event: &str) -> Option<String> {
    if EVENT_NAMES.contains(&event) {
        return Some(event.to_owned());
    }
    let what_to_do = match nearest(event, &EVENT_NAMES) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "leave the key out for every event".to_owned(),
    };
    value.problem(format!("{} is no event type; {what_to_do}", quoted(event)));
    None
}

fn runtime_directory(top: &mut Table<'_>) -> Option<PathBuf> {
    let directory = directory(top, "runtime_directory", "/run/repoint")?;
    let bytes = directory.as_os_str().len();
    if bytes <= RUNTIME_DIRECTORY_BYTES_MAX {
        return Some(directory);
    }
    top.get("runtime_directory")?.problem(format!(
        "{bytes} bytes are too long, because paths of sockets are limited; \
         use at most {RUNTIME_DIRECTORY_BYTES_MAX}"
    ));
    None
}

fn directory(top: &mut Table<'_>, name: &'static str, default: &str) -> Option<PathBuf> {
    match top.get(name) {
        None => Some(PathBuf::from(default)),
        Some(value) => absolute(&value),
    }
}

fn optional_path(
    top: &mut Table<'_>,
    name: &'static str,
    base: Option<&PathBuf>,
) -> Option<Option<PathBuf>> {
    match top.get(name) {
        None => Some(base.cloned()),
        Some(value) => absolute(&value).map(Some),
    }
}

/// A path that does not depend on the working directory.
fn absolute(value: &Value<'_>) -> Option<PathBuf> {
    let text = value.string()?;
    if text.chars().any(char::is_control) {
        value.problem("a path must not hold control characters");
    } else if !text.starts_with('/') {
        value.problem(format!(
            "{} is relative; write a path that begins with `/`",
            quoted(text)
        ));
    } else {
        return Some(PathBuf::from(text));
    }
    None
}

fn node_id_of(value: &Value<'_>) -> Option<NodeId> {
    value.integer(1..=SQL_INTEGER_MAX).map(NodeId)
}

/// A connection string; nothing of it is ever shown.
fn conninfo_of(value: &Value<'_>) -> Option<Conninfo> {
    let text = value.string()?;
    match Conninfo::parse(text).and_then(|conninfo| conninfo.check().map(|()| conninfo)) {
        Ok(conninfo) => Some(conninfo),
        Err(error) => {
            value.problem(format!("not a connection string of libpq: {error}"));
            None
        }
    }
}

/// What PgBouncer needs of a node's connection string and does not find in this one.
pub(super) fn lacking(conninfo: &Conninfo) -> impl Iterator<Item = &'static str> {
    let host = conninfo.get("host").or_else(|| conninfo.get("hostaddr"));
    let host = host.is_none();
    let dbname = conninfo.get("dbname").is_none();
    let host = host.then_some("no `host` or `hostaddr`; PgBouncer needs one");
    let dbname = dbname.then_some("no `dbname`; PgBouncer needs one");
    host.into_iter().chain(dbname)
}

/// A keyword's value unless it is empty, which means the same as absent to libpq.
fn keyword<'c>(conninfo: &'c Conninfo, name: &str) -> Option<&'c str> {
    conninfo.get(name).filter(|value| !value.is_empty())
}

/// Host, address and port: what tells one server from another.
fn server(conninfo: &Conninfo) -> [&str; 3] {
    let get = |name| keyword(conninfo, name).unwrap_or_default();
    [
        get("host"),
        get("hostaddr"),
        keyword(conninfo, "port").unwrap_or("5432"),
    ]
}
