//! What an event that repmgrd tells of leads to.
//!
//! Decides from repmgr's placeholders alone; who is the primary now is [`crate::core::primary`]'s,
//! the command line is `cli::notify`'s.

use crate::config::NodeId;
use crate::config::event_names::EVENT_NAMES;

/// Traffic goes to the other node of a pair; `%c` and `%a` name it.
const FAILOVER: &str = "bdr_failover";
/// `%n` has become the primary. None of them says how to connect to it.
const PROMOTIONS: [&str; 3] = [
    "standby_promote",
    "repmgrd_failover_promote",
    "standby_switchover",
];
/// More of a wrong argument is not repeated.
const SHOWN_CHARS_MAX: usize = 40;

/// repmgr's placeholders, as they came; empty: not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// `%n`.
    pub node_id: String,
    /// `%e`.
    pub event: String,
    /// `%s`.
    pub success: String,
    /// `%c`; may hold a password.
    pub next_conninfo: String,
    /// `%a`.
    pub next_node_name: String,
    /// `%p`.
    pub primary_id: String,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing, for this reason.
    Ignored(String),
    /// The node of a pair failed: what is there goes to the other one.
    Failover {
        /// The node to leave.
        failed: NodeId,
    },
    /// A standby became the primary: everything goes there.
    Promotion {
        /// The primary.
        node: NodeId,
        /// The one before it, where repmgr says so.
        before: Option<NodeId>,
    },
    /// An event that the operator named beside those: look where traffic belongs now.
    Look,
}

/// Arguments that repmgrd cannot have meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// Nothing says what happened.
    #[error("no event: give EVENT or --event, or --again to finish what is left to do")]
    NoEvent,
    /// It is something else, because an empty placeholder vanished or one was cut at its blanks.
    #[error(
        "EVENT {0} is no name of an event; put quotes around \"%c\", \"%a\", \"%d\" and \"%t\" \
         in event_notification_command"
    )]
    Event(String),
    /// As above.
    #[error(
        "SUCCESS {0} is neither 1 nor 0; put quotes around \"%c\", \"%a\", \"%d\" and \"%t\" \
         in event_notification_command"
    )]
    Success(String),
    /// No number that repmgr gives a node.
    #[error("{what} {text} is no id of a node, which is a number from 1 on")]
    NodeId {
        /// `NODE_ID` or `--primary-id`.
        what: &'static str,
        /// What came.
        text: String,
    },
}

impl Told {
    /// What follows from it, when only the events of `act_on` count.
    ///
    /// # Errors
    /// [`NotificationError`].
    pub fn meaning(&self, act_on: &[String]) -> Result<Meaning, NotificationError> {
        if self.event.is_empty() {
            return Err(NotificationError::NoEvent);
        }
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        if !self.event.bytes().all(is_letter) {
            return Err(NotificationError::Event(shown(&self.event)));
        }
        let event = shown(&self.event);
        if !act_on.contains(&self.event) {
            let unknown = match EVENT_NAMES.contains(&self.event.as_str()) {
                true => "",
                false => ", which repmgr does not have",
            };
            let list = act_on.join(", ");
            let why = format!("event {event}{unknown}; act_on names {list}");
            return Ok(Meaning::Ignored(why));
        }
        match self.success.as_str() {
            "1" | "" => {}
            "0" => {
                let why = format!("the event says that {} was not successful", self.event);
                return Ok(Meaning::Ignored(why));
            }
            other => return Err(NotificationError::Success(shown(other))),
        }
        if self.event == FAILOVER {
            let failed = node_id("NODE_ID", &self.node_id)?;
            return Ok(Meaning::Failover { failed });
        }
        if !PROMOTIONS.contains(&self.event.as_str()) {
            return Ok(Meaning::Look);
        }
        let node = node_id("NODE_ID", &self.node_id)?;
        let before = match self.primary_id.as_str() {
            "" => None,
            text => Some(node_id("--primary-id", text)?),
        };
        Ok(Meaning::Promotion { node, before })
    }
}

fn node_id(what: &'static str, text: &str) -> Result<NodeId, NotificationError> {
    let id = text.parse().ok().filter(|id| *id > 0).map(NodeId);
    let text = || shown(text);
    id.ok_or_else(|| NotificationError::NodeId { what, text: text() })
}

/// On one line, whatever it is, and not all of it.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(node_id: &str, event: &str, success: &str) -> Told {
        Told {
            node_id: node_id.to_owned(),
            event: event.to_owned(),
            success: success.to_owned(),
            ..Told::default()
        }
    }

    fn default_list() -> Vec<String> {
        let promotions = PROMOTIONS.iter().map(|event| (*event).to_owned());
        [FAILOVER.to_owned()]
            .into_iter()
            .chain(promotions)
            .collect()
    }

    fn meaning(told: &Told) -> Result<Meaning, NotificationError> {
        told.meaning(&default_list())
    }

    #[test]
    fn a_failover_names_the_node_to_leave_and_a_promotion_the_one_to_go_to() {
        let failed = NodeId(2);
        let found = meaning(&told("2", "bdr_failover", "1"));
        assert_eq!(found, Ok(Meaning::Failover { failed }));
        for event in PROMOTIONS {
            let found = meaning(&told("2", event, "1"));
            let (node, before) = (NodeId(2), None);
            assert_eq!(found, Ok(Meaning::Promotion { node, before }), "{event}");
        }
        let from = Told {
            primary_id: "1".to_owned(),
            ..told("2", "standby_switchover", "1")
        };
        let (node, before) = (NodeId(2), Some(NodeId(1)));
        assert_eq!(meaning(&from), Ok(Meaning::Promotion { node, before }));
    }

    #[test]
    fn what_was_not_successful_is_ignored_and_what_says_nothing_of_it_is_not() {
        let ignored = meaning(&told("2", "standby_promote", "0"));
        let why = "the event says that standby_promote was not successful";
        assert_eq!(ignored, Ok(Meaning::Ignored(why.to_owned())));
        let acted = meaning(&told("2", "standby_promote", ""));
        assert!(matches!(acted, Ok(Meaning::Promotion { .. })));
    }

    #[test]
    fn act_on_decides_and_what_it_names_beside_the_four_is_a_reason_to_look() {
        let list = ["standby_follow".to_owned()];
        let found = told("1", "standby_follow", "1").meaning(&list);
        assert_eq!(found, Ok(Meaning::Look));
        let why = "event \"standby_promote\"; act_on names standby_follow";
        let found = told("2", "standby_promote", "1").meaning(&list);
        assert_eq!(found, Ok(Meaning::Ignored(why.to_owned())));
        let why = "event \"standby_promoted\", which repmgr does not have; \
                   act_on names standby_follow";
        let found = told("2", "standby_promoted", "1").meaning(&list);
        assert_eq!(found, Ok(Meaning::Ignored(why.to_owned())));
    }

    #[test]
    fn arguments_that_moved_because_of_missing_quotes_are_noticed() {
        for (told, words) in [
            (told("2", "", "1"), "no event"),
            (
                told("bdr_failover", "1", "host=x"),
                "EVENT \"1\" is no name of an event",
            ),
            (
                told("2", "bdr_failover", "host=x"),
                "SUCCESS \"host=x\" is neither 1 nor 0",
            ),
            (told("", "bdr_failover", "1"), "NODE_ID \"\" is no id"),
            (told("0", "standby_promote", "1"), "NODE_ID \"0\" is no id"),
            (
                told("2\n3", "standby_promote", "1"),
                "NODE_ID \"2\\n3\" is no id",
            ),
            (told("99999999999", "standby_promote", "1"), "is no id"),
        ] {
            let error = meaning(&told).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn of_a_long_argument_only_the_beginning_is_repeated() {
        let error = meaning(&told("2", &"X\u{1b}".repeat(5000), "1"));
        let error = error.expect_err("no event").to_string();
        assert!(error.len() < 400 && !error.contains('\u{1b}'), "{error}");
    }
}
