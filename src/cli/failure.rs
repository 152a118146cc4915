//! Why a command gave up: an exit status, and what its user reads.

use super::exit::Exit;

/// An error at the top of a command; printed once, by [`super::run`], as repmgr does: `ERROR:`,
/// `DETAIL:`, `HINT:`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        let (detail, hint) = (None, None);
        Self {
            exit,
            message,
            detail,
            hint,
        }
    }

    /// The facts behind it.
    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// What to do now.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A configuration that cannot be used: everything in the chain of its causes.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::BadConfig, format!("{error:#}"))
    }
}
