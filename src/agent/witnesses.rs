//! The tasks that ask witnesses: one for each host that has a vote.
//!
//! Carries [`Request`]s to them and [`Word`]s back, over a session of its own for each, which is
//! kept open. Decides nothing, and a question that nobody waits for any more is left out. What is
//! asked is `core::agreement`'s; what a host does with it, and what it sees, `edge::remote`'s.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Config, Host, Node, NodeId};
use crate::core::agreement::{Agreement, Ask, Request, Rules, Standing, Word};
use crate::core::ledger::Answer;
use crate::core::vote::Sights;
use crate::edge::chain;
use crate::edge::remote::{AllTurns, KeptLedger, LOOK_LIMIT, RemoteError, RemoteHost, Site, Turns};

/// Messages of tasks; one that finds the queue full waits.
const QUEUE: usize = 64;
/// After a session could not be opened, the next attempt waits so long.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
/// A round waits for a look at a node that does not answer, and for the way there.
const ROUND_LIMIT: Duration = Duration::from_secs(5);
/// How soon after a round that did not carry the next one begins.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The tasks, and the ways to and from them.
#[derive(Debug)]
pub struct Witnesses {
    requests: BTreeMap<String, mpsc::Sender<Request>>,
    words: mpsc::Receiver<Word>,
    tasks: JoinSet<()>,
}

/// One host that has a vote.
struct Task {
    name: String,
    site: Site,
    /// A directory for its sockets alone.
    sockets: PathBuf,
    turns: Turns,
    nodes: BTreeMap<NodeId, Node>,
    host: Option<RemoteHost>,
    known: Option<KeptLedger>,
    /// Why it was not reached, as it was said last.
    told: Option<String>,
}

/// The hosts that have a vote: those of PgBouncers, for each of which the first one by name speaks,
/// and those that are named besides.
#[must_use]
pub fn sites(config: &Config) -> BTreeMap<String, Site> {
    let mut sites = BTreeMap::new();
    let mut hosts: Vec<&Host> = Vec::new();
    for (name, pgbouncer) in &config.pgbouncers {
        if !hosts.contains(&&pgbouncer.host) {
            hosts.push(&pgbouncer.host);
            sites.insert(name.clone(), Site::of_pgbouncer(pgbouncer));
        }
    }
    for (name, witness) in &config.agreement.witnesses {
        sites.insert(name.clone(), Site::of_witness(witness));
    }
    sites
}

/// What decisions are agreed upon by, as configured.
pub(super) fn agreement(config: &Config, now: Instant) -> Agreement {
    let rules = Rules {
        own: config.node_id,
        quorum: config.agreement.quorum,
        cooldown: config.agreement.cooldown,
        round_limit: ROUND_LIMIT,
        again_after: AGAIN_AFTER,
        interval: config.reconciliation.interval,
    };
    let voters = sites(config)
        .into_keys()
        .map(|name| (name, Standing::Voter));
    Agreement::new(rules, voters, now)
}

impl Witnesses {
    /// Starts a task for each, with a directory for its sockets below `sockets`; none where nobody
    /// is asked.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub(super) fn start(
        config: &Config,
        sockets: &Path,
        turns: &mut AllTurns,
    ) -> std::io::Result<Self> {
        let (tell, words) = mpsc::channel(QUEUE);
        let (mut requests, mut tasks) = (BTreeMap::new(), JoinSet::new());
        let used = agreement(config, Instant::now()).is_used();
        let sites = sites(config).into_iter().filter(|_| used);
        for (index, (name, site)) in sites.enumerate() {
            let sockets = sockets.join(format!("w{index}"));
            std::fs::create_dir_all(&sockets)?;
            let (sender, asked) = mpsc::channel(QUEUE);
            requests.insert(name.clone(), sender);
            let task = Task {
                turns: turns.of(&site.host),
                name,
                site,
                sockets,
                nodes: config.nodes.clone(),
                host: None,
                known: None,
                told: None,
            };
            tasks.spawn(task.run(asked, tell.clone()));
        }
        Ok(Self {
            requests,
            words,
            tasks,
        })
    }

    /// Sends a request; one that there is no room for is as lost as one on its way.
    pub(super) fn ask(&self, request: Request) {
        if let Some(sender) = self.requests.get(&request.witness) {
            let _ = sender.try_send(request);
        }
    }

    /// The next answer; `None`: nobody is asked.
    pub(super) async fn heard(&mut self) -> Option<Word> {
        self.words.recv().await
    }

    /// Ends all of them, with their sessions; no later than `deadline`.
    pub(super) async fn stop(self, deadline: Instant) {
        let Self {
            requests,
            mut tasks,
            words,
        } = self;
        drop((requests, words));
        let ends = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout_at(deadline.into(), ends).await;
    }
}

impl Task {
    async fn run(mut self, mut asked: mpsc::Receiver<Request>, tell: mpsc::Sender<Word>) {
        // Everything is open when it is needed.
        let _ = self.opened().await;
        while let Some(request) = asked.recv().await {
            let mut requests = VecDeque::from([request]);
            while let Some(request) = requests.pop_front() {
                while let Ok(later) = asked.try_recv() {
                    requests.push_back(later);
                }
                if is_overtaken(&request, &requests) {
                    continue;
                }
                let word = self.answer(request).await;
                if tell.send(word).await.is_err() {
                    return self.close().await;
                }
            }
        }
        self.close().await;
    }

    async fn close(mut self) {
        if let Some(host) = self.host.take() {
            host.close().await;
        }
    }

    async fn answer(&mut self, request: Request) -> Word {
        let Request {
            round,
            witness,
            ask,
            see,
        } = request;
        let answered = self.carry_out(&ask).await;
        let sights = match (&answered, &self.host, see) {
            (Ok(_), Some(host), Some(to)) => {
                let nodes = (self.nodes.get(&to.failed), self.nodes.get(&to.next));
                match nodes {
                    (Some(failed), Some(next)) => {
                        let (failed, next) = (&failed.conninfo, &next.conninfo);
                        Some(host.see(failed, next, LOOK_LIMIT).await)
                    }
                    (None, _) | (_, None) => Some(Sights::unknown("no such node")),
                }
            }
            (Err(_), ..) | (_, None, _) | (.., None) => None,
        };
        let answer = answered.map_err(|error| chain(&error));
        self.tell_of(answer.as_ref().err());
        Word {
            round,
            witness,
            answer,
            sights,
        }
    }

    /// A session that has died unnoticed is opened again, once.
    async fn carry_out(&mut self, ask: &Ask) -> Result<Answer, RemoteError> {
        let had = self.host.is_some();
        match self.try_ask(ask).await {
            Err(RemoteError::Lost { .. }) if had && *ask == Ask::Look => self.try_ask(ask).await,
            otherwise => otherwise,
        }
    }

    async fn try_ask(&mut self, ask: &Ask) -> Result<Answer, RemoteError> {
        self.opened().await?;
        let Some(host) = &self.host else {
            return Err(self.not_open());
        };
        let answer = host.ask(ask, &mut self.known).await;
        if matches!(answer, Err(RemoteError::Lost { .. })) {
            self.known = None;
            if let Some(host) = self.host.take() {
                host.close().await;
            }
        }
        answer
    }

    fn not_open(&self) -> RemoteError {
        RemoteError::Connect {
            host: self.name.clone(),
            reason: "no session".to_owned(),
        }
    }

    async fn opened(&mut self) -> Result<(), RemoteError> {
        if self.host.is_some() {
            return Ok(());
        }
        match RemoteHost::open(&self.site, &self.sockets, &self.turns).await {
            Ok(host) => {
                self.host = Some(host);
                Ok(())
            }
            Err(error) => {
                tokio::time::sleep(REOPEN_INTERVAL).await;
                Err(error)
            }
        }
    }

    /// Once when it is not reached, and once when it is again.
    fn tell_of(&mut self, trouble: Option<&String>) {
        let name = &self.name;
        match (trouble, &self.told) {
            (Some(trouble), None) => {
                tracing::warn!(witness = name, trouble, "a witness is not reached");
            }
            (None, Some(_)) => tracing::info!(witness = name, "the witness is reached again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.told = trouble.cloned();
    }
}

/// Whether the answer to a question that waited so long is of no use to anybody: another one has
/// been asked since. What a witness is to learn is never left out.
fn is_overtaken(request: &Request, later: &VecDeque<Request>) -> bool {
    let asks = |request: &Request| matches!(request.ask, Ask::Look | Ask::Promise(..));
    asks(request) && later.iter().any(asks)
}

/// What the start says of an even number of voters; nothing of an odd one.
pub(super) fn even_warning(config: &Config) -> Option<String> {
    let names: BTreeSet<String> = sites(config).into_keys().collect();
    let (count, quorum) = (names.len(), config.agreement.quorum);
    let needed = quorum.needed(count);
    let even = quorum == crate::config::Quorum::Majority && count > 0 && count.is_multiple_of(2);
    even.then(|| {
        format!(
            "{count} witnesses vote, and {needed} have to agree: with {} of them out of reach, \
             nothing is moved; one more [[witness]], which needs no PgBouncer, cures that",
            count - needed + 1
        )
    })
}
