//! What time it is on a host, so that a command can say until when it is good.
//!
//! By the host's uptime, which nobody sets; looked at under the host's lock (`host.sh`).

use std::time::{Duration, Instant};

use super::inspection;
use crate::core::ledger::Until;

/// The time on a host, as it was read.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    boot: String,
    uptime: Duration,
    read: Instant,
}

impl Clock {
    /// As an inspection tells it.
    pub(super) fn of_inspection(output: &[u8]) -> Option<Self> {
        let (boot, uptime) = inspection::parse_time(output)?;
        let read = Instant::now();
        Some(Self { boot, uptime, read })
    }

    /// When a command that is sent now is given up, `limit` from now. No later: it has got at least
    /// so late there since.
    pub(super) fn after(&self, limit: Duration) -> Until {
        Until {
            boot: self.boot.clone(),
            uptime: self.uptime + self.read.elapsed() + limit,
        }
    }
}
