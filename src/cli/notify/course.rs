//! What was decided, and carrying it out on every PgBouncer within the time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::watch;

use super::members::Members;
use super::{promotion, settle};
use crate::agent::fleet::Fleet;
use crate::agent::planning::Planner;
use crate::agent::pooler::Identities;
use crate::agent::sockets::SocketDirectory;
use crate::cli::print;
use crate::cluster_db::claim::ClaimSession;
use crate::config::{Config, NodeId};
use crate::core::node::Fault;
use crate::core::plan::Decision;
use crate::core::worker::{Assignment, Scope, Status};
use crate::edge::remote::AllTurns;
use crate::generation::Generation;

/// The claim is a hint that saves work: it is waited for no longer than this.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);
const CLAIM_INTERVAL: Duration = Duration::from_millis(100);
/// Every PgBouncer that answers says its generation within this time.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// What is left of the time limit for ending what was begun.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Where traffic goes, and everything that is needed to get it there.
#[derive(Debug)]
pub(super) struct Course {
    /// With all nodes.
    pub(super) config: Config,
    pub(super) planners: BTreeMap<String, Planner>,
    /// The node to leave; with [`Scope::AllButActive`] only for words.
    pub(super) failed: NodeId,
    pub(super) active: NodeId,
    /// What tells the active node from any other.
    pub(super) identity: String,
    pub(super) fault: Fault,
    pub(super) scope: Scope,
    /// What a person should know.
    pub(super) notes: Vec<String>,
    pub(super) proof: Proof,
}

/// Why it goes there.
#[derive(Debug)]
pub(super) enum Proof {
    /// repmgrd says so: of two that say the opposite, the later decision wins.
    Told,
    /// That node is the primary, which can be looked up again: the true one wins.
    Promotion(Members),
}

/// When it has to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub(super) limit: Duration,
    pub(super) deadline: Instant,
}

impl Time {
    /// The rest is for ending what was begun.
    pub(super) fn work_until(self) -> Instant {
        self.deadline - END_LIMIT.min(self.limit / 4)
    }
}

/// What was heard of each PgBouncer last.
pub(super) type Known = BTreeMap<String, Status>;

/// The fleet, and what was heard of it last.
#[derive(Debug)]
pub(super) struct Watched {
    fleet: Fleet,
    pub(super) known: Known,
    _sockets: SocketDirectory,
}

impl Course {
    /// Carries it out; fails with one line that says what is not done.
    pub(super) async fn take(mut self, file: &Path, time: Time) -> anyhow::Result<()> {
        let planners = std::mem::take(&mut self.planners);
        // Kept to the end.
        let _claim = tokio::time::timeout_at(time.deadline.into(), self.claim()).await;
        let identities = Identities::from([(self.active, self.identity.clone())]);
        let mut watched = Watched::start(&self.config, planners, identities)?;
        watched.look(time.deadline).await;
        self.go(watched, file, time).await
    }

    /// The same with a fleet that was looked at already.
    pub(super) async fn go(
        &self,
        mut watched: Watched,
        file: &Path,
        time: Time,
    ) -> anyhow::Result<()> {
        for note in &self.notes {
            tracing::warn!("{note}");
        }
        let deadline = time.work_until();
        let generation = match self.until_ended(&mut watched, deadline).await {
            Ok(generation) => generation,
            Err(error) => {
                watched.stop(time.deadline).await;
                return Err(error.context("nothing was changed"));
            }
        };
        let count = watched.known.len();
        let mut missing = Vec::new();
        for (name, status) in &watched.known {
            match became(status, generation) {
                Ok(what) => print::line(&format!("{name}: {what}")),
                Err(why) => {
                    print::line(&format!("{name}: NOT redirected: {why}"));
                    missing.push(format!("{name}: {why}"));
                }
            }
        }
        watched.end(file, time.deadline, deadline).await;
        if missing.is_empty() {
            return Ok(());
        }
        bail!(
            "{} of {count} PgBouncers not redirected: {}; when the cause is gone, \
             run the same command again, or `repoint notify --again`",
            missing.len(),
            missing.join("; ")
        )
    }

    /// Decides, and waits until each PgBouncer serves the node or something newer; again with a
    /// higher number where somebody else decided otherwise and is wrong. Gives the number.
    async fn until_ended(
        &self,
        watched: &mut Watched,
        deadline: Instant,
    ) -> anyhow::Result<Generation> {
        let mut decided: Option<Generation> = None;
        loop {
            // After the look: what this decision supersedes was decided before this was true.
            let highest = watched.known.values().map(|status| status.generation);
            let highest = highest.max().unwrap_or(Generation::NONE);
            if let Err(error) = self.confirm(deadline).await {
                return decided.ok_or(error);
            }
            // Named after the target, not after this host: two calls at once with opposite targets
            // must not have one number, or neither would give way to the other.
            let generation = highest.next(self.active);
            decided = Some(generation);
            watched.fleet.assign(Assignment {
                decision: Some(Decision {
                    generation,
                    failed: self.failed,
                    active: self.active,
                    fault: self.fault,
                }),
                scope: self.scope,
                may_act: true,
                busy: true,
                insist: true,
                ..Assignment::default()
            });
            let settled = |status: &Status| status.settled == Some(generation);
            let contrary = |status: &Status| {
                let newer = status.generation > generation;
                newer && status.generation.node_id != self.active && !settled(status)
            };
            let proved = matches!(self.proof, Proof::Promotion(_));
            let contradicted = |known: &Known| proved && known.values().any(contrary);
            let over = |known: &Known| {
                let ended = |status: &Status| settled(status) || contrary(status);
                contradicted(known) || known.values().all(ended)
            };
            if !watched.until(deadline, over).await || !contradicted(&watched.known) {
                return Ok(generation);
            }
        }
    }

    async fn confirm(&self, deadline: Instant) -> anyhow::Result<()> {
        match &self.proof {
            Proof::Told => Ok(()),
            Proof::Promotion(members) => {
                let local = self.config.node_id;
                promotion::confirm(members, self.active, local, deadline).await
            }
        }
    }

    /// Takes the claim when it comes free in time; the order of generations does without it.
    pub(super) async fn claim(&self) -> Option<ClaimSession> {
        let conninfo = &self.config.nodes.get(&self.active)?.conninfo;
        let wait = async {
            let session = ClaimSession::open(conninfo).await.ok()?;
            while !session.take().await.ok()? {
                tokio::time::sleep(CLAIM_INTERVAL).await;
            }
            Some(session)
        };
        tokio::time::timeout(CLAIM_LIMIT, wait).await.ok().flatten()
    }
}

impl Watched {
    /// Starts looking at every PgBouncer.
    pub(super) fn start(
        config: &Config,
        planners: BTreeMap<String, Planner>,
        identities: Identities,
    ) -> anyhow::Result<Self> {
        let sockets = SocketDirectory::create_or_temporary(&config.runtime_directory)
            .context("make a directory for the sockets of ssh")?;
        // The sender may go: nothing new is learned here.
        let (_, identities) = watch::channel(identities);
        let mut turns = AllTurns::default();
        let fleet = Fleet::start(config, planners, sockets.path(), &identities, &mut turns)
            .context("make a directory for the sockets of ssh")?;
        let known = config.pgbouncers.keys().cloned();
        Ok(Self {
            fleet,
            known: known.map(|name| (name, Status::default())).collect(),
            _sockets: sockets,
        })
    }

    /// Waits a moment for all to be looked at.
    pub(super) async fn look(&mut self, deadline: Instant) {
        let looked = Instant::now() + LOOK_LIMIT;
        let reached = |known: &Known| known.values().all(|status| status.reached);
        self.until(looked.min(deadline), reached).await;
    }

    /// Waits until `condition` holds; `false`: it does not by `deadline`.
    pub(super) async fn until(
        &mut self,
        deadline: Instant,
        condition: impl Fn(&Known) -> bool,
    ) -> bool {
        while !condition(&self.known) {
            let heard = tokio::time::timeout_at(deadline.into(), self.fleet.heard()).await;
            let Ok(Some((name, status))) = heard else {
                return false;
            };
            self.known.insert(name, status);
        }
        true
    }

    /// Ends all. What is owed of `server_login_retry` is owed for seconds, and repmgrd stands still
    /// until this process ends: another one pays it, or this one by `pay_until`.
    async fn end(mut self, file: &Path, deadline: Instant, pay_until: Instant) {
        let owes = |known: &Known| known.values().any(|status| status.owes);
        if !owes(&self.known) {
            return self.stop(deadline).await;
        }
        if settle::begin(file) {
            self.fleet.leave_debts();
        } else {
            tracing::info!("staying until server_login_retry can be set again");
            self.until(pay_until, |known| !owes(known)).await;
        }
        self.stop(deadline).await;
    }

    /// Ends all, and pays what is owed.
    pub(super) async fn stop(self, deadline: Instant) {
        self.fleet.stop(deadline).await;
    }
}

/// What a PgBouncer has become, or why it does not serve the node.
fn became(status: &Status, generation: Generation) -> Result<String, String> {
    let settled = status.settled == Some(generation);
    if settled && !status.astray.is_empty() {
        return Err(status.serving());
    }
    if settled {
        let outcome = status.outcome.as_ref().map(ToString::to_string);
        return Ok(outcome.unwrap_or_else(|| "serves the node".to_owned()));
    }
    if status.generation > generation {
        let newer = status.generation;
        return Err(format!("its file holds a newer decision ({newer})"));
    }
    Err(match (&status.trouble, &status.outcome) {
        (Some(trouble), _) => trouble.clone(),
        (None, Some(outcome)) => outcome.to_string(),
        (None, None) => "not in time".to_owned(),
    })
}
