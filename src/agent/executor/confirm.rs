//! The proof that clients of an entry reach the new node.

use std::time::Duration;

use super::Execution;
use crate::core::sequence::StepResult;
use crate::edge::admin_console::{Console, ConsoleError};
use crate::edge::chain;

/// One try of the query through PgBouncer.
const CONFIRM_TRY: Duration = Duration::from_secs(1);

impl Execution<'_> {
    pub(super) async fn confirm(&self, database: &str) -> StepResult {
        if self.plan().kept_paused.contains(database) {
            let how = "read back; it stays paused, as an operator left it";
            return StepResult::Passed(how.to_owned());
        }
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
                // Nothing that names a database ends such a pause.
                return match console.paused_as_a_whole().await {
                    Ok(Some(true)) => StepResult::NotYet(
                        "somebody has sent PgBouncer a PAUSE without a database; RESUME ends it"
                            .to_owned(),
                    ),
                    Ok(_) | Err(_) => how,
                };
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
            Err(error) if is_disabled(console, database).await => StepResult::Passed(format!(
                "read back; no query can prove it: {}",
                chain(&error)
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
}

/// An operator has disabled the entry: what we disabled was enabled before anything is confirmed.
async fn is_disabled(console: &Console, database: &str) -> bool {
    let entries = console.databases().await;
    entries.is_ok_and(|entries| entries.get(database).is_some_and(|entry| entry.disabled))
}
