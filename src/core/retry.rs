//! Waiting times between attempts at one PgBouncer's redirect.
//!
//! Decides how long to wait, from the number of failures and a random number that comes in. The
//! waiting times of *connecting* are the `backoff` crate's, at the edge.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// A PgBouncer that was wrong for long is looked at this often.
const LONGEST: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retry {
    failures: u32,
}

impl Retry {
    /// How long to wait after one more failure: doubled each time, up to a limit, and spread by
    /// `random` (0 up to 1) over the upper half, so that agents do not meet again and again.
    pub fn failed(&mut self, random: f64) -> Duration {
        let doubled = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds_and_start_again_after_a_success() {
        let mut retry = Retry::default();
        let waits: Vec<u128> = (0..8).map(|_| retry.failed(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        retry.succeeded();
        assert_eq!(retry.failed(0.0), Duration::from_millis(50));
    }
}
