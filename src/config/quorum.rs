//! Who has to agree before traffic is moved: `quorum`, `[[witness]]`, `failover_cooldown`.
//!
//! Plain values; what they mean for a decision is `core::agreement`'s.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Host;

/// What decisions are made by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Agreement {
    /// How many witnesses have to agree.
    pub quorum: Quorum,
    /// A node is not left again within this time after the last move (60 s unless told).
    pub cooldown: Duration,
    /// Hosts without a PgBouncer that vote as well, by name.
    pub witnesses: BTreeMap<String, WitnessHost>,
}

/// A host without a PgBouncer that has a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessHost {
    /// Where it is.
    pub host: Host,
    /// Where it keeps its ledger, absolute.
    pub directory: PathBuf,
    /// As for a PgBouncer ([`super::PgBouncer::witness_command`]).
    pub command: Option<PathBuf>,
}

/// How many witnesses have to vote for a move, and to remember it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quorum {
    /// More than half of all that are configured.
    Majority,
    /// One. Two agents that are cut off from each other may decide differently.
    Any,
    /// None: each agent goes by what it sees itself, as repmgr does.
    #[default]
    None,
}

impl Quorum {
    /// How many of `witnesses` are needed.
    #[must_use]
    pub const fn needed(self, witnesses: usize) -> usize {
        match self {
            Self::Majority => witnesses / 2 + 1,
            Self::Any => 1,
            Self::None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quorum;

    #[test]
    fn a_majority_is_more_than_half() {
        let needed = [1, 2, 3, 4, 5].map(|all| Quorum::Majority.needed(all));
        assert_eq!(needed, [1, 2, 2, 3, 3]);
        assert_eq!((Quorum::Any.needed(5), Quorum::None.needed(5)), (1, 0));
    }
}
