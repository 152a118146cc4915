//! The order of decisions: what supersedes what.
//!
//! A plain type, because both halves need it: `core` makes decisions, `render` writes their number
//! into the header of a managed file, and the host's script compares it before it renames one.

use crate::config::NodeId;

/// How many numbers an era has. The upper digits of a number are its era, which only an operator's
/// force raises; the lower ones count within it. With six digits of eras a number has eighteen,
/// which is what every shell can compare.
pub const ERA: u64 = 1_000_000_000_000;
/// The last era whose numbers have no more than eighteen digits.
const ERA_MAX: u64 = 999_999;

/// The number of a routing decision. A later one has a greater number; two that were made at the
/// same moment differ in their node, so that every PgBouncer and every witness sees the same one as
/// the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// Counts decisions; 0 is a file that nobody decided on.
    pub number: u64,
    /// Among witnesses: the node of the agent that asks, so that no two agents have the same
    /// ballot. Without them: the node that traffic goes to, so that two agents that lead to the
    /// same node have made the same decision.
    pub node_id: NodeId,
}

impl Generation {
    /// What a file without a header counts as: older than any decision.
    pub const NONE: Self = Self {
        number: 0,
        node_id: NodeId(0),
    };

    /// The decision that comes after this one, with `node_id` as its node. The last number of an
    /// era stays the last: nothing that counts on its own reaches the next era.
    #[must_use]
    pub fn next(self, node_id: NodeId) -> Self {
        let last = self.within_era() == ERA - 1;
        let number = self.number.saturating_add(u64::from(!last));
        Self { number, node_id }
    }

    /// The first decision of the era after this one, with `node_id` as its node: later than
    /// whatever was decided in this era, also by agents that nobody reaches. In the last era, the
    /// next decision.
    #[must_use]
    pub fn next_era(self, node_id: NodeId) -> Self {
        if self.era() >= ERA_MAX {
            return self.next(node_id);
        }
        Self {
            number: (self.era() + 1) * ERA + 1,
            node_id,
        }
    }

    /// How often an operator forced a decision.
    #[must_use]
    pub const fn era(self) -> u64 {
        self.number / ERA
    }

    /// Its number within its era.
    #[must_use]
    pub const fn within_era(self) -> u64 {
        self.number % ERA
    }

    /// Reads `number.node_id`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, node_id) = text.split_once('.')?;
        Some(Self {
            number: digits(number)?,
            node_id: NodeId(digits(node_id)?),
        })
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self::NONE
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.number, self.node_id)
    }
}

/// `str::parse` would take a leading `+`, which the host's script does not.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_number_wins_and_the_node_id_breaks_a_tie() {
        let one = Generation {
            number: 4,
            node_id: NodeId(2),
        };
        let two = Generation {
            number: 5,
            node_id: NodeId(1),
        };
        assert!(one < two);
        assert!(two < two.next(NodeId(1)));
        assert!(
            Generation {
                number: 5,
                node_id: NodeId(1)
            } < Generation {
                number: 5,
                node_id: NodeId(2)
            }
        );
        assert!(
            Generation::NONE
                < Generation {
                    number: 0,
                    node_id: NodeId(1)
                }
        );
    }

    #[test]
    fn only_the_next_era_lies_beyond_the_last_number_of_an_era() {
        let of = |number| Generation {
            number,
            node_id: NodeId(1),
        };
        let last = of(ERA - 1);
        assert_eq!((last.era(), last.within_era()), (0, ERA - 1));
        assert_eq!(of(ERA - 2).next(NodeId(1)), last);
        assert_eq!(last.next(NodeId(1)), last);
        let forced = last.next_era(NodeId(1));
        assert_eq!((forced.era(), forced.within_era()), (1, 1));
        assert!(last.next(NodeId(2)) < forced);
        assert_eq!(of(7).next_era(NodeId(1)), forced);
        assert_eq!(forced.next(NodeId(1)).era(), 1);
    }

    #[test]
    fn no_number_that_is_counted_to_has_more_than_eighteen_digits() {
        let last = Generation {
            number: 999_999_999_999_999_999,
            node_id: NodeId(1),
        };
        assert_eq!(last.next(NodeId(1)), last);
        assert_eq!(last.next_era(NodeId(1)), last);
        let before = Generation {
            number: 999_998 * ERA,
            ..last
        };
        assert_eq!(before.next_era(NodeId(1)).number, 999_999 * ERA + 1);
        // A header may claim any number.
        let rogue = Generation {
            number: u64::MAX,
            ..last
        };
        assert!(rogue.next(NodeId(2)) > rogue);
        assert!(rogue.next_era(NodeId(2)) > rogue);
    }

    #[test]
    fn what_display_writes_parse_reads() {
        let generation = Generation {
            number: 71,
            node_id: NodeId(2),
        };
        assert_eq!(Generation::parse(&generation.to_string()), Some(generation));
        for bad in [
            "",
            "7",
            "7.",
            ".1",
            "+7.1",
            "7.1.1",
            "7.x",
            "99999999999999999999.1",
        ] {
            assert_eq!(Generation::parse(bad), None, "{bad}");
        }
    }
}
