//! A pause of failover: what the copies that the nodes have of it mean together.
//!
//! Each node keeps a copy (`cluster_db::agents` reads and writes it), and a node that was down has
//! an old one. Which of two is the newer is told by a number that each change carries, not by a
//! clock alone: it is above every number that its author saw, so that a change which was made in
//! knowledge of another wins however the clocks of the hosts differ; and it is at least the time,
//! so that one which was made in ignorance of another most probably wins as well. At the same
//! number a pause wins over the end of one. Who honours it is [`crate::core::cluster`].

use std::collections::BTreeMap;

use crate::config::NodeId;

/// Numbers above this are no change of ours (the time in milliseconds gets there in 280,000
/// years), and would leave no room for a newer one.
pub const CHANGE_MAX: i64 = 1 << 53;

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The failover of every node.
    Cluster,
    /// The failover of this node alone: its maintenance.
    Node(NodeId),
}

/// The last change of one scope, as one node has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// What it concerns.
    pub scope: Scope,
    /// Whether failover is paused, or not any more.
    pub paused: bool,
    /// Its number: 1 to [`CHANGE_MAX`].
    pub change: i64,
    /// When it was made, with the zone; to be shown, never compared.
    pub changed_at: String,
    /// Who made it: `user@host`.
    pub changed_by: String,
    /// Why.
    pub reason: Option<String>,
}

impl Pause {
    /// What decides between two changes of one scope.
    fn rank(&self) -> (i64, bool) {
        (self.change, self.paused)
    }

    /// `failover is paused since … by …: reason`, on one line whatever the reason is.
    #[must_use]
    pub fn sentence(&self) -> String {
        let what = match self.scope {
            Scope::Cluster => "failover".to_owned(),
            Scope::Node(node) => format!("failover of node {node}"),
        };
        let (word, when) = match self.paused {
            true => ("is", "since"),
            false => ("is not", "any more since"),
        };
        let (at, by) = (one_line(&self.changed_at), one_line(&self.changed_by));
        let reason = self.reason.iter().map(|reason| one_line(reason));
        let reason: String = reason.map(|reason| format!(": {reason}")).collect();
        format!("{what} {word} paused {when} {at} by {by}{reason}")
    }
}

/// The newest change of each scope that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses(BTreeMap<Scope, Pause>);

impl Pauses {
    /// Takes what was read on a node, and gives what is news for people: a pause that began, or
    /// was given anew, and one that ended.
    pub fn learn(&mut self, copy: &[Pause]) -> Vec<Pause> {
        let mut news = Vec::new();
        for pause in copy {
            let known = self.0.get(&pause.scope);
            if known.is_some_and(|known| known.rank() >= pause.rank()) {
                continue;
            }
            if pause.paused || known.is_some_and(|known| known.paused) {
                news.push(pause.clone());
            }
            self.0.insert(pause.scope, pause.clone());
        }
        news
    }

    /// What a node does not know yet that has this copy.
    #[must_use]
    pub fn lacking(&self, copy: &[Pause]) -> Vec<Pause> {
        let mut theirs = Self::default();
        theirs.learn(copy);
        let lacks = |pause: &&Pause| {
            let known = theirs.0.get(&pause.scope);
            known.is_none_or(|known| known.rank() < pause.rank())
        };
        self.0.values().filter(lacks).cloned().collect()
    }

    /// The newest change of a scope.
    #[must_use]
    pub fn of(&self, scope: Scope) -> Option<&Pause> {
        self.0.get(&scope)
    }

    /// The pause that holds back the failover of a node, if any does.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<&Pause> {
        let scopes = [Scope::Cluster, Scope::Node(node)];
        let mut known = scopes.iter().filter_map(|scope| self.0.get(scope));
        known.find(|pause| pause.paused)
    }

    /// Every pause that holds something back.
    pub fn in_force(&self) -> impl Iterator<Item = &Pause> {
        self.0.values().filter(|pause| pause.paused)
    }

    /// The number of a change that is made in knowledge of these, at `unix_ms` by the clock of its
    /// author.
    #[must_use]
    pub fn next_change(&self, unix_ms: i64) -> i64 {
        let above = self.0.values().map(|pause| pause.change + 1);
        above.fold(unix_ms, i64::max).clamp(1, CHANGE_MAX)
    }

    /// What an agent says in its row that it honours: `scope:change:paused`, separated by spaces.
    #[must_use]
    pub fn honoured(&self) -> String {
        let word = |pause: &Pause| {
            let (scope, paused) = (scope_number(pause.scope), u8::from(pause.paused));
            format!("{scope}:{}:{paused}", pause.change)
        };
        self.0.values().map(word).collect::<Vec<_>>().join(" ")
    }
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it concerns. To end the pause of the cluster ends that of each node, too.
    pub scope: Scope,
    /// To pause, or to end it.
    pub paused: bool,
    /// Who asks: `user@host`.
    pub by: String,
    /// When, with the zone.
    pub at: String,
    /// The same, by the same clock.
    pub unix_ms: i64,
    /// Why.
    pub reason: Option<String>,
}

impl Request {
    /// The changes that are to be on every node. What is so already keeps its number, its author
    /// and its time, unless there is a reason to be told with it.
    #[must_use]
    pub fn changes(&self, known: &Pauses) -> Vec<Pause> {
        let change = known.next_change(self.unix_ms);
        let new = |scope| Pause {
            scope,
            paused: self.paused,
            change,
            changed_at: self.at.clone(),
            changed_by: self.by.clone(),
            reason: self.reason.clone(),
        };
        let stands = known
            .of(self.scope)
            .filter(|known| known.paused == self.paused && self.reason.is_none());
        let first = stands.cloned().unwrap_or_else(|| new(self.scope));
        let ends_all = self.scope == Scope::Cluster && !self.paused;
        let others = known
            .in_force()
            .filter(|pause| ends_all && pause.scope != Scope::Cluster)
            .map(|pause| new(pause.scope));
        std::iter::once(first).chain(others).collect()
    }
}

/// Whether an agent whose row says [`Pauses::honoured`] honours this change, or a newer one.
#[must_use]
pub fn honours(said: &str, pause: &Pause) -> bool {
    let rank = |word: &str| {
        let mut parts = word.split(':');
        let scope: u32 = parts.next()?.parse().ok()?;
        let change: i64 = parts.next()?.parse().ok()?;
        let paused = parts.next()? == "1";
        (scope == scope_number(pause.scope)).then_some((change, paused))
    };
    let mut ranks = said.split(' ').filter_map(rank);
    ranks.any(|rank| rank >= pause.rank())
}

/// How a scope is written down: the node's id, or 0, which no node has.
#[must_use]
pub fn scope_number(scope: Scope) -> u32 {
    match scope {
        Scope::Cluster => 0,
        Scope::Node(node) => node.0,
    }
}

fn one_line(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests;
