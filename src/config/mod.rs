//! The configuration: what an operator wrote, checked as a whole before anything starts.
//!
//! [`Config`] is the validated form that the rest of the program believes; [`mod@file`] reads it
//! from TOML, [`repmgr_conf`] from a `repmgr.conf`, and both report every problem of a file at
//! once, with line and key. Nothing here connects anywhere; the conninfo strings are parsed but not
//! resolved (see [`crate::conninfo`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::conninfo::Conninfo;

pub mod base;
pub mod duration;
pub mod event_names;
pub mod file;
pub mod problem;
mod quorum;
mod reader;
pub mod repmgr_conf;
mod suggest;

pub use quorum::{Agreement, Quorum, WitnessHost};

/// Everything that one agent needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The node of this host, one of [`Config::nodes`].
    pub node_id: NodeId,
    /// All nodes, by id: two of them when they are active-active. This host's alone until the
    /// others were read from `repmgr.nodes` ([`Config::peers`]).
    pub nodes: BTreeMap<NodeId, Node>,
    /// Where the other nodes are described.
    pub peers: Peers,
    /// This host's `location` and `priority`, which repmgr stores and shows.
    pub record: RecordDetails,
    /// How nodes are watched.
    pub monitoring: Monitoring,
    /// Who has to agree before traffic is moved.
    pub agreement: Agreement,
    /// How PgBouncers are kept to what was decided.
    pub reconciliation: Reconciliation,
    /// Active-active, or streaming replication that repmgrd watches.
    pub replication_type: ReplicationType,
    /// Which replication adapter is meant; `None`: found from `pg_extension`.
    pub replication: Option<Replication>,
    /// The generic hook.
    pub hook: Hook,
    /// The PgBouncers, by name.
    pub pgbouncers: BTreeMap<String, PgBouncer>,
    /// The events of repmgr that `notify` acts on.
    pub act_on: Vec<String>,
    /// What the daemon logs, and where to.
    pub log: Log,
    /// Where the daemon writes its process id, and holds a lock; `None`: nowhere.
    pub pid_file: Option<PathBuf>,
    /// Where the sockets of SSH sessions live; short, because socket paths have 107 bytes at most.
    pub runtime_directory: PathBuf,
}

impl Config {
    /// This host's node.
    ///
    /// # Panics
    /// Never for a configuration that was read: it holds its own node.
    #[must_use]
    pub fn local(&self) -> &Node {
        self.nodes
            .get(&self.node_id)
            .expect("a configuration holds its own node")
    }
}

/// Where the nodes of the other hosts are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// In the configuration.
    Listed,
    /// In `repmgr.nodes`, where `bdr register` wrote them.
    Registered,
}

/// What repmgr keeps in a node's row, and only shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordDetails {
    /// repmgr's `location`; `default` unless told.
    pub location: String,
    /// repmgr's `priority`; 100 unless told.
    pub priority: u32,
}

/// What the daemon does when nothing happens: comparing what PgBouncers serve with what they
/// should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconciliation {
    /// How often every PgBouncer's file and settings are read (30 s unless told).
    pub interval: Duration,
    /// What becomes of a PgBouncer that does not serve what was decided.
    pub drift: Drift,
}

/// What becomes of a PgBouncer that does not serve what was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Drift {
    /// It is put right.
    #[default]
    Repair,
    /// The log tells of it.
    Report,
}

/// The daemon's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged; `RUST_LOG` overrides it.
    pub level: LogLevel,
    /// The file; `None`: standard error.
    pub file: Option<PathBuf>,
    /// How often the daemon says that it is still there (repmgr's `log_status_interval`); zero:
    /// never.
    pub status_interval: Duration,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// That of `tracing`.
    Human,
    /// `[2017-07-27 21:08:39] [INFO] …`, as repmgr writes.
    Repmgr,
    /// An object a line.
    Json,
}

/// repmgr's `log_level`, with its words in upper case in `repmgr.conf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Steps, too.
    Debug,
    /// What happens.
    Info,
    /// What is worth knowing.
    Notice,
    /// What is not as it should be.
    Warning,
    /// What failed. (repmgr's `ALERT`, `CRIT` and `EMERG` as well.)
    Error,
}

/// repmgr's `node_id`: 1 or greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A PostgreSQL server of the pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// repmgr's `node_id`.
    pub node_id: NodeId,
    /// repmgr's `node_name`: what replication calls the node. At most 63 bytes.
    pub node_name: String,
    /// How agents connect to it; PgBouncer gets host, port and dbname of it.
    pub conninfo: Conninfo,
}

/// How often nodes are probed, and when one counts as down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Monitoring {
    /// Time between two probes of a healthy node (repmgr's `monitor_interval_secs`).
    pub monitor_interval: Duration,
    /// Tries before a suspect node counts as down; 0: at once.
    pub reconnect_attempts: u32,
    /// Time between two of these tries.
    pub reconnect_interval: Duration,
    /// How long a returned node's replication is waited for before a warning says that it does not
    /// run (repmgr's `bdr_recovery_timeout`). Looking goes on afterwards.
    pub recovery_timeout: Duration,
    /// Only this host's node is watched (repmgr's `bdr_local_monitoring_only`).
    pub local_only: bool,
}

/// repmgr's `replication_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationType {
    /// Both nodes take writes: what `repoint daemon` watches, whatever extension replicates.
    Bdr,
    /// Streaming replication: repmgrd promotes a standby, and `repoint notify` follows.
    Physical,
}

impl ReplicationType {
    /// As it is written in both configuration files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bdr => "bdr",
            Self::Physical => "physical",
        }
    }
}

/// The replication that keeps both nodes alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// BDR 1 and 2, on PostgreSQL 9.4 and 9.6.
    Bdr,
    /// pgactive, on PostgreSQL 11 and later.
    Pgactive,
    /// pglogical 2, a subscription each way.
    Pglogical,
}

impl Replication {
    /// The name of its extension, in `pg_extension` and in the configuration.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Bdr => "bdr",
            Self::Pgactive => "pgactive",
            Self::Pglogical => "pglogical",
        }
    }
}

/// repmgr's `event_notification_command` and its filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The command line, with `%` placeholders; `None`: no hook.
    pub command: Option<String>,
    /// Events that run the command; empty: every event.
    pub events: Vec<String>,
    /// When a command that has not ended is ended.
    pub timeout: Duration,
    /// Whether `%c` keeps a password that the conninfo holds.
    pub pass_password: bool,
}

/// One running PgBouncer instance (or a `so_reuseport` set that shares one file).
#[derive(Debug, Clone, PartialEq)]
pub struct PgBouncer {
    /// The operator's name for it.
    pub name: String,
    /// Where its file is.
    pub host: Host,
    /// Its admin consoles: one for each process.
    pub consoles: Vec<Conninfo>,
    /// The managed file, absolute.
    pub file: PathBuf,
    /// What the file is rendered from.
    pub template: Template,
    /// What becomes of edits that others made since the file was written last.
    pub edits: Edits,
    /// As whom the host's commands run, when not as the user of the session: through `sudo -n`.
    pub sudo: Option<SudoUser>,
    /// What is run on the host to see whether a node can be reached from there, absolute; `None`:
    /// a connection through the SSH session is tried.
    pub witness_command: Option<PathBuf>,
    /// Whether the file may be written in place where its directory is not writable.
    pub in_place: bool,
    /// Whether `PAUSE` is used while the file is exchanged.
    pub pause: PausePolicy,
    /// Clients are paused as soon as their node is suspect, for this long at most; `None`: not.
    pub early_pause: Option<Duration>,
    /// What clients meet while no node is left.
    pub without_node: WithoutNode,
    /// The node that this PgBouncer prefers when all is well.
    pub home: Option<NodeId>,
    /// Values for the template.
    pub settings: BTreeMap<String, Setting>,
    /// Its entries, by name.
    pub databases: BTreeMap<String, Database>,
}

/// Where a PgBouncer's file is, and how commands get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// This machine.
    Local,
    /// Another one, through OpenSSH.
    Ssh {
        /// What `ssh` is given: `host`, `user@host` or an alias; never begins with `-`.
        destination: String,
        /// The port, when it was given.
        port: Option<u16>,
        /// `ssh -F`, when it was given.
        config: Option<PathBuf>,
    },
}

/// Whether clients are paused while the file is exchanged after a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PausePolicy {
    /// They are, for some milliseconds.
    Always,
    /// They are not. The default: a pause delays the first commit by a half (`make bench`), and
    /// clients see no fewer errors.
    #[default]
    Never,
}

/// What becomes of edits that others made to the managed file since it was written last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Edits {
    /// They stay, and only our entries change.
    #[default]
    Merge,
    /// The PgBouncer is not touched before somebody has looked.
    Refuse,
    /// The file is rendered as if they were not there; it is kept as `.prev`.
    Overwrite,
}

/// What clients meet while no node is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WithoutNode {
    /// PgBouncer is left as it is: clients wait, or get the error of the server.
    #[default]
    Leave,
    /// `DISABLE db`: new clients get a clear error at once.
    Disable,
}

/// As whom commands run on a PgBouncer's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SudoUser(pub String);

/// What a managed file is rendered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// Nothing: the file on the host is edited, and only our entries in it change.
    Edit,
    /// The built-in `[databases]` file for `%include`.
    Databases,
    /// The built-in whole `pgbouncer.ini`.
    PgBouncerIni,
    /// The operator's own.
    File(PathBuf),
}

/// A value under `[pgbouncer.settings]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Setting {
    /// `true` or `false`; a template sees 1 or 0.
    Boolean(#[serde(serialize_with = "flag")] bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
}

/// One entry under `[databases]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The entry's name, `^[A-Za-z0-9_.-]+$` (PgBouncer 1.18 takes no other).
    pub name: String,
    /// The database on the node; `None`: that of the node's conninfo.
    pub dbname: Option<String>,
    /// The user that every client is forced to become; `None`: its own.
    pub user: Option<String>,
    /// The user of the query through PgBouncer that proves where it lands.
    pub probe_user: Option<String>,
    /// Further keys of the entry.
    pub options: BTreeMap<String, Setting>,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // PgBouncer reads 1 and 0 for a flag, and refuses a file with `true` in it.
            Self::Boolean(value) => write!(f, "{}", u8::from(*value)),
            Self::Integer(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

fn flag<S: serde::Serializer>(value: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(u8::from(*value))
}
