//! The steps that only a planned move has: waiting for connections to end, without ending any.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Execution;
use crate::conninfo::server_address::ServerAddress;
use crate::core::pooler::ServerState;
use crate::core::sequence::StepResult;
use crate::edge::admin_console::{Console, ConsoleError, set_command};
use crate::edge::chain;

const FAST_CLOSE: &str = "server_fast_close";
/// More of them say no more.
const NAMED_MAX: usize = 5;

/// Waits until the new node has all that the old one has, or says why it never will. It is given up
/// when its time is over.
pub type Replayed = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;
/// Hears how many connections are left on the old node.
pub type Progress = Arc<dyn Fn(usize) + Send + Sync>;

/// What whoever orders a planned move wants to say and hear.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Asked while nobody writes, before the new node gets the traffic.
    pub replayed: Option<Replayed>,
    /// Told at each look.
    pub progress: Option<Progress>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Execution<'_> {
    /// A planned move asks and tells.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    pub(super) async fn calm(&self) -> StepResult {
        let moves: BTreeSet<String> = self.plan().moves.keys().cloned().collect();
        let mut logins = 0;
        for console in &self.links.consoles {
            match console.logins(&moves).await {
                Ok(found) => logins += found,
                Err(error) => return StepResult::Failed(chain(&error)),
            }
        }
        match logins {
            0 => StepResult::Done(String::new()),
            _ => StepResult::NotYet(format!("{logins} connections are just logging in")),
        }
    }

    pub(super) async fn emptied(&self) -> StepResult {
        let moves = &self.plan().moves;
        match self.rows(|row| moves.contains_key(&row.database)).await {
            Err(error) => StepResult::Failed(chain(&error)),
            Ok(rows) if rows.is_empty() => StepResult::Done(String::new()),
            Ok(rows) => StepResult::NotYet(format!(
                "PAUSE has answered, but {} connections are in use (did anybody ever send \
                 WAIT_CLOSE? Only a restart of PgBouncer helps then)",
                rows.len()
            )),
        }
    }

    pub(super) async fn replayed(&self, limit: Duration) -> StepResult {
        let Some(replayed) = &self.hooks.replayed else {
            return StepResult::Done("nothing is waited for".to_owned());
        };
        match tokio::time::timeout(limit, replayed()).await {
            Ok(Ok(())) => StepResult::Done(String::new()),
            Ok(Err(why)) => StepResult::Failed(why),
            Err(_) => StepResult::Failed(format!(
                "the new node has not all that the old one has after {} ms",
                limit.as_millis()
            )),
        }
    }

    pub(super) async fn close_sessions(&self) -> StepResult {
        for console in &self.links.consoles {
            if let Err(error) = console.command(&set_command(FAST_CLOSE, "1")).await {
                return StepResult::Failed(chain(&error));
            }
        }
        StepResult::Done(String::new())
    }

    pub(super) async fn keep_sessions(&self) -> StepResult {
        let Some(value) = self.plan().way.fast_close() else {
            return StepResult::Done(String::new());
        };
        let command = set_command(FAST_CLOSE, value);
        for (console, conninfo) in self.links.consoles.iter().zip(&self.pgbouncer.consoles) {
            if console.command(&command).await.is_ok() {
                continue;
            }
            // The session broke; what was SET did not.
            let again = async {
                let console = Console::open(conninfo, &self.links.host).await?;
                console.command(&command).await
            };
            if let Err(error) = again.await {
                return StepResult::Failed(chain(&error));
            }
        }
        StepResult::Done(String::new())
    }

    pub(super) async fn drained(&self) -> StepResult {
        let left = match self.rows(|row| self.is_left(row)).await {
            Ok(rows) => rows.len(),
            Err(error) => return StepResult::Failed(unseen(&error)),
        };
        if let Some(progress) = &self.hooks.progress {
            progress(left);
        }
        match left {
            0 => StepResult::Done(String::new()),
            _ => StepResult::NotYet(format!("{left} connections are left")),
        }
    }

    /// Says who has not left, and where they can be found.
    pub(super) async fn name_left(&self) -> StepResult {
        let mut left = Vec::new();
        for console in &self.links.consoles {
            let (servers, clients) = match servers_and_clients(console).await {
                Ok(both) => both,
                Err(error) => return StepResult::Failed(unseen(&error)),
            };
            for row in servers.iter().filter(|row| self.is_left(row)) {
                let client = row.link.as_ref().and_then(|link| clients.get(link));
                let client = client.map_or(String::new(), |place| format!(" of client {place}"));
                left.push(format!(
                    "`{}` as {}, {}{client}",
                    row.database, row.user, row.state
                ));
            }
        }
        if left.is_empty() {
            return StepResult::Passed(String::new());
        }
        let count = left.len();
        let more = count.saturating_sub(NAMED_MAX);
        left.truncate(NAMED_MAX);
        let more = match more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let connections = if count == 1 {
            "connection"
        } else {
            "connections"
        };
        StepResult::Done(format!("{count} {connections}: {}{more}", left.join("; ")))
    }

    async fn rows(
        &self,
        is_meant: impl Fn(&ServerState) -> bool,
    ) -> Result<Vec<ServerState>, ConsoleError> {
        let mut rows = Vec::new();
        for console in &self.links.consoles {
            rows.extend(console.servers().await?.into_iter().filter(&is_meant));
        }
        Ok(rows)
    }

    /// A connection of an entry that moves, to where that pointed before. PgBouncer marks them all
    /// when it takes a new address, but one that was just made may be older than its mark.
    fn is_left(&self, row: &ServerState) -> bool {
        let plan = self.plan();
        let Some(meant) = plan.moves.get(&row.database) else {
            return false;
        };
        let before = plan.previous.get(&row.database);
        row.close_needed || before.is_some_and(|before| is_at(row, before, meant))
    }
}

/// Whether a connection is to the old address. PgBouncer shows the IP address that it found for a
/// name, which says nothing then, unless the ports differ.
fn is_at(row: &ServerState, before: &(String, u16), meant: &ServerAddress) -> bool {
    let (host, port) = before;
    if row.port != *port {
        return false;
    }
    match host.parse::<std::net::IpAddr>() {
        Ok(_) => row.addr == *host && (host, *port) != (&meant.host, meant.port),
        Err(_) => *port != meant.port,
    }
}

async fn servers_and_clients(
    console: &Console,
) -> Result<(Vec<ServerState>, std::collections::BTreeMap<String, String>), ConsoleError> {
    Ok((console.servers().await?, console.client_addresses().await?))
}

fn unseen(error: &ConsoleError) -> String {
    format!("it cannot be seen who is left: {}", chain(error))
}
