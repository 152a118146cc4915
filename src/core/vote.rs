//! What a witness sees of the nodes of a move, and which vote that makes.
//!
//! Decides; looking is `edge`'s, and what votes lead to is [`crate::core::agreement`]'s. A vote is
//! for a move: "I cannot reach the node to leave, *and* I reach the one to go to". A witness that
//! reaches neither may itself be cut off, or not be allowed to forward: it has no opinion.

use std::collections::BTreeMap;

use crate::config::NodeId;

/// How a witness sees one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It answers: a login, and one question.
    Reached {
        /// It takes no writes.
        read_only: bool,
    },
    /// The way was open, and nobody answered, or not as a server does.
    NotReached {
        /// What happened.
        reason: String,
    },
    /// Nothing can be said: nobody looked, or not to the end.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// What a witness says to a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// Move.
    For,
    /// Stay: the node that is to be left is alive, or the one to go to cannot serve.
    Against {
        /// Why.
        reason: String,
    },
    /// Neither.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// The vote that two sights of one witness make, which were had at the same time and the same way.
#[must_use]
pub fn vote(failed: &Sight, next: &Sight) -> Vote {
    let against = |reason: &str| Vote::Against {
        reason: reason.to_owned(),
    };
    match (failed, next) {
        (Sight::Reached { .. }, _) => against("reaches the node to leave"),
        (Sight::NotReached { .. }, Sight::Reached { read_only: false }) => Vote::For,
        (Sight::NotReached { .. }, Sight::Reached { read_only: true }) => {
            against("the node to go to is read-only")
        }
        (Sight::NotReached { .. }, Sight::NotReached { reason }) => Vote::Unknown {
            reason: format!("reaches neither node: {reason}"),
        },
        (Sight::Unknown { reason }, _) | (_, Sight::Unknown { reason }) => Vote::Unknown {
            reason: reason.clone(),
        },
    }
}

/// The votes of all witnesses, in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Votes(BTreeMap<String, Vote>);

impl Votes {
    /// By the names of the witnesses.
    #[must_use]
    pub fn new(votes: BTreeMap<String, Vote>) -> Self {
        Self(votes)
    }

    /// Whether so many are for the move.
    #[must_use]
    pub fn carry(&self, needed: usize) -> bool {
        self.count() >= needed
    }

    fn count(&self) -> usize {
        self.0.values().filter(|vote| **vote == Vote::For).count()
    }

    /// Who is for leaving `failed` for `next`, and why the others are not.
    #[must_use]
    pub fn sentence(&self, failed: NodeId, next: NodeId) -> String {
        let other = |(name, vote): (&String, &Vote)| match vote {
            Vote::For => None,
            Vote::Against { reason } => Some(format!("; {name} is against it: {reason}")),
            Vote::Unknown { reason } => Some(format!("; {name} cannot tell: {reason}")),
        };
        let others: String = self.0.iter().filter_map(other).collect();
        format!(
            "{} of {} witnesses cannot reach node {failed} and reach node {next}{others}",
            self.count(),
            self.0.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(read_only: bool) -> Sight {
        Sight::Reached { read_only }
    }

    fn not_reached() -> Sight {
        Sight::NotReached {
            reason: "connection refused".to_owned(),
        }
    }

    fn unknown() -> Sight {
        Sight::Unknown {
            reason: "the session is gone".to_owned(),
        }
    }

    #[test]
    fn only_who_reaches_the_one_and_not_the_other_is_for_a_move() {
        let sights = [reached(false), reached(true), not_reached(), unknown()];
        for failed in &sights {
            for next in &sights {
                let is_for = vote(failed, next) == Vote::For;
                assert_eq!(
                    is_for,
                    (failed, next) == (&not_reached(), &reached(false)),
                    "{failed:?}, {next:?}"
                );
            }
        }
    }

    #[test]
    fn a_witness_that_reaches_the_node_to_leave_is_against_it_whatever_else_it_sees() {
        for next in [reached(false), reached(true), not_reached(), unknown()] {
            let reason = "reaches the node to leave".to_owned();
            assert_eq!(vote(&reached(false), &next), Vote::Against { reason });
        }
    }

    #[test]
    fn the_sentence_names_who_is_not_for_it_and_why() {
        let votes = [
            ("pgb1", vote(&not_reached(), &reached(false))),
            ("pgb2", vote(&reached(false), &reached(false))),
            ("pgb3", vote(&not_reached(), &not_reached())),
            ("pgb4", vote(&not_reached(), &reached(true))),
            ("pgb5", vote(&unknown(), &unknown())),
        ];
        let votes = votes.map(|(name, vote)| (name.to_owned(), vote));
        let votes = Votes::new(votes.into());
        assert!(votes.carry(1) && !votes.carry(2));
        assert_eq!(
            votes.sentence(NodeId(1), NodeId(2)),
            "1 of 5 witnesses cannot reach node 1 and reach node 2; pgb2 is against it: reaches \
             the node to leave; pgb3 cannot tell: reaches neither node: connection refused; pgb4 \
             is against it: the node to go to is read-only; pgb5 cannot tell: the session is gone"
        );
    }
}
