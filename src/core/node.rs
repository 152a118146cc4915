//! One node's health: up, suspect, down.
//!
//! Decides when to probe and when a node counts as down; repmgr's `monitor_interval_secs`,
//! `reconnect_attempts` and `reconnect_interval` in one table. Probing itself is `edge::postgres`,
//! what follows from a node's health is [`crate::core::cluster`].

use std::time::{Duration, Instant};

use crate::config::Monitoring;

/// How a node fails, as seen from outside. It decides how its PgBouncers are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Connections are refused or reset: PgBouncer's own connections are gone too.
    Crash,
    /// Silence: PgBouncer's connections hang, and a PAUSE would wait for them.
    Blackhole,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Blackhole => "blackhole",
        })
    }
}

/// What one probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The query was answered. `identity` differs between any two starts of any two servers.
    Healthy {
        /// `pg_postmaster_start_time()`, to the microsecond.
        identity: String,
    },
    /// A live server that does not want us (password, rights, connection limit). No reason to send
    /// its clients away, and no reason to send anybody there.
    Refusing {
        /// The server's words.
        reason: String,
    },
    /// No sign of life.
    Failed {
        /// In which way.
        fault: Fault,
        /// The error.
        reason: String,
    },
}

/// What is believed of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// The last probe was answered.
    Up {
        /// See [`Probe::Healthy`].
        identity: String,
    },
    /// It answers, but refuses us.
    Refusing {
        /// The server's words.
        reason: String,
    },
    /// The last probe failed; it is being tried again.
    Suspect {
        /// Tries so far, of `reconnect_attempts`.
        attempt: u32,
        /// The last error.
        reason: String,
    },
    /// All tries failed.
    Down {
        /// How the last one failed.
        fault: Fault,
        /// The last error.
        reason: String,
        /// When it was first found failing.
        since: Instant,
    },
}

/// A change of health that a log line is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// First answer, or the first after silence: how long it was away, if it ever was.
    CameUp {
        /// Whether it had counted as down.
        was_down: bool,
        /// Since the first failed probe.
        after: Option<Duration>,
    },
    /// A probe of a healthy node failed.
    BecameSuspect,
    /// A further try failed.
    StillSuspect,
    /// The last try failed.
    WentDown,
    /// A live server began to refuse us.
    BeganToRefuse,
}

/// Watches one node.
#[derive(Debug, Clone)]
pub struct Monitor {
    settings: Monitoring,
    health: Health,
    failing_since: Option<Instant>,
    next_probe: Instant,
}

impl Monitor {
    /// Begins without an opinion; the first probe is due at once.
    #[must_use]
    pub fn new(settings: Monitoring, now: Instant) -> Self {
        Self {
            settings,
            health: Health::Unknown,
            failing_since: None,
            next_probe: now,
        }
    }

    /// What is believed now.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When the next probe is due. Changes only in [`Monitor::handle`].
    #[must_use]
    pub fn next_probe(&self) -> Instant {
        self.next_probe
    }

    /// Takes the result of a probe that was begun at `started` and ended at `now`. Intervals count
    /// from the beginning of a probe, so that a node that is silent is not given longer than one
    /// that refuses.
    pub fn handle(&mut self, probe: Probe, started: Instant, now: Instant) -> Option<Transition> {
        let (health, transition) = match probe {
            Probe::Healthy { identity } => self.answered(identity, now),
            Probe::Refusing { reason } => {
                self.failing_since = None;
                let began = !matches!(self.health, Health::Refusing { .. });
                (
                    Health::Refusing { reason },
                    began.then_some(Transition::BeganToRefuse),
                )
            }
            Probe::Failed { fault, reason } => self.failed(fault, reason, started),
        };
        self.health = health;
        let interval = match (&self.health, &transition) {
            // The first try follows at once: a blip is over by then.
            (Health::Suspect { .. }, Some(Transition::BecameSuspect)) => Duration::ZERO,
            (Health::Suspect { .. }, _) => self.settings.reconnect_interval,
            (
                Health::Unknown | Health::Up { .. } | Health::Refusing { .. } | Health::Down { .. },
                _,
            ) => self.settings.monitor_interval,
        };
        self.next_probe = (started + interval).max(now);
        transition
    }

    fn answered(&mut self, identity: String, now: Instant) -> (Health, Option<Transition>) {
        let after = self
            .failing_since
            .take()
            .map(|since| now.saturating_duration_since(since));
        let transition = match &self.health {
            Health::Up { .. } => None,
            Health::Down { .. } => Some(Transition::CameUp {
                was_down: true,
                after,
            }),
            Health::Unknown | Health::Refusing { .. } | Health::Suspect { .. } => {
                Some(Transition::CameUp {
                    was_down: false,
                    after,
                })
            }
        };
        (Health::Up { identity }, transition)
    }

    fn failed(
        &mut self,
        fault: Fault,
        reason: String,
        started: Instant,
    ) -> (Health, Option<Transition>) {
        let since = *self.failing_since.get_or_insert(started);
        let down = |reason| Health::Down {
            fault,
            reason,
            since,
        };
        match &self.health {
            Health::Down { .. } => (down(reason), None),
            Health::Suspect { attempt, .. } if attempt + 1 >= self.settings.reconnect_attempts => {
                (down(reason), Some(Transition::WentDown))
            }
            Health::Suspect { attempt, .. } => {
                let attempt = attempt + 1;
                (
                    Health::Suspect { attempt, reason },
                    Some(Transition::StillSuspect),
                )
            }
            Health::Unknown | Health::Up { .. } | Health::Refusing { .. } => {
                if self.settings.reconnect_attempts == 0 {
                    return (down(reason), Some(Transition::WentDown));
                }
                (
                    Health::Suspect { attempt: 0, reason },
                    Some(Transition::BecameSuspect),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(attempts: u32) -> (Monitor, Instant) {
        let now = Instant::now();
        let settings = Monitoring {
            monitor_interval: Duration::from_secs(5),
            reconnect_attempts: attempts,
            reconnect_interval: Duration::from_secs(5),
            recovery_timeout: Duration::from_secs(30),
            local_only: false,
        };
        (Monitor::new(settings, now), now)
    }

    fn healthy() -> Probe {
        Probe::Healthy {
            identity: "a".to_owned(),
        }
    }

    fn refused() -> Probe {
        Probe::Failed {
            fault: Fault::Crash,
            reason: "refused".to_owned(),
        }
    }

    /// Runs probes that take `lasts` from the monitor's own schedule until the node is down.
    fn time_to_down(
        monitor: &mut Monitor,
        begin: Instant,
        lasts: Duration,
        probe: &Probe,
    ) -> Duration {
        for _ in 0..1000 {
            let started = monitor.next_probe();
            let now = started + lasts;
            if monitor.handle(probe.clone(), started, now) == Some(Transition::WentDown) {
                return now - begin;
            }
        }
        panic!("never down");
    }

    #[test]
    fn the_settings_of_the_page_decide_25_to_30_s_after_a_refused_connection() {
        let (mut monitor, start) = monitor(6);
        monitor.handle(healthy(), start, start);
        // The node dies just after that probe, or just before the next.
        let next = monitor.next_probe();
        assert_eq!(next - start, Duration::from_secs(5));
        let total = time_to_down(&mut monitor, start, Duration::ZERO, &refused());
        assert_eq!(total, Duration::from_secs(30));
        assert_eq!(total - (next - start), Duration::from_secs(25));
    }

    #[test]
    fn a_silent_node_is_given_no_more_time_than_one_that_refuses() {
        let (mut monitor, start) = monitor(6);
        let silent = Probe::Failed {
            fault: Fault::Blackhole,
            reason: "silent".to_owned(),
        };
        monitor.handle(healthy(), start, start);
        let two = Duration::from_secs(2);
        let total = time_to_down(&mut monitor, start, two, &silent);
        // First failure at 5 + 2 s, first try from there, five intervals, the last try's own 2 s.
        assert_eq!(total, Duration::from_secs(5 + 2 + 25 + 2));
        assert!(matches!(
            monitor.health(),
            Health::Down {
                fault: Fault::Blackhole,
                ..
            }
        ));
    }

    #[test]
    fn no_attempts_means_down_at_the_first_failure() {
        let (mut monitor, start) = monitor(0);
        monitor.handle(healthy(), start, start);
        let at = monitor.next_probe();
        assert_eq!(
            monitor.handle(refused(), at, at),
            Some(Transition::WentDown)
        );
    }

    #[test]
    fn a_blip_shorter_than_the_tries_leaves_the_node_up() {
        let (mut monitor, start) = monitor(3);
        monitor.handle(healthy(), start, start);
        let at = monitor.next_probe();
        assert_eq!(
            monitor.handle(refused(), at, at),
            Some(Transition::BecameSuspect)
        );
        assert_eq!(monitor.next_probe(), at, "the first try follows at once");
        assert_eq!(
            monitor.handle(refused(), at, at),
            Some(Transition::StillSuspect)
        );
        let later = monitor.next_probe();
        assert_eq!(later - at, Duration::from_secs(5));
        let up = monitor.handle(healthy(), later, later);
        let after = Some(Duration::from_secs(5));
        assert_eq!(
            up,
            Some(Transition::CameUp {
                was_down: false,
                after
            })
        );
    }

    #[test]
    fn a_server_that_refuses_us_is_not_down() {
        let (mut monitor, start) = monitor(0);
        let refusing = Probe::Refusing {
            reason: "password".to_owned(),
        };
        assert_eq!(
            monitor.handle(refusing.clone(), start, start),
            Some(Transition::BeganToRefuse)
        );
        assert_eq!(monitor.handle(refusing, start, start), None);
        assert!(matches!(monitor.health(), Health::Refusing { .. }));
    }

    #[test]
    fn a_node_that_is_down_is_watched_and_comes_back() {
        let (mut monitor, start) = monitor(0);
        monitor.handle(refused(), start, start);
        assert_eq!(monitor.handle(refused(), start, start), None);
        let later = start + Duration::from_secs(60);
        let back = monitor.handle(healthy(), later, later);
        let after = Some(Duration::from_secs(60));
        assert_eq!(
            back,
            Some(Transition::CameUp {
                was_down: true,
                after
            })
        );
    }
}
