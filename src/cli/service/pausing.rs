//! `service pause` and `service unpause`: writes the change on every node that is reached, reads it
//! back, and waits until every daemon that lives says that it honours it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Selection;
use super::members::Member;
use crate::agent::heartbeat::STALE;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::say::Voice;
use crate::cli::table::printable;
use crate::cluster_db::agents::{self, Agent, Tables};
use crate::config::NodeId;
use crate::core::pause::{Pause, Pauses, Request, Scope, honours};
use crate::edge::postgres::{PostgresError, Session};
use crate::edge::this_host;

/// A daemon reads pauses every two seconds, and says at once what it has read.
const HONOUR_LIMIT: Duration = Duration::from_secs(8);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What the operator wants.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) paused: bool,
    pub(super) selection: Selection,
    pub(super) reason: Option<String>,
    pub(super) dry_run: bool,
}

impl Wish {
    fn verb(&self) -> &'static str {
        match self.paused {
            true => "pause",
            false => "unpause",
        }
    }

    fn request(&self, scope: Scope) -> Request {
        let now = jiff::Zoned::now();
        Request {
            scope,
            paused: self.paused,
            by: format!("{}@{}", this_host::user_name(), this_host::host_name()),
            at: now.strftime("%Y-%m-%d %H:%M:%S%:z").to_string(),
            unix_ms: now.timestamp().as_millisecond(),
            reason: self.reason.clone(),
        }
    }
}

/// What became of a change at one node: `Err` says why the node does not have it.
type Written<'a> = Vec<(&'a Member, Result<(), String>)>;

pub(super) async fn run(members: &[Member], wish: Wish, voice: Voice) -> Result<Exit, Failure> {
    let selected = select(members, &wish.selection)?;
    let scope = selected.map_or(Scope::Cluster, |member| Scope::Node(member.id()));
    let named: Vec<&Member> = match selected {
        Some(member) => vec![member],
        None => members.iter().collect(),
    };
    let mut known = Pauses::default();
    for session in members.iter().filter_map(|m| m.session.as_ref().ok()) {
        // A node that cannot be read now is not written either, and then named.
        if let Ok(Some(tables)) = agents::tables(session).await {
            known.learn(&tables.pauses);
        }
    }
    let changes = wish.request(scope).changes(&known);
    if wish.dry_run {
        return dry_run(members, &named, &wish, voice);
    }
    let stood = changes
        .iter()
        .all(|change| known.of(change.scope) == Some(change));
    let mut written: Written<'_> = Vec::new();
    for member in members {
        let result = write(member, &changes).await;
        let result = result.map_err(|error| printable(&error.to_string()));
        written.push((member, result));
    }
    let has = |member: &Member| {
        written
            .iter()
            .any(|(at, result)| at.id() == member.id() && result.is_ok())
    };
    let anywhere = written.iter().any(|(_, result)| result.is_ok());
    for member in named {
        if has(member) || (selected.is_some() && anywhere) {
            let already = if stood { "already " } else { "" };
            voice.notice(&format!("node {} {already}{}d", member.name(), wish.verb()));
        }
    }
    known.learn(&changes);
    conclude(&written, &known, &changes, &wish, selected, voice).await
}

/// All that can go wrong after the writing: nodes that do not have it, daemons that do not say that
/// they honour it, and a wider pause that goes on.
async fn conclude(
    written: &Written<'_>,
    known: &Pauses,
    changes: &[Pause],
    wish: &Wish,
    selected: Option<&Member>,
    voice: Voice,
) -> Result<Exit, Failure> {
    let verb = wish.verb();
    let mut failures = Vec::new();
    if written.iter().any(|(_, result)| result.is_ok()) {
        failures.extend(daemons(written, changes, wish, voice).await);
    }
    failures.extend(unwritten(written, verb));
    if let Some(member) = selected.filter(|_| !wish.paused)
        && let Some(pause) = known.on(member.id())
    {
        let failure = Failure::new(
            Exit::RepmgrdPause,
            format!("node {} stays paused", member.name()),
        );
        failures.push(
            failure
                .detail(pause.sentence())
                .hint("`repoint service unpause` without a node ends it"),
        );
    }
    let Some(last) = failures.pop() else {
        return Ok(Exit::Success);
    };
    for failure in failures {
        voice.warning(&failure.message);
        if let Some(detail) = &failure.detail {
            voice.detail(detail);
        }
    }
    Err(last)
}

fn select<'a>(members: &'a [Member], selection: &Selection) -> Result<Option<&'a Member>, Failure> {
    let (found, what) = match selection {
        Selection {
            node_id: Some(id), ..
        } => (members.iter().find(|m| m.id().0 == *id), format!("ID {id}")),
        Selection {
            node_name: Some(name),
            ..
        } => (
            members.iter().find(|m| m.record.node_name == *name),
            format!("name {name:?}"),
        ),
        Selection {
            node_id: None,
            node_name: None,
        } => return Ok(None),
    };
    let names: Vec<String> = members.iter().map(Member::name).collect();
    found.map(Some).ok_or_else(|| {
        Failure::new(Exit::BadConfig, format!("no node has the {what}"))
            .detail(format!("there are {}", names.join(" and ")))
    })
}

fn reached(member: &Member) -> bool {
    member.session.is_ok()
}

fn dry_run(
    members: &[Member],
    named: &[&Member],
    wish: &Wish,
    voice: Voice,
) -> Result<Exit, Failure> {
    let (anywhere, every) = (members.iter().any(reached), named.len() > 1);
    for member in named {
        // As in earnest: the pause of one node may be kept on another.
        if reached(member) || (!every && anywhere) {
            voice.notice(&format!("would {} node {}", wish.verb(), member.name()));
        }
    }
    let away = |member: &Member| {
        let why = printable(&member.session.as_ref().err()?.to_string());
        Some(format!("node {}: {why}", member.name()))
    };
    let away: Vec<String> = members.iter().filter_map(away).collect();
    match away.is_empty() {
        true => Ok(Exit::Success),
        false => Err(Failure::new(
            Exit::RepmgrdPause,
            format!("unable to {} every node", wish.verb()),
        )
        .detail(away.join("; "))),
    }
}

/// Writes the changes at one node, and reads them back.
async fn write(member: &Member, changes: &[Pause]) -> Result<(), PostgresError> {
    let unusable = |error: &PostgresError| PostgresError::Unusable(error.to_string());
    let session: &Session = member.session.as_ref().map_err(unusable)?;
    agents::prepare(session).await?;
    for change in changes {
        agents::write_pause(session, change).await?;
    }
    let copy = agents::pauses(session).await?;
    let mut known = Pauses::default();
    known.learn(changes);
    match known.lacking(&copy).is_empty() {
        true => Ok(()),
        false => Err(PostgresError::Unusable(
            "what was written there is not what is read".to_owned(),
        )),
    }
}

fn unwritten(written: &Written<'_>, verb: &str) -> Option<Failure> {
    let failed = written
        .iter()
        .filter_map(|(member, result)| Some((member, result.as_ref().err()?)));
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() {
        return None;
    }
    let names: Vec<String> = failed.iter().map(|(member, _)| member.name()).collect();
    let why = |(member, why): &(&&Member, &String)| format!("node {}: {why}", member.name());
    let why: Vec<String> = failed.iter().map(why).collect();
    let holders = written.iter().filter(|(_, result)| result.is_ok());
    let holders: Vec<String> = holders.map(|(member, _)| member.name()).collect();
    let names = names.join(" and node ");
    let message = match holders.is_empty() {
        true => format!("unable to {verb}: no node could be written"),
        false => format!("unable to {verb} on node {names}"),
    };
    let answers = failed.iter().any(|(member, _)| member.session.is_ok());
    let failure = Failure::new(Exit::RepmgrdPause, message).detail(why.join("; "));
    Some(failure.hint(what_now(&holders, &names, answers)))
}

/// What becomes of nodes that were not written. One that answers is not away: time alone does not
/// help it.
fn what_now(holders: &[String], names: &str, answers: bool) -> String {
    let state = match holders {
        [] => "nothing was changed".to_owned(),
        [one] => format!("node {one} has it"),
        several => format!("node {} have it", several.join(" and node ")),
    };
    match answers {
        true => format!(
            "{state}; if a user may not make the schema, let a superuser run CREATE SCHEMA repoint \
             AUTHORIZATION for it, then run this again"
        ),
        false if holders.is_empty() => state,
        false => {
            format!("{state}; a daemon that is running gives it to node {names} when that is back")
        }
    }
}

/// Waits until every daemon that lives says that it honours the changes.
async fn daemons(
    written: &Written<'_>,
    changes: &[Pause],
    wish: &Wish,
    voice: Voice,
) -> Option<Failure> {
    let deadline = Instant::now() + HONOUR_LIMIT;
    loop {
        let mut living: BTreeMap<NodeId, Agent> = BTreeMap::new();
        for (member, _) in written.iter().filter(|(_, result)| result.is_ok()) {
            if let Ok(session) = &member.session
                && let Ok(Some(tables)) = agents::tables(session).await
            {
                freshest(&mut living, tables);
            }
        }
        living.retain(|_, agent| !agent.stopped && agent.age < STALE);
        let follows = |agent: &Agent| {
            let said = &agent.beat.honours;
            changes.iter().all(|change| honours(said, change))
        };
        let name = |id: &NodeId| {
            let member = written.iter().find(|(member, _)| member.id() == *id);
            member.map_or_else(|| id.to_string(), |(member, _)| member.name())
        };
        let silent = living.iter().filter(|(_, agent)| !follows(agent));
        let silent: Vec<String> = silent.map(|(id, _)| name(id)).collect();
        if silent.is_empty() {
            if living.is_empty() && wish.paused {
                voice.warning("no daemon is running; one that is started honours the pause");
            }
            for id in living.keys().filter(|_| voice.verbose) {
                voice.info(&format!("the daemon of node {} honours it", name(id)));
            }
            return None;
        }
        if Instant::now() >= deadline {
            let message = format!(
                "the daemon of node {} has not said within {} s that it honours this",
                silent.join(" and that of node "),
                HONOUR_LIMIT.as_secs()
            );
            return Some(
                Failure::new(Exit::RepmgrdPause, message)
                    .hint("see its log, and `repoint service status`"),
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Of each agent, the row that was renewed last: it may not reach every node.
pub(super) fn freshest(agents: &mut BTreeMap<NodeId, Agent>, tables: Tables) {
    for (id, agent) in tables.agents {
        let older = agents.get(&id).is_none_or(|known| agent.age < known.age);
        if older {
            agents.insert(id, agent);
        }
    }
}
