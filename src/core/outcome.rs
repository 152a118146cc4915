//! What became of one redirect: one sentence for a person, and as data.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::NodeId;
use crate::generation::Generation;

/// Which file a failed redirect leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAfter {
    /// The previous one: it was never replaced.
    Unchanged,
    /// The previous one: it was put back, and read back.
    Restored,
    /// The new one, which PgBouncer rejected: putting the previous one back failed.
    NotRestored,
    /// An answer was lost: the next look tells.
    Unknown,
}

impl std::fmt::Display for FileAfter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unchanged => "nothing changed",
            Self::Restored => "previous file restored",
            Self::NotRestored => "and the previous file could not be restored",
            Self::Unknown => "how far it came is not known before the next look",
        })
    }
}

/// How a redirect ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Read back, and proved by a query or a live connection as far as the configuration allows.
    Redirected,
    /// It served the node already, or has nothing on the failed one; it was not touched.
    Skipped(String),
    /// A newer decision is on the host.
    Superseded(String),
    /// Not done. The text says which step and why.
    Failed {
        /// Which step, and why.
        reason: String,
        /// Which file is there now.
        file: FileAfter,
    },
    /// The entries point at the new node, but no query gets through there yet.
    Unconfirmed(String),
    /// Planned: the entries point at the new node, but not everybody has left the old one.
    NotDrained(String),
}

/// What became of one redirect of one PgBouncer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// For which decision.
    pub generation: Generation,
    /// The node that it was to serve.
    pub active: NodeId,
    /// How it ended.
    pub end: End,
    /// What a person should look at all the same.
    pub warnings: Vec<String>,
    /// Databases that could not be resumed.
    pub left_paused: Vec<String>,
    /// From the first step to the last one that matters to clients.
    pub took: Duration,
    /// Entries that moved, and how each was confirmed.
    pub entries: BTreeMap<String, String>,
}

impl Outcome {
    /// Whether the PgBouncer now serves the node.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self.end, End::Redirected | End::Skipped(_)) && self.left_paused.is_empty()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.end {
            End::Redirected => {
                let entries: Vec<String> = self
                    .entries
                    .iter()
                    .map(|(entry, how)| format!("`{entry}` ({how})"))
                    .collect();
                write!(
                    f,
                    "redirected {} in {} ms",
                    entries.join(", "),
                    self.took.as_millis()
                )?;
            }
            End::Skipped(why) => write!(f, "left alone: {why}")?,
            End::Superseded(by) => write!(f, "left alone: a newer decision is there ({by})")?,
            End::Failed { reason, file } => write!(f, "failed, {file}: {reason}")?,
            End::Unconfirmed(reason) => {
                write!(f, "reconfigured, but no query gets through yet: {reason}")?;
            }
            End::NotDrained(left) => {
                write!(
                    f,
                    "redirected, but not everybody has left the old node: {left}"
                )?;
            }
        }
        if !self.left_paused.is_empty() {
            write!(f, "; STILL PAUSED: {}", self.left_paused.join(", "))?;
        }
        for warning in &self.warnings {
            write!(f, "; note: {warning}")?;
        }
        Ok(())
    }
}
