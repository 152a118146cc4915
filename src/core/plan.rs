//! What will be done to one PgBouncer, as a value that is printed before anything is done.
//!
//! Decides the steps and their order, for the kind of fault. Does nothing:
//! [`crate::core::sequence`] walks through the steps and adds the undoing when one fails;
//! `agent::executor` carries each out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::NodeId;
use crate::conninfo::server_address::ServerAddress;
use crate::core::debt::Debt;
use crate::core::ledger::Record;
use crate::core::node::Fault;
use crate::generation::Generation;

mod evict;
mod way;

pub use evict::{EVICTING, Eviction, eviction, to_change};
pub use way::{EMPTY_LIMIT, Way};

/// A decision of the cluster: all entries that point at `failed` are to point at `active`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its place in the order of decisions.
    pub generation: Generation,
    /// The node to leave.
    pub failed: NodeId,
    /// The node to go to.
    pub active: NodeId,
    /// How the failed node fails; nothing in a planned move ([`Plan::way`]).
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
    /// Put the new file beside the old one, on disk.
    Stage,
    /// Put on record on the host what a pause will owe, and set the switch there that pays it if
    /// this agent vanishes.
    Record,
    /// `PAUSE db` on a connection of its own, given up after `limit`.
    Pause {
        /// The entry.
        database: String,
        /// How long its answer is waited for.
        limit: Duration,
    },
    /// Put on record again what is owed, just before clients are paused: what came before may have
    /// taken most of the time that the record leaves to its owner.
    Renew,
    /// Rename the staged file into place, if nothing newer or other is there, with the debt on
    /// record.
    Activate,
    /// `RELOAD`, and sent with it `SET server_login_retry='0.02'`, so that pools that failed to
    /// connect try again at once. Both or none reach PgBouncer, so that value is the sign that
    /// what was SET before is undone.
    Reload,
    /// SHOW DATABASES and SHOW CONFIG: does PgBouncer now have every entry as meant, and the
    /// settings that let people in?
    ReadBack,
    /// `SET server_login_retry='0.02'` where it is not in force after all.
    Hasten,
    /// `ENABLE db`, where this tool disabled it.
    Enable {
        /// The entry.
        database: String,
    },
    /// `RESUME db`.
    Resume {
        /// The entry.
        database: String,
    },
    /// Free the clients that hang in the dead node.
    Evict(Eviction),
    /// Does a client still hang there?
    Freed,
    /// Set again what was SET to free them.
    EndEviction,
    /// Set again what an operator had SET, and RELOAD undid.
    PutBack,
    /// A query through the entry lands on the new node.
    Confirm {
        /// The entry.
        database: String,
    },
    /// The pause is over: only what was SET for a while is still owed, put that on record.
    RecordDebt,
    /// Put the previous file back.
    RestoreFile,
    /// SHOW DATABASES and SHOW CONFIG: does PgBouncer have the entries as they were, and the
    /// settings that let people in?
    ReadBackPrevious,
    /// Nothing is owed: forget the operation.
    Settle,
    /// SHOW POOLS: is no connection of the entries just logging in?
    Calm {
        /// How long that is waited for.
        limit: Duration,
    },
    /// SHOW SERVERS: have the entries no connection left?
    Emptied,
    /// Has the new node all that the old one has?
    Replayed {
        /// How long that is waited for.
        limit: Duration,
    },
    /// `SET server_fast_close='1'`: sessions are closed when they are not in a transaction.
    CloseSessions,
    /// SHOW SERVERS: have the entries no connection left to where they pointed?
    Drain {
        /// How long that is waited for.
        limit: Duration,
    },
    /// Who still has one, for people.
    NameLeft,
    /// `SET server_fast_close` as it was.
    KeepSessions,
}

/// Everything that is needed to move the entries of one PgBouncer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Names the operation on the host.
    pub token: String,
    /// The node of the agent that does it.
    pub writer: NodeId,
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
    /// What a person should know of the file, though it may be put in place.
    pub notes: Vec<String>,
    /// Entries that an operation before this one may have left paused.
    pub also_resume: BTreeSet<String>,
    /// What an operation before this one still owes: the record of it is replaced by ours.
    pub inherited: Debt,
    /// The token of that operation, if one is on record.
    pub replaces: Option<String>,
    /// Whether the ledger of the host has to have accepted the decision.
    pub by_ledger: bool,
    /// What was agreed upon, for a ledger that has not learned it yet.
    pub agreed: Option<Record>,
    /// Whether the file is on the host already: staged when this decision was foreseen.
    pub prepared: bool,
    /// How clients are freed that hang in the failed node.
    pub evict: Option<Eviction>,
    /// Entries that this tool disabled while there was no node.
    pub enable: BTreeSet<String>,
    /// Whether PAUSE is used.
    pub pause: bool,
    /// How the entries leave the node.
    pub way: Way,
    /// How long clients may be paused.
    pub pause_limit: Duration,
    /// Entries that an operator has paused: they are neither paused nor resumed.
    pub kept_paused: BTreeSet<String>,
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
            let (first, last) = self.steps_for_stuck();
            let steps = self.resumes().into_iter().chain(first);
            return steps.chain(confirms).chain(last).collect();
        }
        if let Some(steps) = way::steps(self) {
            return steps;
        }
        let mut steps = Vec::new();
        if !self.prepared {
            steps.push(Step::Stage);
        }
        let limit = match self.decision.fault {
            Fault::Crash => PAUSE_LIMIT_CRASH,
            Fault::Blackhole => PAUSE_LIMIT_BLACKHOLE,
        };
        if self.pause {
            let pause = |database: &String| Step::Pause {
                database: database.clone(),
                limit,
            };
            steps.push(Step::Record);
            let ours = |database: &&String| !self.kept_paused.contains(*database);
            steps.extend(self.moves.keys().filter(ours).map(pause));
        }
        steps.extend([Step::Activate, Step::Reload, Step::ReadBack, Step::Hasten]);
        let enable = |database: &String| Step::Enable {
            database: database.clone(),
        };
        steps.extend(self.enable.iter().map(enable));
        // KILL drops every client, so it comes before any of them is served by the new node. The
        // others come after RESUME: who does not hang need not wait for it. And after what an
        // operator had SET is there again, because that may be what they change.
        let evict = self.evict.map(Step::Evict);
        let kills = self.evict == Some(Eviction::KillDatabase);
        if kills && !self.pause {
            steps.push(Step::Renew);
        }
        steps.extend(evict.clone().filter(|_| kills));
        steps.extend(self.resumes());
        steps.push(Step::PutBack);
        let evict = evict.filter(|_| !kills);
        if self.evict == Some(Eviction::QueryTimeout) {
            // What is SET for it is on record until it is undone.
            steps.extend(evict.into_iter().chain(confirms));
            steps.extend([Step::Freed, Step::EndEviction, Step::RecordDebt]);
        } else {
            // Before what may take long: from here on, a pause is not ours, and what is still owed
            // is owed later.
            steps.push(Step::RecordDebt);
            steps.extend(evict.into_iter().chain(confirms));
        }
        steps
    }

    /// What this operation pauses, or one before it may have paused: PAUSE and KILL both do.
    #[must_use]
    pub fn pauses(&self) -> BTreeSet<String> {
        let mut databases = self.also_resume.clone();
        if self.pause || self.evict == Some(Eviction::KillDatabase) {
            let ours = |name: &&String| !self.kept_paused.contains(*name);
            databases.extend(self.moves.keys().filter(ours).cloned());
        }
        databases
    }

    /// A RESUME for all of [`Plan::pauses`].
    #[must_use]
    pub fn resumes(&self) -> Vec<Step> {
        let resume = |database| Step::Resume { database };
        self.pauses().into_iter().map(resume).collect()
    }
}
