//! What an operation left behind whose owner is gone: paid, and forgotten.
//!
//! What is to be paid at once and what later is decided in `core::sequence` ([`Clearing`]). Several
//! agents may do it at the same time: the record is exchanged only for what was read there, so that
//! one of them does it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::json;
use crate::agent::links::{LinkError, Links, file_state, record_owed};
use crate::core::debt::Debt;
use crate::core::sequence::{Clearing, Owed};
use crate::edge::remote::RemoteError;

/// From the record to the last command takes milliseconds.
const LEASE: Duration = Duration::from_secs(3);

/// What was cleared up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// Entries that are not paused any more.
    pub resumed: BTreeSet<String>,
    /// Entries that are enabled again.
    pub enabled: BTreeSet<String>,
    /// What is told of the settings that were put back.
    pub notes: Vec<String>,
    /// What is owed from now on.
    pub owed: Option<Owed>,
}

/// Pays what the operation `token` owes, `debt` as it was read. Entries that it disabled are
/// enabled, and PgBouncer tries their node at once, which it would otherwise do only
/// `server_login_retry` after its last attempt. `None`: somebody else does it.
///
/// # Errors
/// What does not answer. What is owed is on record.
pub async fn clear(links: &Links, token: &str, debt: &Debt) -> Result<Option<Cleared>, LinkError> {
    // In this order: whoever has SET anything has put it on record before.
    let found = match links.settings().await {
        Ok(found) => found,
        Err(error) => {
            // A process is gone; the clients of the others go on all the same.
            end_pauses(links, debt).await?;
            return Err(error.into());
        }
    };
    let operation = file_state(&links.host.inspect().await?).operation;
    let Some(operation) = operation.filter(|known| known.token == token && known.expired) else {
        return Ok(None);
    };
    let clearing = Clearing::new(token, &operation.debt, found, Instant::now());
    let on_record = json(&clearing.on_record);
    match links.host.exchange(token, LEASE, &on_record, token).await {
        Ok(()) => {}
        Err(RemoteError::Occupied(_)) => return Ok(None),
        Err(error) => {
            // Somebody may hold the lock who is as dead as the owner: clients do not wait for that.
            end_pauses(links, debt).await?;
            return Err(error.into());
        }
    }
    if !clearing.now.disabled.is_empty() {
        links.hasten().await?;
    }
    let notes = links.undo(&clearing.now).await?;
    match &clearing.owed {
        Some(owed) => record_owed(&links.host, owed).await?,
        None => links.host.settle(token).await?,
    }
    Ok(Some(Cleared {
        resumed: clearing.now.paused,
        enabled: clearing.now.disabled,
        notes,
        owed: clearing.owed,
    }))
}

/// What is paused yet. What else is owed stays on record.
async fn end_pauses(links: &Links, debt: &Debt) -> Result<(), LinkError> {
    let pauses = Debt {
        paused: debt.paused.clone(),
        ..Debt::default()
    };
    Ok(links.undo(&pauses).await.map(drop)?)
}
