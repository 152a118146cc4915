//! Exit statuses, where repmgr has them: the same.

use std::process::ExitCode;

/// How a command ended, for scripts. Names and numbers are repmgr 4.4's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Success,
    /// The configuration, the command line, or what is registered does not allow it.
    BadConfig,
    /// `node check` of one thing: CRITICAL. (Its WARNING is 1.)
    CheckCritical,
    /// `node check` of one thing: UNKNOWN.
    CheckUnknown,
    /// Another daemon holds the PID file, or it cannot be made.
    BadPidfile,
    /// No connection to the database.
    DbConn,
    /// A query failed.
    DbQuery,
    /// A node or the cluster is not as it should be.
    NodeStatus,
    /// A pause could not be set or ended on some node.
    RepmgrdPause,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::BadConfig => 1,
            Exit::CheckCritical => 2,
            // One number for two things: no command can end with both.
            Exit::CheckUnknown | Exit::BadPidfile => 3,
            Exit::DbConn => 6,
            Exit::DbQuery => 7,
            Exit::NodeStatus => 25,
            Exit::RepmgrdPause => 26,
        })
    }
}
