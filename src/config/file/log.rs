//! What the daemon logs, and where to: `log_format`, `log_level`, `log_file`,
//! `log_status_interval`.

use std::time::Duration;

use super::optional_path;
use crate::config::base::STATUS_INTERVAL_MAX;
use crate::config::reader::{Table, Value};
use crate::config::{Log, LogFormat, LogLevel};

/// Reads the keys of the log; what is not there is as in `base`.
pub(super) fn read(top: &mut Table<'_>, base: &Log) -> Option<Log> {
    let format = top
        .get("log_format")
        .map_or(Some(base.format), |value| format(&value));
    let level = top
        .get("log_level")
        .map_or(Some(base.level), |value| level(&value));
    let file = optional_path(top, "log_file", base.file.as_ref());
    let status_interval = top
        .get("log_status_interval")
        .map_or(Some(base.status_interval), |value| {
            value.duration(Duration::ZERO..=STATUS_INTERVAL_MAX)
        });
    Some(Log {
        format: format?,
        level: level?,
        file: file?,
        status_interval: status_interval?,
    })
}

fn format(value: &Value<'_>) -> Option<LogFormat> {
    let words = ["human", "repmgr", "json"];
    let word = value.word(&words, "write \"human\", \"repmgr\" or \"json\"")?;
    Some(match word {
        "repmgr" => LogFormat::Repmgr,
        "json" => LogFormat::Json,
        _ => LogFormat::Human,
    })
}

fn level(value: &Value<'_>) -> Option<LogLevel> {
    let words = ["debug", "info", "notice", "warning", "error"];
    let otherwise = "write \"debug\", \"info\", \"notice\", \"warning\" or \"error\"";
    Some(match value.word(&words, otherwise)? {
        "debug" => LogLevel::Debug,
        "notice" => LogLevel::Notice,
        "warning" => LogLevel::Warning,
        "error" => LogLevel::Error,
        _ => LogLevel::Info,
    })
}
