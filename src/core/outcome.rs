//! What became of one redirect: one sentence for a person, and as data.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::NodeId;
use crate::generation::Generation;

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
        /// Whether the previous file is back and read back; `None`: it was never replaced.
        restored: Option<bool>,
    },
    /// The entries point at the new node, but no query gets through there yet.
    Unconfirmed(String),
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
            End::Failed {
                reason,
                restored: None,
            } => write!(f, "failed, nothing changed: {reason}")?,
            End::Failed {
                reason,
                restored: Some(true),
            } => {
                write!(f, "failed, previous file restored: {reason}")?;
            }
            End::Failed {
                reason,
                restored: Some(false),
            } => {
                write!(
                    f,
                    "failed, and the previous file could not be restored: {reason}"
                )?;
            }
            End::Unconfirmed(reason) => {
                write!(f, "reconfigured, but no query gets through yet: {reason}")?;
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
