//! How long an agent waits after it has lost a ballot to another one.
//!
//! The waits look random and differ between agents, so that two of them do not meet again and
//! again; they follow from the agent's node and how often it has waited, so that a simulation
//! repeats them.

use std::time::Duration;

use crate::config::NodeId;

/// A round without a silent node takes some milliseconds.
const SHORTEST: Duration = Duration::from_millis(20);
/// Doubled up to this many times.
const DOUBLINGS_MAX: u32 = 5;

#[derive(Debug, Clone)]
pub(super) struct Backoff {
    state: u64,
    lost: u32,
}

impl Backoff {
    pub(super) fn new(own: NodeId) -> Self {
        Self {
            state: u64::from(own.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            lost: 0,
        }
    }

    /// One more ballot was lost: how long to wait.
    pub(super) fn lost(&mut self) -> Duration {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let longest = SHORTEST * (1 << self.lost.min(DOUBLINGS_MAX));
        self.lost += 1;
        // The upper bits: 0 up to 1.
        let part = (self.state >> 32) as f64 / f64::from(u32::MAX);
        SHORTEST + longest.mul_f64(part)
    }

    /// How often in a row.
    pub(super) fn count(&self) -> u32 {
        self.lost
    }

    pub(super) fn forget(&mut self) {
        self.lost = 0;
    }
}
