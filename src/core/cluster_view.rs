//! What `cluster show` says of a node: its status cell, and what is wrong with it.
//!
//! Decides from the node's row and what a connection to it saw. Touches nothing: connecting is
//! `cli::cluster::look`'s, laying out the table `cli::cluster::show`'s. Marks and words are
//! repmgr's.

/// What an attempt to connect saw of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It let us in and answered.
    Running {
        /// Whether it is in recovery: a standby.
        in_recovery: bool,
        /// Of its last checkpoint; `None`: older than 9.6, or not for our eyes.
        timeline: Option<u32>,
    },
    /// A live server that does not let us in.
    Rejected {
        /// Its words.
        reason: String,
    },
    /// No server, no answer, or nothing that could be tried.
    Unreachable {
        /// The error.
        reason: String,
    },
}

impl Seen {
    /// Why there is no connection.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Running { .. } => None,
            Self::Rejected { reason } | Self::Unreachable { reason } => Some(reason),
        }
    }

    /// `node_id,availability,recovery` of `cluster show --csv`, without the id.
    #[must_use]
    pub fn availability(&self) -> (i8, i8) {
        match self {
            Self::Running { in_recovery, .. } => (0, i8::from(*in_recovery)),
            Self::Rejected { .. } | Self::Unreachable { .. } => (-1, -1),
        }
    }
}

/// A node as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// `*` as it should be, ` ` the same for a standby, `!` not as it is registered, `?` not
    /// reached, `-` not reached and marked inactive.
    pub mark: char,
    /// The words behind the mark.
    pub status: &'static str,
    /// What is wrong with it; `None`: nothing.
    pub issue: Option<Issue>,
}

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issue {
    /// See [`Seen::reason`].
    NotConnected,
    /// It runs, but its row says that it does not take part.
    Inactive,
    /// Registered as the one, running as the other.
    WrongRole {
        /// Of its row.
        registered: &'static str,
        /// Of the server.
        running: &'static str,
    },
}

impl Issue {
    /// As a line of the block of warnings.
    #[must_use]
    pub fn sentence(self, node: &str) -> String {
        match self {
            Self::NotConnected => format!("unable to connect to {node}"),
            Self::Inactive => format!("{node} is running, but its record is inactive"),
            Self::WrongRole {
                registered,
                running,
            } => format!("{node} is registered as {registered}, but running as {running}"),
        }
    }
}

/// Judges a node by its row's `type` and `active`, and by what was seen.
#[must_use]
pub fn view(kind: &str, active: bool, seen: &Seen) -> View {
    let view = |mark, status, issue| View {
        mark,
        status,
        issue,
    };
    let in_recovery = match seen {
        Seen::Running { in_recovery, .. } => *in_recovery,
        Seen::Rejected { .. } => {
            return match active {
                true => view('?', "rejected", Some(Issue::NotConnected)),
                false => view('!', "failed", Some(Issue::NotConnected)),
            };
        }
        Seen::Unreachable { .. } => {
            return match active {
                true => view('?', "unreachable", Some(Issue::NotConnected)),
                false => view('-', "failed", Some(Issue::NotConnected)),
            };
        }
    };
    // A witness has a database of its own, and a BDR node is no standby of its peer.
    let registered = match kind {
        "primary" => "primary",
        "standby" => "standby",
        "witness" => "witness",
        _ => "BDR node",
    };
    if in_recovery != (registered == "standby") {
        let (running, status) = match in_recovery {
            true => ("standby", "running as standby"),
            false => ("primary", "running as primary"),
        };
        let issue = Issue::WrongRole {
            registered,
            running,
        };
        return view('!', status, Some(issue));
    }
    match (active, registered) {
        (false, _) => view('!', "running", Some(Issue::Inactive)),
        (true, "standby") => view(' ', "running", None),
        (true, _) => view('*', "running", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(in_recovery: bool) -> Seen {
        let timeline = Some(1);
        Seen::Running {
            in_recovery,
            timeline,
        }
    }

    fn rejected() -> Seen {
        let reason = "FATAL: no (28000)".to_owned();
        Seen::Rejected { reason }
    }

    fn unreachable() -> Seen {
        let reason = "refused: Connection refused".to_owned();
        Seen::Unreachable { reason }
    }

    #[test]
    fn the_status_cell_and_the_issue_follow_from_the_row_and_what_was_seen() {
        let ok = "";
        let lost = "unable to connect to N";
        for (kind, active, seen, cell, issue) in [
            ("bdr", true, running(false), "* running", ok),
            (
                "bdr",
                false,
                running(false),
                "! running",
                "N is running, but its record is inactive",
            ),
            ("bdr", true, rejected(), "? rejected", lost),
            ("bdr", false, rejected(), "! failed", lost),
            ("bdr", true, unreachable(), "? unreachable", lost),
            ("bdr", false, unreachable(), "- failed", lost),
            (
                "bdr",
                true,
                running(true),
                "! running as standby",
                "N is registered as BDR node, but running as standby",
            ),
            ("primary", true, running(false), "* running", ok),
            ("standby", true, running(true), "  running", ok),
            ("witness", true, running(false), "* running", ok),
            (
                "standby",
                false,
                running(true),
                "! running",
                "N is running, but its record is inactive",
            ),
            (
                "standby",
                true,
                running(false),
                "! running as primary",
                "N is registered as standby, but running as primary",
            ),
            (
                "primary",
                false,
                running(true),
                "! running as standby",
                "N is registered as primary, but running as standby",
            ),
            ("standby", true, unreachable(), "? unreachable", lost),
            ("standby", false, unreachable(), "- failed", lost),
            ("whatever", true, running(false), "* running", ok),
        ] {
            let view = view(kind, active, &seen);
            let what = format!("{kind} {active} {seen:?}");
            assert_eq!(format!("{} {}", view.mark, view.status), cell, "{what}");
            let found = view.issue.map(|issue| issue.sentence("N"));
            assert_eq!(found.unwrap_or_default(), issue, "{what}");
        }
    }

    #[test]
    fn the_list_tells_recovery_only_of_what_was_reached() {
        assert_eq!(running(false).availability(), (0, 0));
        assert_eq!(running(true).availability(), (0, 1));
        assert_eq!(rejected().availability(), (-1, -1));
        assert_eq!(unreachable().availability(), (-1, -1));
    }
}
