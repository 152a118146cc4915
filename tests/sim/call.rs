//! What a worker's task asks of a host and of the console there, and what it is told.

use std::time::Duration;

use repoint::config::NodeId;
use repoint::core::debt::Debt;
use repoint::core::ledger::{Record, Until};
use repoint::core::pooler::{FileState, ProcessState};
use repoint::generation::Generation;

/// What a managed file says. The bytes are of no interest, but for whether they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    /// As its first line says.
    pub(crate) generation: Generation,
    pub(crate) active: NodeId,
    pub(crate) writer: NodeId,
    /// Where its entry leads.
    pub(crate) leads: NodeId,
    /// Whatever somebody else did to it; 0: nothing.
    pub(crate) edit: u64,
}

impl File {
    pub(crate) fn new(generation: Generation, active: NodeId, writer: NodeId) -> Self {
        Self {
            generation,
            active,
            writer,
            leads: active,
            edit: 0,
        }
    }

    pub(crate) fn hash(&self) -> String {
        let Self {
            generation,
            active,
            writer,
            leads,
            edit,
        } = self;
        format!("{generation}-{active}-{writer}-{leads}-{edit}")
    }
}

/// The command that puts a file in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Activate {
    pub(crate) token: String,
    pub(crate) generation: Generation,
    pub(crate) active: NodeId,
    pub(crate) read: String,
    pub(crate) hash: String,
    pub(crate) lease: Duration,
    pub(crate) debt: Debt,
    pub(crate) replaces: Option<String>,
    pub(crate) by_ledger: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Connect,
    Inspect,
    Stage(File),
    Record {
        replaces: Option<String>,
        token: String,
        lease: Duration,
        debt: Debt,
    },
    Activate(Activate),
    Rollback {
        token: String,
        generation: Generation,
        hash: String,
    },
    Update {
        token: String,
        lease: Duration,
        debt: Debt,
    },
    Settle {
        token: String,
    },
    Exchange {
        token: String,
        lease: Duration,
        debt: Debt,
        expected: String,
    },
    Stamp {
        read: String,
        file: File,
    },
    Learn(Record),
    /// From here on, of the console.
    Processes,
    Pause,
    Resume,
    Reload,
    Set(String, String),
    /// A query through the entry: which node does it land on?
    Query,
}

impl Op {
    /// Whether it goes to PgBouncer itself; anything else is the script's on the host.
    pub(crate) fn is_console(&self) -> bool {
        matches!(
            self,
            Self::Processes
                | Self::Pause
                | Self::Resume
                | Self::Reload
                | Self::Set(..)
                | Self::Query
        )
    }
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    Superseded,
    Changed,
    NotWritable,
    NotStaged,
    Occupied,
    TooLate,
    Undecided,
    /// Of a query.
    NoServer,
}

#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Done,
    Refused(Refusal),
    Inspected(Box<FileState>, Until),
    Processes(Box<ProcessState>),
    Landed(NodeId),
    /// No answer came in time: it was done, is done later, or never.
    Lost,
}
