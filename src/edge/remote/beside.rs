//! Verbs that work beside whoever redirects: they give way to what is on record.

use std::time::Duration;

use super::{RemoteError, RemoteHost};
use crate::generation::Generation;

impl RemoteHost {
    /// Puts on record what is owed, in place of the operation `expected` (`none`: where nothing is
    /// on record).
    ///
    /// # Errors
    /// [`RemoteError::Occupied`]: something else is on record, nothing was done.
    pub async fn exchange(
        &self,
        token: &str,
        lease: Duration,
        debt: &str,
        expected: &str,
    ) -> Result<(), RemoteError> {
        let lease = lease.as_secs().to_string();
        let arguments = [token, lease.as_str(), debt, expected];
        self.verb("exchange", &arguments, &[]).await.map(drop)
    }

    /// Puts the file in place that differs from the one that was read in its first line alone. The
    /// previous file stays as it is, and nothing is owed.
    ///
    /// # Errors
    /// As [`RemoteHost::activate`], and [`RemoteError::Occupied`] while an operation is on record.
    pub async fn stamp(
        &self,
        generation: Generation,
        hash_read: &str,
        content: &[u8],
        hash: &str,
    ) -> Result<(), RemoteError> {
        let (number, node_id) = (
            generation.number.to_string(),
            generation.node_id.to_string(),
        );
        let arguments = [number.as_str(), node_id.as_str(), hash_read, hash];
        self.verb("stamp", &arguments, content).await.map(drop)
    }
}
