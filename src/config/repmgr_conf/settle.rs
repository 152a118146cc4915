//! What the options of a `repmgr.conf` mean: types, ranges, what is required, and what is only odd.
//!
//! Stricter than repmgr where it guesses (`5s` for 5) and as lenient where it warns (an unknown
//! option). A later value of an option goes over an earlier one; `event_notifications` grows.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::gather::Gathered;
use super::options::{OPTIONS, role};
use super::{Entry, Given, Role, problem};
use crate::config::base::{
    Base, INTERVAL_MAX, NAME_BYTES_MAX, RECONNECT_ATTEMPTS_MAX, SQL_INTEGER_MAX,
    STATUS_INTERVAL_MAX,
};
use crate::config::event_names::EVENT_NAMES;
use crate::config::file::lacking;
use crate::config::problem::{Problem, quoted};
use crate::config::suggest::nearest;
use crate::config::{LogLevel, Node, NodeId, ReplicationType};
use crate::conninfo::Conninfo;

/// What must be there, and how it is written.
const REQUIRED: [(&str, &str); 3] = [
    ("node_id", "node_id=1"),
    ("node_name", "node_name='…'"),
    (
        "conninfo",
        "conninfo='host=… dbname=… user=… connect_timeout=2'",
    ),
];

/// What was read, as far as it makes sense.
pub(super) struct Settled {
    /// Nothing when the node is not described.
    pub(super) base: Option<Base>,
    pub(super) pgbouncers: Option<PathBuf>,
    pub(super) given: Vec<Given>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// Reads all options of the file `path`.
pub(super) fn settle(path: &Path, gathered: Gathered) -> Settled {
    // A line or a file that could not be read may have held what is missing.
    let whole = gathered.problems.is_empty();
    let mut draft = Draft {
        problems: gathered.problems,
        base: Base::of_repmgr(),
        node_id: None,
        node_name: None,
        conninfo: None,
        pgbouncers: None,
        given: Vec::new(),
        warnings: Vec::new(),
    };
    for (file, entry) in &gathered.entries {
        draft.take(At { file, entry });
    }
    if whole {
        draft.require(path);
    }
    draft.settled()
}

/// An option and its place.
#[derive(Clone, Copy)]
struct At<'e> {
    file: &'e Path,
    entry: &'e Entry,
}

impl<'e> At<'e> {
    fn value(self) -> &'e str {
        &self.entry.value
    }

    fn note(self, message: impl Into<String>) -> Problem {
        problem(self.file, self.entry.line, &self.entry.name, message)
    }
}

struct Draft {
    base: Base,
    node_id: Option<NodeId>,
    node_name: Option<String>,
    conninfo: Option<Conninfo>,
    pgbouncers: Option<PathBuf>,
    given: Vec<Given>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Draft {
    fn take(&mut self, at: At<'_>) {
        let name = at.entry.name.as_str();
        let role = role(name);
        if !self.given.iter().any(|given| given.name == name) {
            let name = name.to_owned();
            self.given.push(Given { name, role });
        }
        match role {
            Role::Unknown => self.warn(at, unknown(name)),
            Role::Renamed("") => {
                self.warn(at, "an option of repmgr 3 that nothing replaces; ignored");
            }
            Role::Renamed(new) => {
                self.warn(
                    at,
                    format!("repmgr 3's name of `{new}`; ignored, write `{new}`"),
                );
            }
            // repmgr 5 takes many of them empty; here nothing depends on it.
            Role::Unused(_) if at.value().is_empty() => {}
            Role::Read if at.value().is_empty() && self.unset(name) => {}
            Role::Unused(_) | Role::Read => {
                let value = at.value();
                if value.trim().is_empty() {
                    self.refuse(at, "no value provided");
                } else if value.contains('\u{fffd}') {
                    self.refuse(at, "not valid UTF-8");
                } else if value.contains('\0') {
                    self.refuse(at, "holds a NUL character");
                } else if role == Role::Read {
                    self.read(at);
                } else if name == "replication_user" {
                    self.name(at);
                }
            }
        }
    }

    /// An option that repmgr 5 takes empty, as its sample file has it, is as if it were not given;
    /// `false`: it needs a value.
    fn unset(&mut self, name: &str) -> bool {
        let usual = Base::of_repmgr();
        match name {
            "location" => self.base.record.location = usual.record.location,
            "event_notification_command" => self.base.command = None,
            "log_level" => self.base.log.level = usual.log.level,
            "log_file" => self.base.log.file = None,
            "repmgrd_pid_file" => self.base.pid_file = None,
            "event_notifications" | "log_facility" => {}
            _ => return false,
        }
        self.given.retain(|given| given.name != name);
        true
    }

    /// Each option that means something here.
    fn read(&mut self, at: At<'_>) {
        match at.entry.name.as_str() {
            "node_id" => self.node_id = self.integer(at, 1..=SQL_INTEGER_MAX).map(NodeId),
            "node_name" => self.node_name = self.name(at),
            "conninfo" => self.conninfo = self.conninfo(at),
            "replication_type" => self.replication_type(at),
            "location" => self.base.record.location = at.value().to_owned(),
            "event_notification_command" => self.base.command = Some(at.value().to_owned()),
            "event_notifications" => self.events(at),
            "log_level" => self.log_level(at),
            "log_facility" => self.log_facility(at),
            "log_file" => self.base.log.file = self.path(at),
            "repmgrd_pid_file" => self.base.pid_file = self.path(at),
            "repoint_pgbouncers" => self.pgbouncers = self.path(at),
            "bdr_local_monitoring_only" => {
                if let Some(value) = self.boolean(at) {
                    self.base.monitoring.local_only = value;
                }
            }
            "priority" => {
                if let Some(value) = self.integer(at, 0..=SQL_INTEGER_MAX) {
                    self.base.record.priority = value;
                }
            }
            "reconnect_attempts" => {
                if let Some(value) = self.integer(at, 0..=RECONNECT_ATTEMPTS_MAX) {
                    self.base.monitoring.reconnect_attempts = value;
                }
            }
            _ => self.seconds(at),
        }
    }

    /// The options that are a time.
    fn seconds(&mut self, at: At<'_>) {
        let (least, most) = match at.entry.name.as_str() {
            "monitor_interval_secs" => (1, INTERVAL_MAX),
            "log_status_interval" => (0, STATUS_INTERVAL_MAX),
            _ => (0, INTERVAL_MAX),
        };
        let most = u32::try_from(most.as_secs()).unwrap_or(u32::MAX);
        let Some(seconds) = self.integer(at, least..=most) else {
            return;
        };
        let time = Duration::from_secs(seconds.into());
        let monitoring = &mut self.base.monitoring;
        match at.entry.name.as_str() {
            "monitor_interval_secs" => monitoring.monitor_interval = time,
            "reconnect_interval" => monitoring.reconnect_interval = time,
            "bdr_recovery_timeout" => monitoring.recovery_timeout = time,
            "log_status_interval" => self.base.log.status_interval = time,
            other => debug_assert!(false, "nobody reads {other}"),
        }
    }

    fn integer(&mut self, at: At<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let text = at.value().trim();
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            self.refuse(at, format!("{} is not a whole number", quoted(text)));
            return None;
        }
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let text = quoted(text);
            self.refuse(at, format!("must be from {least} to {most}, not {text}"));
        }
        number
    }

    fn boolean(&mut self, at: At<'_>) -> Option<bool> {
        match at.value().trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Some(true),
            "false" | "0" | "off" | "no" => Some(false),
            _ => {
                let value = quoted(at.value());
                self.refuse(
                    at,
                    format!("{value} is no boolean; write `true` or `false`"),
                );
                None
            }
        }
    }

    fn name(&mut self, at: At<'_>) -> Option<String> {
        let bytes = at.value().len();
        if bytes <= NAME_BYTES_MAX {
            return Some(at.value().to_owned());
        }
        let message = format!("{bytes} bytes long; a name has 1 to {NAME_BYTES_MAX} bytes");
        self.refuse(at, message);
        None
    }

    fn conninfo(&mut self, at: At<'_>) -> Option<Conninfo> {
        let parsed = Conninfo::parse(at.value());
        match parsed.and_then(|conninfo| conninfo.check().map(|()| conninfo)) {
            Ok(conninfo) => {
                let lacking: Vec<&str> = lacking(&conninfo).collect();
                for message in &lacking {
                    self.refuse(at, *message);
                }
                lacking.is_empty().then_some(conninfo)
            }
            Err(error) => {
                self.refuse(at, format!("not a connection string of libpq: {error}"));
                None
            }
        }
    }

    fn replication_type(&mut self, at: At<'_>) {
        match at.value() {
            "physical" => self.base.replication_type = ReplicationType::Physical,
            "bdr" => self.base.replication_type = ReplicationType::Bdr,
            other => {
                let other = quoted(other);
                self.refuse(
                    at,
                    format!("{other} is not known; write `physical` or `bdr`"),
                );
            }
        }
    }

    fn events(&mut self, at: At<'_>) {
        let text = at.value().replace(char::is_whitespace, "");
        for event in text.split(',').filter(|event| !event.is_empty()) {
            if !EVENT_NAMES.contains(&event) {
                let meant = nearest(event, &EVENT_NAMES)
                    .map(|meant| format!("; did you mean `{meant}`?"))
                    .unwrap_or_default();
                let event = quoted(event);
                self.warn(
                    at,
                    format!("{event} is no event type and never happens{meant}"),
                );
            }
            self.base.events.push(event.to_owned());
        }
    }

    fn log_level(&mut self, at: At<'_>) {
        let level = match at.value().trim().to_ascii_uppercase().as_str() {
            "DEBUG" => LogLevel::Debug,
            "INFO" => LogLevel::Info,
            "NOTICE" => LogLevel::Notice,
            "WARNING" => LogLevel::Warning,
            "ERROR" | "ALERT" | "CRIT" | "EMERG" => LogLevel::Error,
            _ => {
                let value = quoted(at.value());
                return self.warn(at, format!("{value} is no level; it stays `INFO`"));
            }
        };
        self.base.log.level = level;
    }

    fn log_facility(&mut self, at: At<'_>) {
        let value = at.value();
        if value == "STDERR" {
            return;
        }
        let syslog = [
            "USER", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5",
        ];
        if syslog.contains(&value) || ["LOCAL6", "LOCAL7"].contains(&value) {
            self.warn(
                at,
                "the log goes to standard error, from where the journal takes it, \
                 and not to syslog",
            );
        } else {
            let value = quoted(value);
            self.warn(
                at,
                format!("{value} is no facility; the log goes to standard error"),
            );
        }
    }

    fn path(&mut self, at: At<'_>) -> Option<PathBuf> {
        let text = at.value();
        if text.chars().any(char::is_control) {
            self.refuse(at, "a path must not hold control characters");
        } else if !text.starts_with('/') {
            let text = quoted(text);
            self.refuse(
                at,
                format!("{text} is relative; write a path that begins with `/`"),
            );
        } else {
            return Some(PathBuf::from(text));
        }
        None
    }

    fn require(&mut self, path: &Path) {
        for (name, example) in REQUIRED {
            if !self.given.iter().any(|given| given.name == name) {
                let message = format!("missing; write `{example}`");
                self.problems.push(problem(path, 1, name, message));
            }
        }
    }

    fn settled(self) -> Settled {
        let node = self.node_id.zip(self.node_name).zip(self.conninfo);
        let base = node.map(|((node_id, node_name), conninfo)| Base {
            node: Some(Node {
                node_id,
                node_name,
                conninfo,
            }),
            ..self.base
        });
        Settled {
            base,
            pgbouncers: self.pgbouncers,
            given: self.given,
            problems: self.problems,
            warnings: self.warnings,
        }
    }

    fn refuse(&mut self, at: At<'_>, message: impl Into<String>) {
        self.problems.push(at.note(message));
    }

    fn warn(&mut self, at: At<'_>, message: impl Into<String>) {
        self.warnings.push(at.note(message));
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = OPTIONS
        .iter()
        .filter(|(_, role)| !matches!(role, Role::Renamed(_)))
        .map(|(name, _)| *name)
        .collect();
    let meant = nearest(name, &known).map(|known| format!("; did you mean `{known}`?"));
    format!("unknown option, ignored{}", meant.unwrap_or_default())
}
