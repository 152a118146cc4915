//! `repoint status`: what each witness remembers and sees, and what that amounts to.
//!
//! Looks, and changes nothing. What agents make of it is [`crate::core::agreement`]'s.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;

use super::exit::Exit;
use super::say::Voice;
use super::table::table;
use super::{load, print};
use crate::agent::links::file_state;
use crate::agent::membership;
use crate::agent::sockets::SocketDirectory;
use crate::agent::witnesses;
use crate::config::{Config, Node, Quorum};
use crate::core::agreement::Ask;
use crate::core::ledger::{Ledger, Memory};
use crate::core::vote::{Sight, Sights};
use crate::edge::chain;
use crate::edge::remote::{AllTurns, LOOK_LIMIT, RemoteError, RemoteHost, Site, Turns};
use crate::generation::Generation;

/// For one host, its session included.
const LIMIT: Duration = Duration::from_secs(15);
const NOTHING: &str = "-";

/// What was found on one host.
struct Found {
    memory: Memory,
    /// The decision in the first line of the managed file.
    file: Option<Generation>,
    sights: Sights,
}

pub(super) async fn run(file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let path = load::find(file)?;
    let loaded = load::load(&path)?;
    loaded.warn(Voice::default());
    let deadline = Instant::now() + membership::LIMIT;
    let config = membership::complete(&loaded.config, deadline).await?;
    let sockets = SocketDirectory::create_or_temporary(&config.runtime_directory)
        .context("make a directory for the sockets of ssh")?;
    let voters = witnesses::sites(&config);
    let all = all_sites(&config);
    let mut turns = AllTurns::default();
    let mut looks = Vec::new();
    for (index, (name, site)) in all.iter().enumerate() {
        let sockets = sockets.path().join(index.to_string());
        std::fs::create_dir_all(&sockets).context("make a directory for the sockets of ssh")?;
        let turns = turns.of(&site.host);
        let config = &config;
        looks.push(async move { (name, bounded(site, &sockets, &turns, config).await) });
    }
    let found: BTreeMap<&String, Result<Found, String>> =
        join_all(looks).await.into_iter().collect();
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(name, found)| row(name, voters.contains_key(*name), found.as_ref()))
        .collect();
    let nodes: Vec<String> = config.nodes.values().map(heading).collect();
    let mut headings = vec!["Host of", "Votes", "Ledger", "Promised", "File"];
    headings.extend(nodes.iter().map(String::as_str));
    print::line(table(&headings, &rows).trim_end());
    let ledgers = found.iter().filter(|(name, _)| voters.contains_key(**name));
    let ledgers = ledgers.filter_map(|(_, found)| ledger(found.as_ref().ok()?));
    let (told, well) = sentence(&config, voters.len(), &ledgers.collect::<Vec<_>>());
    print::line(&format!("\n{told}"));
    Ok(match well {
        true => Exit::Success.into(),
        false => Exit::NodeStatus.into(),
    })
}

fn heading(node: &Node) -> String {
    format!("{} (ID: {})", node.node_name, node.node_id)
}

/// Every PgBouncer, and every host that only votes.
fn all_sites(config: &Config) -> BTreeMap<String, Site> {
    let pgbouncers = config.pgbouncers.iter();
    let pgbouncers = pgbouncers.map(|(name, it)| (name.clone(), Site::of_pgbouncer(it)));
    let witnesses = config.agreement.witnesses.iter();
    let witnesses = witnesses.map(|(name, it)| (name.clone(), Site::of_witness(it)));
    pgbouncers.chain(witnesses).collect()
}

async fn bounded(
    site: &Site,
    sockets: &Path,
    turns: &Turns,
    config: &Config,
) -> Result<Found, String> {
    let looked = tokio::time::timeout(LIMIT, look(site, sockets, turns, config)).await;
    match looked {
        Ok(found) => found.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

async fn look(
    site: &Site,
    sockets: &Path,
    turns: &Turns,
    config: &Config,
) -> Result<Found, RemoteError> {
    let host = RemoteHost::open(site, sockets, turns).await?;
    let found = found(&host, config).await;
    host.close().await;
    found
}

async fn found(host: &RemoteHost, config: &Config) -> Result<Found, RemoteError> {
    let answer = host.ask(&Ask::Look, &mut None).await?;
    let file = file_state(&host.inspect().await?);
    let mut nodes = config.nodes.values();
    let sights = match (nodes.next(), nodes.next()) {
        (Some(one), Some(other)) => host.see(&one.conninfo, &other.conninfo, LOOK_LIMIT).await,
        (None, _) | (_, None) => Sights::unknown("there is no second node"),
    };
    Ok(Found {
        memory: answer.reading.memory,
        file: file.active.map(|_| file.generation),
        sights,
    })
}

fn row(name: &str, votes: bool, found: Result<&Found, &String>) -> Vec<String> {
    let votes = if votes { "yes" } else { "no" };
    let mut row = vec![name.to_owned(), votes.to_owned()];
    let found = match found {
        Ok(found) => found,
        Err(trouble) => {
            row.extend([trouble.clone()]);
            row.extend([NOTHING; 4].map(str::to_owned));
            return row;
        }
    };
    let (ledger, promised) = match &found.memory {
        Memory::Blank => ("none".to_owned(), NOTHING.to_owned()),
        Memory::Known(ledger) => (told_ledger(ledger), ledger.promised.to_string()),
    };
    let file = found.file.map(|generation| generation.to_string());
    row.extend([ledger, promised, file.unwrap_or_else(|| NOTHING.to_owned())]);
    row.extend([&found.sights.failed, &found.sights.next].map(told_sight));
    row
}

fn told_ledger(ledger: &Ledger) -> String {
    let Some(record) = ledger.accepted else {
        return "nothing decided".to_owned();
    };
    let known = if ledger.decided { "" } else { ", proposed" };
    format!(
        "{}: node {}{known}, {} s ago",
        record.generation,
        record.active,
        record.moved.as_secs()
    )
}

fn told_sight(sight: &Sight) -> String {
    match sight {
        Sight::Reached { read_only: false } => "reached".to_owned(),
        Sight::Reached { read_only: true } => "read-only".to_owned(),
        Sight::Refusing { reason } => format!("refuses: {reason}"),
        Sight::NotReached { reason } => format!("not reached: {reason}"),
        Sight::Unknown { reason } => format!("not known: {reason}"),
    }
}

fn ledger(found: &Found) -> Option<Ledger> {
    match &found.memory {
        Memory::Known(ledger) => Some(*ledger),
        Memory::Blank => None,
    }
}

/// What it amounts to, and whether decisions can be made.
fn sentence(config: &Config, voters: usize, ledgers: &[Ledger]) -> (String, bool) {
    let quorum = config.agreement.quorum;
    let needed = quorum.needed(voters);
    if quorum == Quorum::None {
        let text = "quorum = \"none\": each agent decides by what it sees itself; ledgers count \
                    for nothing";
        return (text.to_owned(), true);
    }
    let readable = ledgers.len();
    if readable < needed {
        let text = format!(
            "nothing can be decided: {readable} of {voters} witnesses have a ledger that can be \
             read, and {needed} are needed"
        );
        return (text, false);
    }
    let decided = ledgers.iter().filter(|ledger| ledger.decided);
    let current = decided.filter_map(|ledger| ledger.accepted);
    let told = match current.max_by_key(|record| record.generation) {
        Some(record) => format!(
            "traffic goes to node {} by decision {}",
            record.active, record.generation
        ),
        None => "nothing was decided yet".to_owned(),
    };
    let text = format!(
        "{told}; {needed} of {voters} witnesses have to agree, and {readable} have a ledger"
    );
    (text, true)
}
