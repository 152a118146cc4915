//! Which node of a streaming cluster is the primary: one that takes writes, that says so in its own
//! `repmgr.nodes`, and that no other one has replaced.
//!
//! Decides from what every node said of itself at one moment; asking them is
//! `cluster_db::promotion`'s.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::config::NodeId;

/// One node, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Which.
    pub node_id: NodeId,
    /// Its name.
    pub node_name: String,
    /// What it said, or why it said nothing.
    pub answer: Result<Standing, String>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// The timeline that it writes; `None` for a standby. A promotion begins a new one, so an old
    /// primary has a lower number than the one that replaced it.
    pub timeline: Option<u32>,
    /// Which cluster its data are a copy of; `None`: its version does not tell.
    pub system: Option<String>,
    /// The type of its own row in its own `repmgr.nodes`, and whether that row is active.
    pub row: Option<(String, bool)>,
    /// The nodes whose rows are not active there: repmgr has given them up.
    pub inactive: BTreeSet<NodeId>,
}

/// What is to be thought of a node that was promoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the primary; with what a person should know all the same.
    Primary(Vec<String>),
    /// Not as far as can be seen at this moment; that may change.
    NotYet(String),
    /// It is not, and will not be.
    Refused(String),
}

/// The only primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub node_id: NodeId,
    /// Nodes that said nothing and that the primary takes for alive: one of them may be a primary
    /// that came after it.
    pub doubtful: BTreeSet<NodeId>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Sight {
    fn open(&self) -> Option<&Standing> {
        let standing = self.answer.as_ref().ok()?;
        (!standing.in_recovery).then_some(standing)
    }
}

impl std::fmt::Display for Sight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {:?} (ID: {})", self.node_name, self.node_id)
    }
}

/// Whether `node` is the primary. `local` is the node that the configuration vouches for.
#[must_use]
pub fn judge(node: NodeId, local: NodeId, sights: &[Sight]) -> Verdict {
    let Some(sight) = sights.iter().find(|sight| sight.node_id == node) else {
        let silent = sights.iter().filter(|sight| sight.answer.is_err());
        let silent: String = silent
            .map(|sight| format!("; {}", why_not(sight)))
            .collect();
        return Verdict::NotYet(format!(
            "no node that is known here has the id {node}{silent}"
        ));
    };
    let standing = match &sight.answer {
        Ok(standing) => standing,
        Err(why) => return Verdict::NotYet(format!("{sight} cannot be asked: {why}")),
    };
    let vouched = sights.iter().find(|sight| sight.node_id == local);
    let vouched = vouched.and_then(|sight| sight.answer.as_ref().ok());
    if vouched.is_some_and(|vouched| other_system(vouched, standing)) {
        return Verdict::Refused(format!(
            "{sight} is a server of another cluster than node {local}: its system identifier is \
             another; correct its conninfo"
        ));
    }
    if let Some(why) = not_writable(standing) {
        return Verdict::NotYet(format!("{sight} {why}"));
    }
    let mut notes = Vec::new();
    for rival in sights.iter().filter(|rival| rival.node_id != node) {
        let Some(other) = rival.open() else { continue };
        if other_system(other, standing) {
            notes.push(format!(
                "{rival} is a server of another cluster; correct its conninfo"
            ));
            continue;
        }
        match other.timeline.cmp(&standing.timeline) {
            Ordering::Greater => {
                return Verdict::Refused(format!(
                    "{sight} is an old primary, on timeline {}: {rival} was promoted after it, \
                     to timeline {}; stop or rejoin the old one",
                    number(standing.timeline),
                    number(other.timeline),
                ));
            }
            Ordering::Equal => {
                return Verdict::NotYet(format!(
                    "{sight} and {rival} are both primaries on timeline {}; stop the one that \
                     is not meant to be",
                    number(other.timeline),
                ));
            }
            Ordering::Less => notes.push(format!(
                "{rival} still runs as a primary, on the older timeline {}; stop or rejoin it",
                number(other.timeline),
            )),
        }
    }
    Verdict::Primary(notes)
}

/// The one primary that there is.
///
/// # Errors
/// A sentence that says of each node why it is not, or which two are.
pub fn find(local: NodeId, sights: &[Sight]) -> Result<Found, String> {
    let open: Vec<&Sight> = sights
        .iter()
        .filter(|sight| sight.open().is_some())
        .collect();
    let primary = match open.as_slice() {
        [] => {
            let reasons: Vec<String> = sights.iter().map(why_not).collect();
            return Err(format!(
                "no node is a writable primary: {}",
                reasons.join("; ")
            ));
        }
        [primary] => *primary,
        [_, _, ..] => {
            let tell = |sight: &&Sight| {
                let timeline = sight.open().and_then(|standing| standing.timeline);
                format!("{sight} on timeline {}", number(timeline))
            };
            let told: Vec<String> = open.iter().map(tell).collect();
            return Err(format!(
                "more than one node is a primary: {}; stop or rejoin the one that is not meant \
                 to be",
                told.join(", ")
            ));
        }
    };
    match judge(primary.node_id, local, sights) {
        Verdict::Primary(notes) => {
            let given_up = primary.open().map(|standing| &standing.inactive);
            let doubtful = |sight: &&Sight| {
                let inactive = given_up.is_some_and(|all| all.contains(&sight.node_id));
                sight.answer.is_err() && !inactive
            };
            let doubtful = sights.iter().filter(doubtful);
            Ok(Found {
                node_id: primary.node_id,
                doubtful: doubtful.map(|sight| sight.node_id).collect(),
                notes,
            })
        }
        Verdict::NotYet(why) | Verdict::Refused(why) => {
            Err(format!("no node is a writable primary: {why}"))
        }
    }
}

fn why_not(sight: &Sight) -> String {
    match &sight.answer {
        Ok(_) => format!("{sight} is a standby"),
        Err(why) => format!("{sight} cannot be asked: {why}"),
    }
}

fn not_writable(standing: &Standing) -> Option<String> {
    if standing.in_recovery {
        return Some("is a standby: it is still in recovery".to_owned());
    }
    match &standing.row {
        None => Some("has no row in its own repmgr.nodes".to_owned()),
        Some((kind, _)) if kind != "primary" => Some(format!(
            "takes writes, but its own repmgr.nodes has it as a {kind:.20?}; \
             run `repmgr primary register -F` there if it is the primary"
        )),
        Some((_, false)) => Some(
            "is marked inactive in its own repmgr.nodes; \
             run `repmgr primary register -F` there if it is the primary"
                .to_owned(),
        ),
        Some((_, true)) => standing.read_only.then(|| {
            "refuses writes: transaction_read_only is on; see default_transaction_read_only"
                .to_owned()
        }),
    }
}

fn other_system(one: &Standing, other: &Standing) -> bool {
    matches!((&one.system, &other.system), (Some(one), Some(other)) if one != other)
}

fn number(timeline: Option<u32>) -> String {
    timeline.map_or_else(|| "?".to_owned(), |timeline| timeline.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(id: u32, answer: Result<Standing, String>) -> Sight {
        Sight {
            node_id: NodeId(id),
            node_name: format!("node{id}"),
            answer,
        }
    }

    fn primary(timeline: u32) -> Standing {
        Standing {
            in_recovery: false,
            read_only: false,
            timeline: Some(timeline),
            system: Some("7".to_owned()),
            row: Some(("primary".to_owned(), true)),
            inactive: BTreeSet::new(),
        }
    }

    fn standby() -> Standing {
        Standing {
            in_recovery: true,
            read_only: true,
            timeline: None,
            row: Some(("standby".to_owned(), true)),
            ..primary(1)
        }
    }

    fn dead() -> Result<Standing, String> {
        Err("refused".to_owned())
    }

    #[track_caller]
    fn waits(standing: Standing, words: &str) {
        let verdict = judge(
            NodeId(2),
            NodeId(2),
            &[sight(1, dead()), sight(2, Ok(standing))],
        );
        let Verdict::NotYet(why) = verdict else {
            panic!("{verdict:?}")
        };
        assert!(why.contains(words), "{why}");
    }

    #[test]
    fn one_that_takes_writes_and_says_so_is_the_primary() {
        let sights = [
            sight(1, dead()),
            sight(2, Ok(primary(2))),
            sight(3, Ok(standby())),
        ];
        assert_eq!(
            judge(NodeId(2), NodeId(2), &sights),
            Verdict::Primary(vec![])
        );
        let found = find(NodeId(3), &sights).unwrap();
        assert_eq!(
            (found.node_id, found.doubtful),
            (NodeId(2), [NodeId(1)].into())
        );
    }

    #[test]
    fn what_may_still_change_is_waited_for() {
        waits(standby(), "is a standby: it is still in recovery");
        let mut standing = primary(2);
        standing.row = Some(("standby".to_owned(), true));
        waits(standing.clone(), "has it as a \"standby\"");
        standing.row = Some(("primary".to_owned(), false));
        waits(standing.clone(), "is marked inactive");
        standing.row = None;
        waits(standing, "has no row");
        let read_only = true;
        waits(
            Standing {
                read_only,
                ..primary(2)
            },
            "refuses writes",
        );
        let unknown = judge(NodeId(9), NodeId(2), &[sight(2, Ok(primary(2)))]);
        assert_eq!(
            unknown,
            Verdict::NotYet("no node that is known here has the id 9".to_owned())
        );
        let silent = judge(NodeId(1), NodeId(2), &[sight(1, dead())]);
        let why = "node \"node1\" (ID: 1) cannot be asked: refused";
        assert_eq!(silent, Verdict::NotYet(why.to_owned()));
    }

    #[test]
    fn an_old_primary_is_refused_and_beside_the_new_one_only_mentioned() {
        let sights = [sight(1, Ok(primary(1))), sight(2, Ok(primary(2)))];
        let Verdict::Refused(why) = judge(NodeId(1), NodeId(1), &sights) else {
            panic!("it is old")
        };
        assert!(why.contains("old primary, on timeline 1"), "{why}");
        let note = "node \"node1\" (ID: 1) still runs as a primary, on the older timeline 1; \
                    stop or rejoin it";
        let verdict = judge(NodeId(2), NodeId(2), &sights);
        assert_eq!(verdict, Verdict::Primary(vec![note.to_owned()]));
    }

    #[test]
    fn of_two_on_one_timeline_nobody_can_tell() {
        let sights = [sight(1, Ok(primary(2))), sight(2, Ok(primary(2)))];
        for node in [1, 2].map(NodeId) {
            assert!(matches!(judge(node, node, &sights), Verdict::NotYet(_)));
        }
    }

    #[test]
    fn a_server_of_another_cluster_is_no_primary_of_this_one() {
        let mut foreign = primary(9);
        foreign.system = Some("8".to_owned());
        let sights = [sight(1, Ok(foreign)), sight(2, Ok(primary(2)))];
        let verdict = judge(NodeId(1), NodeId(2), &sights);
        assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
        let verdict = judge(NodeId(2), NodeId(2), &sights);
        assert!(matches!(verdict, Verdict::Primary(notes) if notes.len() == 1));
    }

    #[test]
    fn without_a_primary_or_with_two_none_is_found_and_each_is_named() {
        let none = find(NodeId(2), &[sight(1, dead()), sight(2, Ok(standby()))]);
        assert_eq!(
            none.unwrap_err(),
            "no node is a writable primary: node \"node1\" (ID: 1) cannot be asked: refused; \
             node \"node2\" (ID: 2) is a standby"
        );
        let two = find(
            NodeId(2),
            &[sight(1, Ok(primary(1))), sight(2, Ok(primary(2)))],
        );
        assert_eq!(
            two.unwrap_err(),
            "more than one node is a primary: node \"node1\" (ID: 1) on timeline 1, \
             node \"node2\" (ID: 2) on timeline 2; stop or rejoin the one that is not meant to be"
        );
    }

    #[test]
    fn a_silent_node_that_repmgr_has_given_up_raises_no_doubt() {
        let mut standing = primary(2);
        standing.inactive = [NodeId(1)].into();
        let found = find(NodeId(2), &[sight(1, dead()), sight(2, Ok(standing))]).unwrap();
        assert!(found.doubtful.is_empty());
    }
}
