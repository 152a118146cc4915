//! What an operation owes a PgBouncer until it has ended: the undo list, as it is kept on the host.
//!
//! Written there before the first PAUSE, so that whoever comes after a crash can pay it. Only names
//! and values that came from PgBouncer or the configuration; the host keeps it as one line of JSON.

use std::collections::BTreeSet;

/// The debt of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Debt {
    /// Databases to resume.
    #[serde(default)]
    pub paused: BTreeSet<String>,
    /// The value of `server_login_retry` to set again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_login_retry: Option<String>,
}
