//! What goes wrong on the way to a host, and there.

/// Why something on a host could not be done. `Display` names the host or file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No session: refused, timed out, key or host key not accepted. Retrying may help.
    #[error("connect to `{host}` by ssh: {reason}")]
    Connect {
        /// The destination as configured.
        host: String,
        /// OpenSSH's own words, shortened to one line.
        reason: String,
    },
    /// The host lets us in, but runs no command.
    #[error("`{host}` runs no command of ours ({reason}); repoint needs `sh` there")]
    NoCommand {
        /// The destination as configured.
        host: String,
        /// What came instead.
        reason: String,
    },
    /// The host lets us in, but not as the user that the file needs.
    #[error(
        "`{host}` does not let us run sh as `{user}` ({reason}); allow it with a line in \
         /etc/sudoers.d: `NAME ALL=({user}) NOPASSWD: /usr/bin/sh`, where NAME is the user of the \
         session"
    )]
    Sudo {
        /// The destination as configured.
        host: String,
        /// As whom.
        user: String,
        /// sudo's own words.
        reason: String,
    },
    /// A newer decision is on the host already.
    #[error("superseded: {0}")]
    Superseded(String),
    /// The file is not the one that was read: someone else wrote it in between.
    #[error("{0}")]
    Changed(String),
    /// The staged file is not there any more, as whoever ends an operation removes all that were
    /// staged before. Nothing was done; it can be staged anew.
    #[error("{0}")]
    NotStaged(String),
    /// Another operation is on record than the one that was read, or one where none was.
    #[error("{0}")]
    Occupied(String),
    /// The ledger there has not accepted that decision.
    #[error("{0}")]
    Undecided(String),
    /// It arrived when it had been given up long since. Nothing was done.
    #[error("{0}")]
    Late(String),
    /// The script said no, for another reason.
    #[error("{verb} on `{host}`: {reason}")]
    Failed {
        /// What was attempted.
        verb: &'static str,
        /// The destination as configured.
        host: String,
        /// The script's own words.
        reason: String,
    },
    /// The session broke or stayed silent: it may have been done or not.
    #[error("{verb} on `{host}`: {reason}")]
    Lost {
        /// What was attempted.
        verb: &'static str,
        /// The destination as configured.
        host: String,
        /// What happened.
        reason: String,
    },
}
