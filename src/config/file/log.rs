//! What the daemon logs, and where to: `log_format`, `log_level`, `log_file`,
//! `log_status_interval`.

use std::time::Duration;

use super::{HOUR, optional_path};
use crate::config::reader::{Table, Value};
use crate::config::{Log, LogFormat, LogLevel};

const STATUS_INTERVAL_DEFAULT: Duration = Duration::from_secs(300);
const DAY: Duration = HOUR.saturating_mul(24);

/// Reads the keys of the log.
pub(super) fn read(top: &mut Table<'_>) -> Option<Log> {
    let format = top
        .get("log_format")
        .map_or(Some(LogFormat::Human), |value| format(&value));
    let level = top
        .get("log_level")
        .map_or(Some(LogLevel::Info), |value| level(&value));
    let file = optional_path(top, "log_file");
    let status_interval = top
        .get("log_status_interval")
        .map_or(Some(STATUS_INTERVAL_DEFAULT), |value| {
            value.duration(Duration::ZERO..=DAY)
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
