//! The order of decisions: what supersedes what.
//!
//! A plain type, because both halves need it: `core` makes decisions, `render` writes their number
//! into the header of a managed file, and the host's script compares it before it renames one.

use crate::config::NodeId;

/// The number of a routing decision. A later one has a greater number; two that were made at the
/// same moment differ in the node that they lead to, so that every PgBouncer sees the same one as
/// the later, or they lead to the same node and are the same decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// Counts decisions; 0 is a file that nobody decided on.
    pub number: u64,
    /// The node that traffic goes to.
    pub node_id: NodeId,
}

impl Generation {
    /// What a file without a header counts as: older than any decision.
    pub const NONE: Self = Self {
        number: 0,
        node_id: NodeId(0),
    };

    /// The decision that comes after this one and leads to `node_id`.
    #[must_use]
    pub fn next(self, node_id: NodeId) -> Self {
        Self {
            number: self.number.saturating_add(1),
            node_id,
        }
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
