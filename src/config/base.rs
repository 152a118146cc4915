//! What holds where a `repoint.toml` says nothing: the defaults of that file, or what a
//! `repmgr.conf` says.

use std::path::PathBuf;
use std::time::Duration;

use super::{Log, LogFormat, LogLevel, Monitoring, Node, RecordDetails, ReplicationType};

/// Below this a probe would begin before the last one can have ended.
pub(super) const MONITOR_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Every time between two looks at a node.
pub(super) const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// More tries than this would hide that a node is down.
pub(super) const RECONNECT_ATTEMPTS_MAX: u32 = 1000;
/// Without a sign of life for longer than this, nobody would call it one.
pub(super) const STATUS_INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// `node_id` and `priority` are an `integer` in `repmgr.nodes`.
pub(super) const SQL_INTEGER_MAX: u32 = i32::MAX.unsigned_abs();
/// PostgreSQL's limit for names.
pub(super) const NAME_BYTES_MAX: usize = 63;

/// The values of the keys that a `repmgr.conf` has as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// This host's node.
    pub node: Option<Node>,
    /// What is watched.
    pub replication_type: ReplicationType,
    /// `location` and `priority`.
    pub record: RecordDetails,
    /// Intervals and attempts.
    pub monitoring: Monitoring,
    /// `event_notification_command`.
    pub command: Option<String>,
    /// `event_notifications`.
    pub events: Vec<String>,
    /// The daemon's log.
    pub log: Log,
    /// `pid_file`.
    pub pid_file: Option<PathBuf>,
}

impl Default for Base {
    /// The defaults of `repoint.toml`.
    fn default() -> Self {
        Self {
            node: None,
            replication_type: ReplicationType::Bdr,
            record: RecordDetails {
                location: "default".to_owned(),
                priority: 100,
            },
            monitoring: Monitoring {
                monitor_interval: Duration::from_secs(5),
                reconnect_attempts: 6,
                reconnect_interval: Duration::from_secs(5),
                recovery_timeout: Duration::from_secs(30),
                local_only: false,
            },
            command: None,
            events: Vec::new(),
            log: Log {
                format: LogFormat::Human,
                level: LogLevel::Info,
                file: None,
                status_interval: Duration::from_secs(300),
            },
            pid_file: None,
        }
    }
}

impl Base {
    /// The defaults of a `repmgr.conf`, as repmgr has them.
    #[must_use]
    pub fn of_repmgr() -> Self {
        let base = Self::default();
        Self {
            replication_type: ReplicationType::Physical,
            monitoring: Monitoring {
                monitor_interval: Duration::from_secs(2),
                reconnect_interval: Duration::from_secs(10),
                ..base.monitoring
            },
            ..base
        }
    }
}
