//! Which nodes the daemon works with: those of the configuration, or those of `repmgr.nodes`
//! ([`membership`]), and what was known before where those cannot be had.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use anyhow::anyhow;

use super::Loaded;
use crate::agent::NOTICE;
use crate::agent::daemon::planners;
use crate::agent::membership::{self, MembershipError};
use crate::config::{Config, Node, NodeId, Peers};

/// What a search for the nodes gave.
pub(super) enum Found {
    /// A configuration with all nodes.
    All(Box<Loaded>),
    /// Why not, and the configuration as it was.
    Not(Trouble, Box<Loaded>),
    /// The process is to end.
    Stop,
}

/// Why the nodes are not known.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) text: String,
    hint: Option<&'static str>,
    /// Waiting will not mend it.
    pub(super) is_final: bool,
}

impl Trouble {
    pub(super) fn into_error(self) -> anyhow::Error {
        anyhow!("{self}")
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl From<MembershipError> for Trouble {
    fn from(error: MembershipError) -> Self {
        Self {
            text: error.to_string(),
            hint: error.hint(),
            is_final: error.is_of_this_node(),
        }
    }
}

/// What is known of the nodes, and what was said about them.
#[derive(Debug, Default)]
pub(super) struct Peering {
    /// The nodes of the agent that runs, or ran last.
    known: BTreeMap<NodeId, Node>,
    /// The last trouble that was told, so that it is told once.
    said: Option<String>,
}

impl Peering {
    /// An agent starts with these.
    pub(super) fn known(&mut self, config: &Config) {
        self.known.clone_from(&config.nodes);
    }

    /// The configuration with all nodes: from the rows, else as they were known before.
    pub(super) async fn find(&mut self, loaded: Loaded, deadline: Instant) -> Found {
        let (config, planners) = loaded;
        if config.peers == Peers::Listed {
            return Found::All(Box::new((config, planners)));
        }
        let read = membership::complete_active_active(&config, deadline).await;
        let trouble = match prepared(read) {
            Ok(loaded) => {
                self.said = None;
                return Found::All(Box::new(loaded));
            }
            Err(trouble) => trouble,
        };
        match self.as_known(&config) {
            Some(loaded) => {
                // Whoever asked for it by a signal is told again.
                self.said = None;
                self.say(&trouble);
                Found::All(Box::new(loaded))
            }
            None => Found::Not(trouble, Box::new((config, planners))),
        }
    }

    /// The configuration with what has changed in the rows since, if anything has.
    pub(super) async fn look_again(
        &mut self,
        config: &Config,
        deadline: Instant,
    ) -> Option<Box<Loaded>> {
        let read = membership::complete_active_active_again(config, deadline).await;
        if let Err(error @ MembershipError::Unread { .. }) = &read {
            // That a node is down is the agent's to say.
            tracing::debug!("{error}");
            return None;
        }
        let unchanged = |new: &Config| membership::changes(&config.nodes, &new.nodes).is_empty();
        if read.as_ref().is_ok_and(unchanged) {
            self.said = None;
            return None;
        }
        match prepared(read) {
            Ok(loaded) => {
                for change in membership::changes(&config.nodes, &loaded.0.nodes) {
                    tracing::info!(target: NOTICE, "repmgr.nodes has changed: {change}");
                }
                self.said = None;
                Some(Box::new(loaded))
            }
            Err(trouble) => {
                self.say(&trouble);
                None
            }
        }
    }

    /// With the other nodes that are known, if they are those of the same node's configuration.
    fn as_known(&self, config: &Config) -> Option<Loaded> {
        let local = config.local();
        if !self.known.contains_key(&local.node_id) || self.known.len() < 2 {
            return None;
        }
        let mut nodes = self.known.clone();
        nodes.insert(local.node_id, local.clone());
        let config = Config {
            nodes,
            ..config.clone()
        };
        prepared(Ok(config)).ok()
    }

    fn say(&mut self, trouble: &Trouble) {
        let text = trouble.to_string();
        if self.said.as_ref() != Some(&text) {
            tracing::error!("{text}; the nodes stay as they were known before");
            self.said = Some(text);
        }
    }
}

/// What an agent needs, or why these nodes will not do.
fn prepared(read: Result<Config, MembershipError>) -> Result<Loaded, Trouble> {
    let config = read?;
    match planners(&config) {
        Ok(planners) => Ok((config, planners)),
        Err(error) => Err(Trouble {
            text: format!("what repmgr.nodes holds will not do: {error}"),
            hint: None,
            is_final: false,
        }),
    }
}
