//! How many files and sockets this process may have open.
//!
//! The limit is raised to what the fleet needs and no further: the operator's command inherits it,
//! and there are programs that try every number below it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The daemon without any PgBouncer: the nodes' sessions, log, signals, the operator's command, the
/// status page.
const DAEMON: u64 = 64;
/// A PgBouncer while it is connected or redirected: the handshake, a shell in the session, the
/// pipes of a verb. Measured with 20 of them, console included: 3 each in peace, 8 in a redirect.
/// The numbers here are twice that.
const PGBOUNCER: u64 = 12;
/// Each of its consoles: the session, the one of a PAUSE, a query through it.
const CONSOLE: u64 = 4;

/// What was found, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What the fleet needs.
    pub needed: u64,
    /// How many there may be at once, as it was; `None`: any number.
    pub before: Option<u64>,
    /// And from now on.
    pub now: Option<u64>,
}

impl Room {
    /// Whether all of them can be open at once.
    #[must_use]
    pub fn suffices(&self) -> bool {
        self.now.is_none_or(|now| now >= self.needed)
    }
}

/// What so many PgBouncers with so many consoles altogether need.
#[must_use]
pub fn needed(pgbouncers: usize, consoles: usize) -> u64 {
    DAEMON + PGBOUNCER * pgbouncers as u64 + CONSOLE * consoles as u64
}

/// Raises the soft limit to `needed`, as far as the hard limit lets it.
#[must_use]
pub fn make_room(needed: u64) -> Room {
    let limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    let now = raised(limit, needed);
    let wanted = Rlimit {
        current: now,
        ..limit
    };
    // Below the hard limit it is always granted.
    let granted = now == before || setrlimit(Resource::Nofile, wanted).is_ok();
    Room {
        needed,
        before,
        now: if granted { now } else { before },
    }
}

/// The soft limit that serves.
fn raised(limit: Rlimit, needed: u64) -> Option<u64> {
    let most = limit.maximum.map_or(needed, |hard| needed.min(hard));
    limit.current.map(|soft| soft.max(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_as_far_as_needed_and_never_lowered() {
        let limit = |current, maximum| Rlimit { current, maximum };
        for (now, needed, expected, why) in [
            (
                limit(Some(1024), Some(20_000)),
                400,
                Some(1024),
                "it is enough",
            ),
            (
                limit(Some(1024), Some(20_000)),
                1600,
                Some(1600),
                "as far as needed",
            ),
            (
                limit(Some(1024), Some(1200)),
                1600,
                Some(1200),
                "as far as it goes",
            ),
            (limit(Some(1024), None), 1600, Some(1600), "no hard limit"),
            (limit(None, None), 1600, None, "no limit at all"),
        ] {
            assert_eq!(raised(now, needed), expected, "{why}");
        }
    }

    #[test]
    fn a_limit_below_what_is_needed_is_not_enough() {
        let room = |now| Room {
            needed: needed(50, 50),
            before: Some(256),
            now,
        };
        assert!(!room(Some(256)).suffices());
        assert!(room(Some(needed(50, 50))).suffices());
        assert!(room(None).suffices());
    }
}
