//! What is on its way, and when it arrives.

use std::collections::BTreeMap;
use std::time::Duration;

/// Numbers that look random and are the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

/// Messages by the time of their arrival.
#[derive(Debug, Clone)]
pub(crate) struct Network<M> {
    waiting: BTreeMap<(Duration, u64), M>,
    sent: u64,
}

impl<M> Default for Network<M> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            sent: 0,
        }
    }
}

impl<M> Network<M> {
    pub(crate) fn send(&mut self, message: M, arrives: Duration) {
        self.sent += 1;
        self.waiting.insert((arrives, self.sent), message);
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn take(&mut self, now: Duration) -> Option<M> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
