//! Writes what a `repmgr.conf` says as a `repoint.toml` that means the same.
//!
//! Decides the text; who reads and prints is `cli::config`.

use std::fmt::Write as _;
use std::time::Duration;

use toml::de::DeTable;

use super::{RepmgrConf, Role};
use crate::config::base::Base;
use crate::config::event_names::EVENT_NAMES;
use crate::config::{LogLevel, Node};

/// What a PgBouncer is described by, for who has none yet.
const EXAMPLE: &str = r#"
# Each PgBouncer, with its entries: take the `#` away and put yours in.
#[[pgbouncer]]
#name = "pgb1"
#ssh = "repoint@10.0.0.21"               # or: local = true
#console = "host=10.0.0.21 port=6432 user=repoint dbname=pgbouncer"
#file = "/etc/pgbouncer/repoint/databases.ini"
#
#[[pgbouncer.database]]
#name = "app"
#dbname = "bdrtest"
"#;

/// The text; `pgbouncers` is that of the file which `repoint_pgbouncers` names, whose keys win and
/// which follows unchanged.
#[must_use]
pub fn to_toml(conf: &RepmgrConf, pgbouncers: Option<&str>) -> String {
    let taken = pgbouncers.map(keys_of).unwrap_or_default();
    let mut writer = Writer {
        out: String::new(),
        taken,
    };
    let file = conf.file.display().to_string();
    writer.comment(&format!("From {file}, read in {}.", conf.dialect));
    writer.node(conf);
    writer.monitoring(conf);
    writer.hook(&conf.base);
    writer.log(&conf.base);
    writer.unused(conf);
    let mut out = writer.out;
    match pgbouncers {
        Some(text) => {
            out.push_str("\n# The file that repoint_pgbouncers names.\n");
            out.push_str(text);
        }
        None => out.push_str(EXAMPLE),
    }
    out
}

/// The keys of the top level; `node_id` too, if a `[[node]]` is the one of this host.
fn keys_of(text: &str) -> Vec<String> {
    let Ok(document) = DeTable::parse(text) else {
        return Vec::new();
    };
    let keys = document.get_ref().keys();
    keys.map(|key| key.get_ref().to_string()).collect()
}

struct Writer {
    out: String,
    /// Keys that the text which follows has itself.
    taken: Vec<String>,
}

impl Writer {
    fn node(&mut self, conf: &RepmgrConf) {
        self.blank();
        let Some(Node {
            node_id,
            node_name,
            conninfo,
        }) = &conf.base.node
        else {
            return;
        };
        self.key("node_id", &node_id.to_string());
        // Listed nodes describe this host's as well.
        if !self.taken.iter().any(|key| key == "node") {
            self.key("node_name", &quote(node_name));
            if conninfo.original_without_password() != conninfo.original() {
                self.comment(
                    "The password is better kept in ~/.pgpass (mode 0600) of the user that runs \
                     repoint.",
                );
            }
            self.key("conninfo", &quote(conninfo.original()));
        }
        let record = &conf.base.record;
        self.key(
            "replication_type",
            &quote(conf.base.replication_type.word()),
        );
        if given(conf, "location") {
            self.key("location", &quote(&record.location));
        }
        if given(conf, "priority") {
            self.key("priority", &record.priority.to_string());
        }
    }

    fn monitoring(&mut self, conf: &RepmgrConf) {
        let (monitoring, usual) = (&conf.base.monitoring, Base::default().monitoring);
        self.blank();
        let times = [
            (
                "monitor_interval_secs",
                monitoring.monitor_interval,
                usual.monitor_interval,
            ),
            (
                "reconnect_interval",
                monitoring.reconnect_interval,
                usual.reconnect_interval,
            ),
            (
                "bdr_recovery_timeout",
                monitoring.recovery_timeout,
                usual.recovery_timeout,
            ),
        ];
        if !self.taken.iter().any(|key| key == "monitor_interval") {
            self.time(conf, times[0]);
        }
        if given(conf, "reconnect_attempts") {
            self.key(
                "reconnect_attempts",
                &monitoring.reconnect_attempts.to_string(),
            );
        }
        self.time(conf, times[1]);
        self.time(conf, times[2]);
        if given(conf, "bdr_local_monitoring_only") {
            self.key(
                "bdr_local_monitoring_only",
                &monitoring.local_only.to_string(),
            );
        }
    }

    /// Also when it was not given, where the defaults differ.
    fn time(&mut self, conf: &RepmgrConf, (name, value, usual): (&str, Duration, Duration)) {
        let seconds = value.as_secs().to_string();
        if given(conf, name) {
            self.key(name, &seconds);
        } else if value != usual {
            self.key(name, &format!("{seconds}  # repmgr's default"));
        }
    }

    fn hook(&mut self, base: &Base) {
        let known = |event: &&String| EVENT_NAMES.contains(&event.as_str());
        let events: Vec<String> = base
            .events
            .iter()
            .filter(known)
            .map(|event| quote(event))
            .collect();
        // An empty list would be every event, and a list of what never happens is none.
        let never = events.is_empty() && !base.events.is_empty();
        self.blank();
        match &base.command {
            Some(_) if never => self.comment(
                "event_notification_command is left out: no event in event_notifications exists.",
            ),
            Some(command) => self.key("event_notification_command", &quote(command)),
            None => {}
        }
        if !events.is_empty() {
            self.key("event_notifications", &format!("[{}]", events.join(", ")));
        }
    }

    fn log(&mut self, base: &Base) {
        let (log, usual) = (&base.log, Base::default().log);
        self.blank();
        if log.level != usual.level {
            self.key("log_level", &quote(level(log.level)));
        }
        if let Some(file) = &log.file {
            self.key("log_file", &quote(&file.display().to_string()));
        }
        if log.status_interval != usual.status_interval {
            let seconds = log.status_interval.as_secs();
            self.key("log_status_interval", &seconds.to_string());
        }
        if let Some(file) = &base.pid_file {
            self.key("pid_file", &quote(&file.display().to_string()));
        }
    }

    /// What is not taken over, and why.
    fn unused(&mut self, conf: &RepmgrConf) {
        let mut reasons = Vec::new();
        for given in &conf.given {
            let reason = match given.role {
                Role::Read if given.name == "log_facility" => {
                    "the log goes to standard error, which the journal takes".to_owned()
                }
                Role::Read => continue,
                Role::Unused(reason) => reason.to_owned(),
                Role::Renamed("") => "repmgr 3 only".to_owned(),
                Role::Renamed(new) => format!("repmgr 3's name of {new}; repmgr ignores it"),
                Role::Unknown => "unknown".to_owned(),
            };
            reasons.push((given.name.as_str(), reason));
        }
        if reasons.is_empty() {
            return;
        }
        self.blank();
        self.comment("Without meaning here:");
        for (name, reason) in reasons {
            self.comment(&format!("  {name}: {reason}"));
        }
    }

    fn key(&mut self, name: &str, value: &str) {
        if !self.taken.iter().any(|taken| taken == name) {
            let _ = writeln!(self.out, "{name} = {value}");
        }
    }

    /// Names come from a file: whatever they hold, a comment stays on its line.
    fn comment(&mut self, text: &str) {
        let plain = |c: char| if c.is_control() { '?' } else { c };
        let text: String = text.chars().map(plain).collect();
        let _ = writeln!(self.out, "# {text}");
    }

    /// A blank line, but never two.
    fn blank(&mut self) {
        if !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }
}

fn given(conf: &RepmgrConf, name: &str) -> bool {
    conf.given.iter().any(|given| given.name == name)
}

const fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Notice => "notice",
        LogLevel::Warning => "warning",
        LogLevel::Error => "error",
    }
}

/// A string of TOML: as it stands between single quotes when it can, else with escapes.
fn quote(text: &str) -> String {
    let special = |c: char| c.is_control() || c == '"' || c == '\\';
    if !text.chars().any(special) {
        return format!("\"{text}\"");
    }
    if !text.chars().any(|c| c.is_control() || c == '\'') {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
