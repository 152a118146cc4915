//! Clients that hang in a dead node.

use futures_util::future::join_all;

use super::Execution;
use crate::core::plan::{EVICTING, Eviction, to_change};
use crate::core::pooler::ClientState;
use crate::core::sequence::{Evicted, StepResult};
use crate::edge::admin_console::{Console, ConsoleError, kill_command, set_command};
use crate::edge::chain;

/// How many clients are named one after the other before it is looked again who hangs: one that
/// was let go meanwhile is served by the new node.
const AT_A_TIME: usize = 50;

impl Execution<'_> {
    pub(super) async fn evict(&self, eviction: Eviction) -> StepResult {
        let rounds = self.links.consoles.iter().map(|console| async move {
            match eviction {
                Eviction::KillClients => self.kill_clients(console).await,
                Eviction::QueryTimeout => self.shorten_queries(console).await,
                Eviction::KillDatabase => self.kill_databases(console).await,
            }
        });
        together(join_all(rounds).await)
    }

    /// Whether somebody hangs: the state decides, not the answers.
    pub(super) async fn freed(&self) -> StepResult {
        let looks = self.links.consoles.iter().map(|console| async move {
            let left = self.hanging(console).await?;
            Ok(Evicted {
                left,
                ..Evicted::default()
            })
        });
        together(join_all(looks).await)
    }

    async fn kill_clients(&self, console: &Console) -> Result<Evicted, ConsoleError> {
        // In this order: see `Plan::to_kill`.
        let clients = console.clients().await?;
        let servers = console.servers().await?;
        let mut freed = 0;
        for id in self
            .plan()
            .to_kill(&clients, &servers)
            .into_iter()
            .take(AT_A_TIME)
        {
            freed += usize::from(console.kill_client(id).await?);
        }
        Ok(Evicted {
            freed,
            left: self.hanging(console).await?,
            ..Evicted::default()
        })
    }

    async fn shorten_queries(&self, console: &Console) -> Result<Evicted, ConsoleError> {
        let left = self.hanging(console).await?;
        if left > 0 {
            // After RELOAD, which undoes what was SET.
            let before = to_change(&console.settings().await?);
            for (key, value) in EVICTING {
                if before.contains_key(key) {
                    console.command(&set_command(key, value)).await?;
                }
            }
        }
        Ok(Evicted {
            left,
            ..Evicted::default()
        })
    }

    async fn kill_databases(&self, console: &Console) -> Result<Evicted, ConsoleError> {
        let mut evicted = Evicted::default();
        for (database, count) in self.plan().hanging(&console.servers().await?) {
            let clients = console.clients().await?;
            let of_it = |client: &&ClientState| client.database == database;
            let dropped = clients.iter().filter(of_it).count();
            console.command(&kill_command(&database)).await?;
            evicted.freed += count;
            evicted.dropped.insert(database, dropped);
        }
        evicted.left = self.hanging(console).await?;
        evicted.freed = evicted.freed.saturating_sub(evicted.left);
        Ok(evicted)
    }

    async fn hanging(&self, console: &Console) -> Result<usize, ConsoleError> {
        let servers = console.servers().await?;
        Ok(self.plan().hanging(&servers).into_values().sum())
    }
}

/// Of all processes; what the others gave is lost with an error, except in the state.
fn together(results: Vec<Result<Evicted, ConsoleError>>) -> StepResult {
    let mut all = Evicted::default();
    for result in results {
        match result {
            Ok(one) => {
                all.freed += one.freed;
                all.left += one.left;
                for (database, count) in one.dropped {
                    *all.dropped.entry(database).or_insert(0) += count;
                }
            }
            Err(error) => return StepResult::Failed(chain(&error)),
        }
    }
    StepResult::Evicted(all)
}
