//! Carries out the steps of a plan on real hosts and consoles. Makes no choices.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::links::{LOGIN_RETRY, Links};
use crate::config::PgBouncer;
use crate::core::debt::Debt;
use crate::core::outcome::Outcome;
use crate::core::plan::{Plan, Step};
use crate::core::sequence::{Next, Owed, Sequence, StepResult};
use crate::core::worker::HASTY;
use crate::edge::admin_console::{Console, ConsoleError, set_command};
use crate::edge::chain;
use crate::edge::remote::RemoteError;

/// From staging to the last RESUME takes milliseconds; after this time whoever looks may resume.
const LEASE: Duration = Duration::from_secs(3);
/// How long after its due time the debt of `server_login_retry` is still ours alone to pay.
const LEASE_SLACK: Duration = Duration::from_secs(5);
/// One try of the query through PgBouncer.
const CONFIRM_TRY: Duration = Duration::from_secs(1);

/// A sequence at work.
pub struct Execution<'a> {
    links: &'a Links,
    pgbouncer: &'a PgBouncer,
    /// What `pg_postmaster_start_time()` says on the active node.
    identity: Option<String>,
    /// `server_login_retry` as it was when it was looked at last.
    login_retry: String,
    sequence: Sequence,
}

impl<'a> Execution<'a> {
    /// Prepares.
    #[must_use]
    pub fn new(
        plan: Plan,
        links: &'a Links,
        pgbouncer: &'a PgBouncer,
        identity: Option<String>,
        login_retry: String,
        now: Instant,
    ) -> Self {
        Self {
            links,
            pgbouncer,
            identity,
            login_retry,
            sequence: Sequence::new(plan, now),
        }
    }

    /// Runs to the end. Must not be dropped half way: what it began would stay begun until its
    /// record on the host expires.
    pub async fn run(mut self) -> (Outcome, Option<Owed>) {
        loop {
            match self.sequence.next(Instant::now()) {
                Next::Do(step) => {
                    let begun = Instant::now();
                    let result = self.carry_out(&step).await;
                    let took_ms = begun.elapsed().as_micros() as f64 / 1000.0;
                    tracing::debug!(
                        pgbouncer = self.pgbouncer.name,
                        ?step,
                        ?result,
                        took_ms,
                        "step"
                    );
                    self.sequence.handle(result, Instant::now());
                }
                Next::Wait(until) => tokio::time::sleep_until(until.into()).await,
                Next::End => return self.sequence.finish(Instant::now()),
            }
        }
    }

    async fn carry_out(&self, step: &Step) -> StepResult {
        match step {
            Step::Stage => self.stage().await,
            Step::Pause { database, limit } => self.pause(database, *limit).await,
            Step::Activate => self.activate().await,
            Step::Reload => self.reload().await,
            Step::ReadBack => self.read_back().await,
            Step::Hasten => self.hasten().await,
            Step::Resume { database } => self.resume(database).await,
            Step::Confirm { database } => self.confirm(database).await,
            Step::RecordDebt => self.record_debt().await,
            Step::RestoreFile => self.restore_file().await,
            Step::ReadBackPrevious => self.read_back_previous().await,
            Step::Settle => done(self.links.host.settle(&self.plan().token).await),
        }
    }

    fn plan(&self) -> &Plan {
        self.sequence.plan()
    }

    async fn stage(&self) -> StepResult {
        let plan = self.plan();
        let debt = json(&self.sequence.debt(&self.login_retry));
        done(
            self.links
                .host
                .stage(&plan.token, &plan.content, &plan.hash, LEASE, &debt)
                .await,
        )
    }

    async fn pause(&self, database: &str, limit: Duration) -> StepResult {
        let pauses = self
            .links
            .consoles
            .iter()
            .map(|console| console.pause(database, limit));
        let mut result = StepResult::Done(String::new());
        for answer in join_all(pauses).await {
            match answer {
                Ok(true) => {}
                Ok(false) => {
                    result = StepResult::Passed("its answer was not waited for".to_owned())
                }
                Err(error) => return StepResult::Failed(chain(&error)),
            }
        }
        result
    }

    async fn activate(&self) -> StepResult {
        let plan = self.plan();
        let (host, generation) = (&self.links.host, plan.decision.generation);
        done(
            host.activate(&plan.token, generation, &plan.hash_read, &plan.hash)
                .await,
        )
    }

    async fn reload(&self) -> StepResult {
        for answer in join_all(self.links.consoles.iter().map(|c| c.command("RELOAD"))).await {
            match answer {
                Ok(_) => {}
                Err(ConsoleError::Answered { message, .. }) => return StepResult::Passed(message),
                Err(error) => return StepResult::Failed(chain(&error)),
            }
        }
        StepResult::Done(String::new())
    }

    async fn read_back(&self) -> StepResult {
        let users = |name: &str| {
            self.pgbouncer
                .databases
                .get(name)
                .and_then(|d| d.user.clone())
        };
        for console in &self.links.consoles {
            let entries = match console.databases().await {
                Ok(entries) => entries,
                Err(error) => return StepResult::Failed(chain(&error)),
            };
            for (name, meant) in &self.plan().expected {
                let Some(found) = entries.get(name) else {
                    return rejected(console, name, "it is not there");
                };
                if (&found.host, found.port, &found.dbname)
                    != (&meant.host, meant.port, &meant.dbname)
                {
                    let found = format!(
                        "it is `{}` at `{}`:{}, not `{}` at `{}`:{}",
                        found.dbname, found.host, found.port, meant.dbname, meant.host, meant.port
                    );
                    return rejected(console, name, &found);
                }
                if let Some(user) = users(name)
                    && found.force_user.as_ref() != Some(&user)
                {
                    return rejected(console, name, "its forced user is not the configured one");
                }
            }
        }
        StepResult::Done(String::new())
    }

    async fn hasten(&self) -> StepResult {
        let mut before = None;
        for console in &self.links.consoles {
            // After RELOAD, which undoes what was SET: this is what its file says.
            let found = match console.setting(LOGIN_RETRY).await {
                Ok(found) => found.unwrap_or_default(),
                Err(error) => return StepResult::Failed(chain(&error)),
            };
            if found.parse::<f64>().is_ok_and(|seconds| seconds <= 0.1) {
                continue;
            }
            if let Err(error) = console.command(&set_command(LOGIN_RETRY, HASTY)).await {
                return StepResult::Failed(chain(&error));
            }
            before = Some(found);
        }
        match before {
            Some(before) => StepResult::Hastened { before },
            None => StepResult::Done(String::new()),
        }
    }

    async fn resume(&self, database: &str) -> StepResult {
        for (console, conninfo) in self.links.consoles.iter().zip(&self.pgbouncer.consoles) {
            let Err(error) = console.resume(database).await else {
                continue;
            };
            if matches!(error, ConsoleError::Answered { .. }) {
                return StepResult::Failed(chain(&error));
            }
            // The session broke; the pause did not.
            let again = async {
                Console::open(conninfo, &self.links.host)
                    .await?
                    .resume(database)
                    .await
            };
            if let Err(error) = again.await {
                return StepResult::Failed(chain(&error));
            }
        }
        StepResult::Done(String::new())
    }

    async fn confirm(&self, database: &str) -> StepResult {
        let user = self
            .pgbouncer
            .databases
            .get(database)
            .and_then(|d| d.probe_user.as_deref());
        let mut how = StepResult::Done(String::new());
        for console in &self.links.consoles {
            how = match user {
                Some(user) => self.confirm_by_query(console, database, user).await,
                None => self.confirm_by_servers(console, database).await,
            };
            if matches!(how, StepResult::NotYet(_) | StepResult::Failed(_)) {
                return how;
            }
        }
        how
    }

    async fn confirm_by_query(&self, console: &Console, database: &str, user: &str) -> StepResult {
        let Some(meant) = &self.identity else {
            return StepResult::NotYet("the node itself was not asked yet".to_owned());
        };
        match console.identity_through(database, user, CONFIRM_TRY).await {
            Ok(found) if found == *meant => StepResult::Done(format!(
                "a query through it landed on node {}",
                self.plan().decision.active
            )),
            Ok(found) => StepResult::NotYet(format!(
                "a query landed on a server started at {found}, not on the one started at {meant}"
            )),
            Err(error) => StepResult::NotYet(chain(&error)),
        }
    }

    async fn confirm_by_servers(&self, console: &Console, database: &str) -> StepResult {
        let Some(address) = self.plan().expected.get(database) else {
            return StepResult::Failed("the entry is not in the plan".to_owned());
        };
        let looks = async {
            let live = console
                .live_servers(database, &address.host, address.port)
                .await?;
            Ok::<_, ConsoleError>((live, console.waiting_clients(database).await?))
        };
        match looks.await {
            Ok((0, 0)) => {
                StepResult::Passed("read back; no client is there to prove it".to_owned())
            }
            Ok((0, waiting)) => StepResult::NotYet(format!(
                "{waiting} clients wait and there is no connection to the node yet"
            )),
            Ok((live, _)) => StepResult::Done(format!("{live} live connections to the node")),
            Err(error) => StepResult::NotYet(chain(&error)),
        }
    }

    async fn record_debt(&self) -> StepResult {
        let (host, token) = (&self.links.host, &self.plan().token);
        match self.sequence.owed() {
            None => done(host.settle(token).await),
            Some(owed) => {
                let debt = Debt {
                    server_login_retry: Some(owed.value.clone()),
                    ..Debt::default()
                };
                let lease = owed.due.saturating_duration_since(Instant::now()) + LEASE_SLACK;
                done(host.record(token, lease, &json(&debt)).await)
            }
        }
    }

    async fn restore_file(&self) -> StepResult {
        let plan = self.plan();
        done(
            self.links
                .host
                .rollback(&plan.token, plan.decision.generation, &plan.hash)
                .await,
        )
    }

    async fn read_back_previous(&self) -> StepResult {
        for console in &self.links.consoles {
            let entries = match console.databases().await {
                Ok(entries) => entries,
                Err(error) => return StepResult::Failed(chain(&error)),
            };
            for (name, (host, port)) in &self.plan().previous {
                let found = entries.get(name);
                if found.is_none_or(|found| (&found.host, found.port) != (host, *port)) {
                    return rejected(console, name, "it is not as it was before");
                }
            }
        }
        StepResult::Done(String::new())
    }
}

fn rejected(console: &Console, entry: &str, what: &str) -> StepResult {
    StepResult::Rejected(format!(
        "after RELOAD, PgBouncer at {} does not have entry `{entry}` as meant: {what}; \
         its log says why",
        console.place()
    ))
}

fn done(result: Result<(), RemoteError>) -> StepResult {
    match result {
        Ok(()) => StepResult::Done(String::new()),
        Err(RemoteError::Superseded(by)) => StepResult::Superseded(by),
        Err(error @ RemoteError::Lost { .. }) => StepResult::Lost(chain(&error)),
        Err(error) => StepResult::Failed(chain(&error)),
    }
}

fn json(debt: &Debt) -> String {
    serde_json::to_string(debt).expect("a debt holds nothing but text")
}
