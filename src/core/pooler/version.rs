//! PgBouncer's version, and the one table of what each can do.
//!
//! From PgBouncer's changelog; what 1.18.0 and 1.25.2 really answer is recorded beside
//! `edge::admin_console`, and compared there. Which keys a file may hold is in `render::ini`.

/// PgBouncer's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// What not every version can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Everything that repoint needs: `so_reuseport`, `close_needed` in SHOW SERVERS.
    BeSteered,
    /// SHOW STATE tells of a PAUSE without a database.
    ShowState,
    /// `KILL_CLIENT` frees one client; SHOW CLIENTS has its `id`.
    KillClient,
    /// RELOAD answers with an error when it did not take the whole file.
    TellReloadErrors,
}

/// Since when each is there.
const SINCE: [(Capability, Version); 4] = [
    (Capability::BeSteered, Version(1, 12, 0)),
    (Capability::ShowState, Version(1, 19, 0)),
    (Capability::KillClient, Version(1, 24, 0)),
    (Capability::TellReloadErrors, Version(1, 25, 0)),
];

impl Version {
    /// Reads what a PgBouncer reports at login: `1.18.0/bouncer`.
    #[must_use]
    pub fn parse(reported: &str) -> Option<Self> {
        let (numbers, kind) = reported.split_once('/')?;
        if kind != "bouncer" {
            return None;
        }
        let mut parts = numbers.split('.').map(|part| {
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..end].parse::<u32>().ok()
        });
        Some(Self(
            parts.next()??,
            parts.next()??,
            parts.next().flatten().unwrap_or(0),
        ))
    }

    /// Whether this version can do it.
    #[must_use]
    pub fn can(self, capability: Capability) -> bool {
        let mut rows = SINCE.iter();
        rows.any(|(what, since)| *what == capability && self >= *since)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_pgbouncer_reports_it() {
        assert_eq!(Version::parse("1.18.0/bouncer"), Some(Version(1, 18, 0)));
        assert_eq!(Version::parse("1.25rc1/bouncer"), Some(Version(1, 25, 0)));
        assert_eq!(Version::parse("15.18 (Debian 15.18-0+deb12u1)"), None);
        assert!(Version(1, 9, 0) < Version(1, 12, 0));
    }

    #[test]
    fn each_version_can_do_what_came_with_it_or_before() {
        use Capability::{BeSteered, KillClient, ShowState, TellReloadErrors};
        let table = [
            (Version(1, 11, 0), vec![]),
            (Version(1, 12, 0), vec![BeSteered]),
            (Version(1, 18, 0), vec![BeSteered]),
            (Version(1, 19, 0), vec![BeSteered, ShowState]),
            (Version(1, 23, 1), vec![BeSteered, ShowState]),
            (Version(1, 24, 1), vec![BeSteered, ShowState, KillClient]),
            (
                Version(1, 26, 1),
                vec![BeSteered, ShowState, KillClient, TellReloadErrors],
            ),
        ];
        for (version, expected) in table {
            let all = [BeSteered, ShowState, KillClient, TellReloadErrors];
            let can: Vec<_> = all.into_iter().filter(|c| version.can(*c)).collect();
            assert_eq!(can, expected, "{version}");
        }
    }
}
