//! A clock that nobody sets, and that is a little fast or slow.

use std::time::Duration;

use super::random::Random;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Its seconds in one of the world's.
    rate: f64,
}

impl Clock {
    /// No more than a hundredth fast or slow: far worse than any that is built.
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            rate: 0.99 + random.fraction() * 0.02,
        }
    }

    pub(crate) fn at(self, now: Duration) -> Duration {
        now.mul_f64(self.rate)
    }

    /// When it will show this.
    pub(crate) fn shows(self, time: Duration) -> Duration {
        time.div_f64(self.rate) + Duration::from_micros(1)
    }
}
