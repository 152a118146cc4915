//! How a witness sees the two nodes of a move, and what vote that makes.
//!
//! Pure: [`vote`] turns two sights of one witness into its vote, [`Votes`] counts the votes of one
//! round and says them in a sentence. Looking is `edge::remote`'s; what follows
//! from a round of votes is `core::agreement`'s.
//!
//! A vote is for a move: "I cannot reach A *and* I reach B". A witness through which nothing can be
//! reached (its sshd forbids forwarding, its network is cut) looks like one beside a dead node, so
//! "cannot reach A" counts only from one that reached B in the same round and the same way.

use std::collections::BTreeMap;

use crate::config::NodeId;

/// How a witness sees one node in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It logs in and gets an answer to a query.
    Reached {
        /// Whether the server takes no writes.
        read_only: bool,
    },
    /// A live server answers, but lets nobody in: password, rights, connection limit. No reason to
    /// send its clients away, and no reason to send anybody there.
    Refusing {
        /// The server's words.
        reason: String,
    },
    /// The handshake failed: refused, ended early, or silence on the way to this node.
    NotReached {
        /// What was seen.
        reason: String,
    },
    /// Nothing is known: the witness itself did not answer, or could not look.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// How one witness sees both nodes of a move, in one round and in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sights {
    /// The node to leave.
    pub failed: Sight,
    /// The target.
    pub next: Sight,
}

impl Sights {
    /// Of a witness that could not look.
    #[must_use]
    pub fn unknown(reason: &str) -> Self {
        let reason = reason.to_owned();
        let sight = Sight::Unknown { reason };
        Self {
            failed: sight.clone(),
            next: sight,
        }
    }

    /// See [`vote`].
    #[must_use]
    pub fn vote(&self) -> Vote {
        vote(&self.failed, &self.next)
    }
}

/// A witness's vote on leaving one node for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// It cannot reach the one, and reaches the other.
    For,
    /// It reaches the node to leave.
    Against {
        /// What it saw there.
        reason: String,
    },
    /// It can tell neither.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// The vote of a witness that saw the node to leave as `failed` and the target as `next`, both in
/// the same round and in the same way.
#[must_use]
pub fn vote(failed: &Sight, next: &Sight) -> Vote {
    let unreached = match failed {
        Sight::Reached { .. } => {
            return Vote::Against {
                reason: "it reaches the node to leave".to_owned(),
            };
        }
        Sight::Refusing { reason } => {
            return Vote::Against {
                reason: format!("the node to leave answers it: {reason}"),
            };
        }
        Sight::Unknown { reason } => {
            return Vote::Unknown {
                reason: reason.clone(),
            };
        }
        Sight::NotReached { reason } => reason,
    };
    let reason = match next {
        Sight::Reached { read_only: false } => return Vote::For,
        Sight::Reached { read_only: true } => "the target is read-only".to_owned(),
        Sight::Refusing { reason } => format!("the target lets nobody in: {reason}"),
        Sight::NotReached { reason } if reason == unreached => {
            format!("it reaches neither node: {reason}")
        }
        Sight::NotReached { reason } => {
            format!("it reaches neither node: {unreached}; the target: {reason}")
        }
        Sight::Unknown { reason } => format!("it could not look at the target: {reason}"),
    };
    Vote::Unknown { reason }
}

/// The votes of one round, by the name of the witness. Those of another round are never added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Votes {
    by_witness: BTreeMap<String, Vote>,
}

impl Votes {
    /// Of all witnesses that are configured; one that did not answer has an unknown vote.
    #[must_use]
    pub fn new(by_witness: BTreeMap<String, Vote>) -> Self {
        Self { by_witness }
    }

    /// Whether at least `needed` of them are for the move.
    #[must_use]
    pub fn carry(&self, needed: usize) -> bool {
        self.in_favour() >= needed
    }

    /// Who voted how, and why, in one line for a log.
    #[must_use]
    pub fn sentence(&self, failed: NodeId, next: NodeId) -> String {
        let (count, all) = (self.in_favour(), self.by_witness.len());
        let (witnesses, votes) = match (count, all) {
            (_, 0) => return format!("no witness votes on leaving node {failed} for node {next}"),
            (_, 1) => ("witness", "votes"),
            (1, _) => ("witnesses", "votes"),
            _ => ("witnesses", "vote"),
        };
        let each: Vec<_> = self.by_witness.iter().map(told).collect();
        format!(
            "{count} of {all} {witnesses} {votes} to leave node {failed} for node {next} ({})",
            each.join("; ")
        )
    }

    fn in_favour(&self) -> usize {
        self.by_witness
            .values()
            .filter(|vote| matches!(vote, Vote::For))
            .count()
    }
}

/// One witness's part of the sentence.
fn told((witness, vote): (&String, &Vote)) -> String {
    let text = match vote {
        Vote::For => format!("`{witness}` yes"),
        Vote::Against { reason } => format!("`{witness}` no: {reason}"),
        Vote::Unknown { reason } => format!("`{witness}` cannot tell: {reason}"),
    };
    // A reason may hold a server's own words.
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(read_only: bool) -> Sight {
        Sight::Reached { read_only }
    }

    fn refusing() -> Sight {
        let reason = "FATAL: sorry, too many clients already (53300)".to_owned();
        Sight::Refusing { reason }
    }

    fn not_reached(reason: &str) -> Sight {
        let reason = reason.to_owned();
        Sight::NotReached { reason }
    }

    fn unknown(reason: &str) -> Sight {
        let reason = reason.to_owned();
        Sight::Unknown { reason }
    }

    /// Every kind of sight.
    fn all() -> [Sight; 5] {
        [
            reached(false),
            reached(true),
            refusing(),
            not_reached("refused"),
            unknown("no ssh"),
        ]
    }

    #[test]
    fn only_one_that_cannot_reach_the_one_and_reaches_the_other_is_for_the_move() {
        let full = "FATAL: sorry, too many clients already (53300)";
        let told = |failed: &Sight, next: &Sight| match vote(failed, next) {
            Vote::For => "for".to_owned(),
            Vote::Against { reason } => format!("against: {reason}"),
            Vote::Unknown { reason } => format!("unknown: {reason}"),
        };
        let reaches = "against: it reaches the node to leave".to_owned();
        let answers = format!("against: the node to leave answers it: {full}");
        let no_ssh = "unknown: no ssh".to_owned();
        let whatever_the_target = [
            (reached(false), &reaches),
            (reached(true), &reaches),
            (refusing(), &answers),
            (unknown("no ssh"), &no_ssh),
        ];
        for (failed, text) in whatever_the_target {
            for next in all() {
                assert_eq!(told(&failed, &next), *text, "{failed:?} {next:?}");
            }
        }
        let unreached = [
            "for".to_owned(),
            "unknown: the target is read-only".to_owned(),
            format!("unknown: the target lets nobody in: {full}"),
            "unknown: it reaches neither node: refused".to_owned(),
            "unknown: it could not look at the target: no ssh".to_owned(),
        ];
        for (next, text) in all().iter().zip(&unreached) {
            assert_eq!(told(&not_reached("refused"), next), *text);
        }
    }

    #[test]
    fn two_nodes_that_are_unreached_in_different_ways_are_told_apart() {
        assert_eq!(
            vote(&not_reached("refused"), &not_reached("no answer")),
            Vote::Unknown {
                reason: "it reaches neither node: refused; the target: no answer".to_owned()
            }
        );
    }

    fn votes(each: &[(&str, Vote)]) -> Votes {
        let each = each.iter().cloned();
        Votes::new(each.map(|(name, vote)| (name.to_owned(), vote)).collect())
    }

    fn against() -> Vote {
        vote(&reached(false), &reached(false))
    }

    fn sentence(each: &[(&str, Vote)]) -> String {
        votes(each).sentence(NodeId(1), NodeId(2))
    }

    #[test]
    fn a_move_is_carried_by_votes_for_it_and_by_no_others() {
        let unknown = vote(&unknown("no ssh"), &reached(false));
        let two = votes(&[
            ("a", Vote::For),
            ("b", Vote::For),
            ("c", against()),
            ("d", unknown),
        ]);
        assert!(two.carry(0) && two.carry(1) && two.carry(2));
        assert!(!two.carry(3) && !two.carry(4));
        assert!(votes(&[]).carry(0) && !votes(&[]).carry(1));
    }

    #[test]
    fn the_sentence_names_who_voted_how_and_why() {
        assert_eq!(
            sentence(&[("db1", Vote::For), ("pgb2", Vote::For), ("db2", against())]),
            "2 of 3 witnesses vote to leave node 1 for node 2 (`db1` yes; `db2` no: it reaches the \
             node to leave; `pgb2` yes)"
        );
        let neither = vote(&not_reached("refused"), &not_reached("refused"));
        assert_eq!(
            sentence(&[("db1", Vote::For), ("pgb2", neither)]),
            "1 of 2 witnesses votes to leave node 1 for node 2 (`db1` yes; `pgb2` cannot tell: it \
             reaches neither node: refused)"
        );
        assert_eq!(
            sentence(&[("db1", Vote::For)]),
            "1 of 1 witness votes to leave node 1 for node 2 (`db1` yes)"
        );
        assert_eq!(
            sentence(&[("db1", against())]),
            "0 of 1 witness votes to leave node 1 for node 2 (`db1` no: it reaches the node to \
             leave)"
        );
        assert_eq!(
            sentence(&[]),
            "no witness votes on leaving node 1 for node 2"
        );
    }

    #[test]
    fn a_servers_words_break_no_line() {
        let words = unknown("one\r\ntwo\x1b[31m");
        let text = sentence(&[("db1", vote(&words, &reached(false)))]);
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
