//! Runtime settings: what is SET so that clients do not wait, and what an operator had SET.

use std::time::Instant;

use futures_util::future::join_all;

use super::Execution;
use crate::agent::links::set_again;
use crate::core::pooler::LOGIN_RETRY;
use crate::core::sequence::{StepResult, is_hasty, lost};
use crate::core::worker::HASTY;
use crate::edge::admin_console::{Console, ConsoleError, set_command};
use crate::edge::chain;

impl Execution<'_> {
    /// Reads what a RELOAD will undo, just before the first step.
    pub(super) async fn remember(&mut self) {
        if self.plan().moves.is_empty() {
            return;
        }
        match self.links.settings().await {
            Ok(found) => self.sequence.found(found),
            // In place of the first step.
            Err(error) => {
                let result = StepResult::Failed(chain(&error));
                self.sequence.handle(result, Instant::now());
            }
        }
    }

    pub(super) async fn reload(&self) -> StepResult {
        let reloads = self.links.consoles.iter().map(reload_hastily);
        let mut result = StepResult::Done(String::new());
        for (console, answer) in self.links.consoles.iter().zip(join_all(reloads).await) {
            match answer {
                Ok(_) => {}
                Err(ConsoleError::Answered { message, .. }) => {
                    result = StepResult::Passed(format!(
                        "PgBouncer at {} answered RELOAD with `{message}`: it does not like \
                         something in its files, and would not start with them; its log says what",
                        console.place()
                    ));
                }
                Err(error) => return StepResult::Failed(chain(&error)),
            }
        }
        result
    }

    pub(super) async fn hasten(&self) -> StepResult {
        for (console, loaded) in self.links.consoles.iter().zip(&self.loaded) {
            if is_hasty(loaded) {
                continue;
            }
            if let Err(error) = console.command(&set_command(LOGIN_RETRY, HASTY)).await {
                return StepResult::Failed(chain(&error));
            }
        }
        StepResult::Done(String::new())
    }

    pub(super) async fn put_back(&self) -> StepResult {
        let consoles = &self.links.consoles;
        let put_back = consoles
            .iter()
            .enumerate()
            .map(|(index, console)| async move {
                let Some(before) = self.sequence.before(index) else {
                    return Ok(Vec::new());
                };
                let found = console.settings().await?;
                // Nothing was undone, or it was started anew since: what it has is as it should be.
                if !is_hasty(&found) {
                    return Ok(Vec::new());
                }
                let told = set_again(console, &lost(before, &found, self.sequence.owed())).await?;
                Ok(match consoles.len() {
                    1 => told,
                    _ => {
                        let at = |note| format!("at {}: {note}", console.place());
                        told.into_iter().map(at).collect()
                    }
                })
            });
        let notes: Result<Vec<_>, ConsoleError> = join_all(put_back).await.into_iter().collect();
        match notes.map(|notes| notes.concat()) {
            Ok(notes) if notes.is_empty() => StepResult::Done(String::new()),
            Ok(notes) => StepResult::Passed(notes.join("; ")),
            Err(error) => StepResult::Failed(format!(
                "what was SET before is put back later, it is on record on the host: {}",
                chain(&error)
            )),
        }
    }
}

/// RELOAD, and with it the sign that what was SET is undone: sent at once, so that a process that
/// stands still, or whose agent is killed, has both in its queue or none.
async fn reload_hastily(console: &Console) -> Result<(), ConsoleError> {
    let hasten = set_command(LOGIN_RETRY, HASTY);
    let (reloaded, hastened) = tokio::join!(console.command("RELOAD"), console.command(&hasten));
    match (reloaded, hastened) {
        (Ok(_), Err(error @ ConsoleError::Lost { .. })) => Err(error),
        (reloaded, _) => reloaded.map(drop),
    }
}
