//! Whether PgBouncer has what it was given: the state decides, not the answer to RELOAD.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::Execution;
use crate::core::debt::Settings;
use crate::core::pooler::EntryState;
use crate::core::sequence::{StepResult, reset};
use crate::edge::admin_console::{Console, ConsoleError};
use crate::edge::chain;

/// What one process says after a RELOAD.
type Loaded = (BTreeMap<String, EntryState>, Settings);

impl Execution<'_> {
    pub(super) async fn read_back(&mut self) -> StepResult {
        let loaded = match self.look().await {
            Ok(loaded) => loaded,
            Err(error) => return StepResult::Failed(chain(&error)),
        };
        for (console, (entries, _)) in self.links.consoles.iter().zip(&loaded) {
            if let Some((name, what)) = self.not_as_meant(entries) {
                return rejected(console, &name, &what);
            }
        }
        let result = self.whether_reset(&loaded);
        self.loaded = loaded.into_iter().map(|(_, settings)| settings).collect();
        result
    }

    pub(super) async fn read_back_previous(&self) -> StepResult {
        let loaded = match self.look().await {
            Ok(loaded) => loaded,
            Err(error) => return StepResult::Failed(chain(&error)),
        };
        for (console, (entries, _)) in self.links.consoles.iter().zip(&loaded) {
            for (name, (host, port)) in &self.plan().previous {
                let found = entries.get(name);
                if found.is_none_or(|found| (&found.host, found.port) != (host, *port)) {
                    return rejected(console, name, "it is not as it was before");
                }
            }
        }
        self.whether_reset(&loaded)
    }

    /// What every process says; both questions are sent at once.
    async fn look(&self) -> Result<Vec<Loaded>, ConsoleError> {
        try_join_all(self.links.consoles.iter().map(look)).await
    }

    /// The first entry that is not as meant, and in what.
    fn not_as_meant(&self, entries: &BTreeMap<String, EntryState>) -> Option<(String, String)> {
        self.plan().expected.iter().find_map(|(name, meant)| {
            let what = match entries.get(name) {
                None => "it is not there".to_owned(),
                Some(found)
                    if (&found.host, found.port, &found.dbname)
                        != (&meant.host, meant.port, &meant.dbname) =>
                {
                    format!(
                        "it is `{}` at `{}`:{}, not `{}` at `{}`:{}",
                        found.dbname, found.host, found.port, meant.dbname, meant.host, meant.port
                    )
                }
                Some(found) => {
                    let user = self.pgbouncer.databases.get(name)?.user.as_ref()?;
                    if found.force_user.as_ref() == Some(user) {
                        return None;
                    }
                    "its forced user is not the configured one".to_owned()
                }
            };
            Some((name.clone(), what))
        })
    }

    fn whether_reset(&self, loaded: &[Loaded]) -> StepResult {
        for (index, (console, (_, after))) in self.links.consoles.iter().zip(loaded).enumerate() {
            let Some(before) = self.sequence.before(index) else {
                continue;
            };
            let keys = reset(before, after);
            if !keys.is_empty() {
                return StepResult::Reset(format!(
                    "after RELOAD, PgBouncer at {} has lost its {}; its log says why",
                    console.place(),
                    keys.join(", ")
                ));
            }
        }
        StepResult::Done(String::new())
    }
}

async fn look(console: &Console) -> Result<Loaded, ConsoleError> {
    tokio::try_join!(console.databases(), console.settings())
}

fn rejected(console: &Console, entry: &str, what: &str) -> StepResult {
    StepResult::Rejected(format!(
        "after RELOAD, PgBouncer at {} does not have entry `{entry}` as meant: {what}; \
         its log says why",
        console.place()
    ))
}
