//! `node check`: which verdict follows from what a node said of itself.
//!
//! One function a check. Names of checks, verdicts and the form for Nagios are repmgr's, so that
//! monitoring that was made for it goes on. Asking is `cli::node::look`'s.

use crate::core::cluster_view::{Seen, view};

#[cfg(test)]
mod tests;

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Whether the server lets us in.
    Connection,
    /// Whether it is what its record says, and takes part in the replication.
    Role,
    /// Whether every slot is in use.
    Slots,
    /// How much the slowest peer has not confirmed.
    Lag,
    /// Whether WAL is archived.
    Archive,
}

impl What {
    /// All, in the order of the overview.
    pub const ALL: [Self; 5] = [
        Self::Connection,
        Self::Role,
        Self::Lag,
        Self::Archive,
        Self::Slots,
    ];

    /// In the overview.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connection => "Server connection",
            Self::Role => "Server role",
            Self::Slots => "Replication slots",
            Self::Lag => "Replication lag",
            Self::Archive => "WAL archiving",
        }
    }

    /// Before the verdict in a line for Nagios.
    #[must_use]
    pub const fn nagios(self) -> &'static str {
        match self {
            Self::Connection => "REPMGR_DB_CONNECTION",
            Self::Role => "REPMGR_SERVER_ROLE",
            Self::Slots => "REPMGR_INACTIVE_SLOTS",
            Self::Lag => "REPMGR_REPLICATION_LAG",
            Self::Archive => "REPMGR_ARCHIVE_READY",
        }
    }
}

/// How a check ends; the numbers are the exit statuses of Nagios' plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok = 0,
    /// A person should look.
    Warning = 1,
    /// It does not work.
    Critical = 2,
    /// It could not be found out.
    Unknown = 3,
}

impl Verdict {
    /// As it is printed.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which one.
    pub what: What,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, in a few words.
    pub text: String,
    /// For Nagios, where there is a number.
    pub performance: Option<String>,
}

/// What could be found out, or why not.
pub type Known<T> = Result<T, String>;

/// What a node said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its row of `repmgr.nodes`; `Ok(None)`: there is none.
    pub record: Known<Option<Record>>,
    /// Whether it is in recovery.
    pub in_recovery: Known<bool>,
    /// Whether its database is a member of the replication; the inner error says why not.
    pub member: Known<Result<(), String>>,
    /// For each registered peer: whether it is fed; the inner error says why not.
    pub feeds: Vec<Known<Result<(), String>>>,
    /// Its slots.
    pub slots: Known<Vec<Slot>>,
    /// Its archiving.
    pub archiver: Known<Archiver>,
}

/// The part of a row of `repmgr.nodes` that checks look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `primary`, `standby`, `witness` or `bdr`.
    pub kind: String,
    /// Whether it is marked active.
    pub active: bool,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody reads from it.
    pub active: bool,
    /// WAL that a logical slot of this database has not confirmed, in bytes; `None`: another slot.
    pub unconfirmed_bytes: Option<u64>,
}

/// The state of archiving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archiver {
    /// Whether there is any.
    pub on: bool,
    /// The file that could not be archived, if that was the last attempt.
    pub failed: Option<String>,
    /// Files that wait; `None`: not for our eyes.
    pub ready: Option<u64>,
}

/// From which size on lag is worth a verdict, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagLimits {
    /// A person should look.
    pub warning_bytes: u64,
    /// It does not work.
    pub critical_bytes: u64,
}

impl LagLimits {
    /// What a busy pair passes in a moment, and what it does not.
    pub const DEFAULT_MB: (u64, u64) = (100, 1000);

    /// Limits in megabytes of 1024 * 1024 bytes.
    #[must_use]
    pub const fn megabytes(warning: u64, critical: u64) -> Self {
        const MB: u64 = 1024 * 1024;
        Self {
            warning_bytes: warning.saturating_mul(MB),
            critical_bytes: critical.saturating_mul(MB),
        }
    }
}

impl Default for LagLimits {
    fn default() -> Self {
        let (warning, critical) = Self::DEFAULT_MB;
        Self::megabytes(warning, critical)
    }
}

/// repmgr's defaults of `archive_ready_warning` and `archive_ready_critical`.
const ARCHIVE_READY: (u64, u64) = (16, 128);

/// Judges one check.
#[must_use]
pub fn check(what: What, facts: &Known<Facts>, limits: LagLimits) -> Check {
    let (verdict, text, performance) = match (what, facts) {
        (What::Connection, Ok(_)) => (Verdict::Ok, "the server answers".to_owned(), None),
        (What::Connection, Err(reason)) => (Verdict::Critical, reason.clone(), None),
        (_, Err(_)) => (
            Verdict::Unknown,
            "no connection to the server".to_owned(),
            None,
        ),
        (What::Role, Ok(facts)) => role(facts).unwrap_or_else(unknown),
        (What::Slots, Ok(facts)) => slots(facts).unwrap_or_else(unknown),
        (What::Lag, Ok(facts)) => lag(facts, limits).unwrap_or_else(unknown),
        (What::Archive, Ok(facts)) => archive(facts).unwrap_or_else(unknown),
    };
    Check {
        what,
        verdict,
        text,
        performance,
    }
}

type Judged = (Verdict, String, Option<String>);

fn unknown(reason: String) -> Judged {
    (Verdict::Unknown, reason, None)
}

fn role(facts: &Facts) -> Known<Judged> {
    let critical = |why: &str| {
        let text = format!("node is not an active BDR node: {why}");
        Ok((Verdict::Critical, text, None))
    };
    let record = facts.record.clone()?;
    let Some(Record { kind, active }) = record else {
        return critical("it has no record in repmgr.nodes");
    };
    let in_recovery = facts.in_recovery.clone()?;
    let timeline = None;
    let seen = Seen::Running {
        in_recovery,
        timeline,
    };
    if kind != "bdr" {
        return Ok(match view(&kind, active, &seen).issue {
            Some(issue) => (Verdict::Critical, issue.sentence("node"), None),
            None => (Verdict::Ok, format!("node is {kind}"), None),
        });
    }
    if in_recovery {
        return critical("it is a standby");
    }
    if let Err(reason) = facts.member.clone()? {
        return critical(&reason);
    }
    if !active {
        return critical("its record is inactive");
    }
    let text = "node is an active BDR node".to_owned();
    Ok((Verdict::Ok, text, None))
}

fn slots(facts: &Facts) -> Known<Judged> {
    let slots = facts.slots.clone()?;
    let idle = slots.iter().filter(|slot| !slot.active);
    let idle: Vec<&str> = idle.map(|slot| slot.name.as_str()).collect();
    let (all, inactive) = (slots.len(), idle.len());
    let performance = Some(format!("slots={all};{inactive}"));
    if inactive > 0 {
        let names = idle.join(", ");
        let text = format!("{inactive} of {all} replication slots inactive: {names}");
        return Ok((Verdict::Critical, text, performance));
    }
    for feeds in &facts.feeds {
        if let Err(reason) = feeds.clone()? {
            return Ok((Verdict::Critical, reason, performance));
        }
    }
    let text = match all {
        0 => "node has no replication slots".to_owned(),
        1.. => "node has no inactive replication slots".to_owned(),
    };
    Ok((Verdict::Ok, text, performance))
}

fn lag(facts: &Facts, limits: LagLimits) -> Known<Judged> {
    let slots = facts.slots.clone()?;
    let slowest = slots.iter().filter_map(|slot| slot.unconfirmed_bytes).max();
    let Some(bytes) = slowest else {
        let text = "nothing replicates from here through a logical slot".to_owned();
        return Ok((Verdict::Ok, text, None));
    };
    let LagLimits {
        warning_bytes,
        critical_bytes,
    } = limits;
    let text = format!("{bytes} bytes not confirmed by the slowest peer");
    let performance = Some(format!("lag={bytes}B;{warning_bytes};{critical_bytes}"));
    let verdict = graded(bytes, warning_bytes, critical_bytes);
    Ok((verdict, text, performance))
}

fn archive(facts: &Facts) -> Known<Judged> {
    let (warning, critical) = ARCHIVE_READY;
    let Archiver { on, failed, ready } = facts.archiver.clone()?;
    let performance = ready.map(|ready| format!("files={ready};{warning};{critical}"));
    if !on {
        return Ok((Verdict::Ok, "WAL archiving is off".to_owned(), performance));
    }
    if let Some(file) = failed {
        let text = format!("the last attempt to archive a file failed: {file}");
        return Ok((Verdict::Critical, text, performance));
    }
    Ok(match ready {
        Some(ready) => {
            let text = format!("{ready} pending archive ready files");
            (graded(ready, warning, critical), text, performance)
        }
        None => (
            Verdict::Ok,
            "the last attempt succeeded".to_owned(),
            performance,
        ),
    })
}

fn graded(value: u64, warning: u64, critical: u64) -> Verdict {
    if value >= critical {
        Verdict::Critical
    } else if value >= warning {
        Verdict::Warning
    } else {
        Verdict::Ok
    }
}
