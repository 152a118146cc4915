//! Exit statuses, where repmgr has them: the same.

use std::process::ExitCode;

/// How a command ended, for scripts. Names and numbers are repmgr 4.4's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Success = 0,
    /// The configuration, the command line, or what is registered does not allow it.
    BadConfig = 1,
    /// `node check` of one thing: CRITICAL. (Its WARNING is 1.)
    CheckCritical = 2,
    /// `node check` of one thing: UNKNOWN.
    CheckUnknown = 3,
    /// No connection to the database.
    DbConn = 6,
    /// A query failed.
    DbQuery = 7,
    /// A node or the cluster is not as it should be.
    NodeStatus = 25,
    /// A pause could not be set or ended on some node.
    RepmgrdPause = 26,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
