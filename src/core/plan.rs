//! What will be done to one PgBouncer, as a value that is printed before anything is done.
//!
//! Decides the steps and their order, for the kind of fault. Does nothing:
//! [`crate::core::sequence`] walks through the steps and adds the undoing when one fails;
//! `agent::executor` carries each out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::NodeId;
use crate::conninfo::server_address::ServerAddress;
use crate::core::node::Fault;
use crate::generation::Generation;

/// A decision of the cluster: all entries that point at `failed` are to point at `active`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its place in the order of decisions.
    pub generation: Generation,
    /// The node to leave.
    pub failed: NodeId,
    /// The node to go to.
    pub active: NodeId,
    /// How the failed node fails.
    pub fault: Fault,
}

/// How long the answer to a PAUSE is waited for when the node is gone: PgBouncer's connections are
/// gone too, so it comes at once, unless a client is just being connected.
const PAUSE_LIMIT_CRASH: Duration = Duration::from_millis(300);
/// A node that hangs never lets go of its connections; the pause itself holds from the moment the
/// command is read, which is what this time is for.
const PAUSE_LIMIT_BLACKHOLE: Duration = Duration::from_millis(20);

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put the new file beside the old one, on disk, with the debt on record.
    Stage,
    /// `PAUSE db` on a connection of its own, given up after `limit`.
    Pause {
        /// The entry.
        database: String,
        /// How long its answer is waited for.
        limit: Duration,
    },
    /// Rename the staged file into place, if nothing newer or other is there.
    Activate,
    /// `RELOAD`.
    Reload,
    /// SHOW DATABASES: does PgBouncer now have every entry as meant?
    ReadBack,
    /// `SET server_login_retry='0.02'`, so that pools that failed to connect try again at once.
    Hasten,
    /// `RESUME db`.
    Resume {
        /// The entry.
        database: String,
    },
    /// A query through the entry lands on the new node.
    Confirm {
        /// The entry.
        database: String,
    },
    /// The pause is over: only `server_login_retry` is still owed, put that on record.
    RecordDebt,
    /// Put the previous file back.
    RestoreFile,
    /// SHOW DATABASES: does PgBouncer have the entries as they were?
    ReadBackPrevious,
    /// Nothing is owed: forget the operation.
    Settle,
}

/// Everything that is needed to move the entries of one PgBouncer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Names the operation on the host.
    pub token: String,
    /// Why it is done.
    pub decision: Decision,
    /// The entries that move, with where they must point afterwards.
    pub moves: BTreeMap<String, ServerAddress>,
    /// The entries that a query is sent through.
    pub confirm: BTreeSet<String>,
    /// All entries of the file, with where they must point afterwards.
    pub expected: BTreeMap<String, ServerAddress>,
    /// Where our entries point now, for the way back.
    pub previous: BTreeMap<String, (String, u16)>,
    /// The exact bytes of the new file.
    pub content: Vec<u8>,
    /// SHA-256 of them.
    pub hash: String,
    /// SHA-256 of the file that was read before, or `absent`.
    pub hash_read: String,
    /// Entries that an operation before this one may have left paused.
    pub also_resume: BTreeSet<String>,
    /// The `server_login_retry` that an operation before this one still owes, if it does: the
    /// record of it is replaced by ours.
    pub inherited: Option<String>,
    /// Whether PAUSE is used.
    pub pause: bool,
}

impl Plan {
    /// The steps when all goes well, in order. With nothing to move, only what an attempt before
    /// this one left open: a RESUME, a confirmation.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let confirms = self.confirm.iter();
        let confirms = confirms.map(|database| Step::Confirm {
            database: database.clone(),
        });
        if self.moves.is_empty() {
            return self.resumes().into_iter().chain(confirms).collect();
        }
        let mut steps = vec![Step::Stage];
        let limit = match self.decision.fault {
            Fault::Crash => PAUSE_LIMIT_CRASH,
            Fault::Blackhole => PAUSE_LIMIT_BLACKHOLE,
        };
        if self.pause {
            let pause = |database: &String| Step::Pause {
                database: database.clone(),
                limit,
            };
            steps.extend(self.moves.keys().map(pause));
        }
        steps.extend([Step::Activate, Step::Reload, Step::ReadBack, Step::Hasten]);
        steps.extend(self.resumes());
        steps.extend(confirms);
        steps.push(Step::RecordDebt);
        steps
    }

    /// A RESUME for everything that this operation pauses, or one before it may have paused.
    #[must_use]
    pub fn resumes(&self) -> Vec<Step> {
        let mut databases = self.also_resume.clone();
        if self.pause {
            databases.extend(self.moves.keys().cloned());
        }
        databases
            .into_iter()
            .map(|database| Step::Resume { database })
            .collect()
    }
}
