//! What the console says of connections: which are left at a server, whose they are, and how they
//! are pooled.

use std::collections::{BTreeMap, BTreeSet};

use super::{Console, ConsoleError, Row};

impl Console {
    /// Address and port of each client, and its `application_name` where it tells one (from 1.18
    /// on), by what [`crate::core::pooler::ServerState::link`] calls it.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn client_addresses(&self) -> Result<BTreeMap<String, String>, ConsoleError> {
        let rows = self.command("SHOW CLIENTS").await?;
        let client = |mut row: Row| {
            let name = row.remove("application_name");
            let name = name.filter(|name| !name.is_empty());
            let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
            let place = format!("{}:{}{name}", row.remove("addr")?, row.remove("port")?);
            Some((row.remove("ptr")?, place))
        };
        Ok(rows.into_iter().filter_map(client).collect())
    }

    /// Connections of `databases` that are just logging in to a server.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn logins(&self, databases: &BTreeSet<String>) -> Result<u64, ConsoleError> {
        let rows = self.command("SHOW POOLS").await?;
        let ours = |row: &&Row| row.get("database").is_some_and(|d| databases.contains(d));
        let logins = |row: &Row| row.get("sv_login")?.parse::<u64>().ok();
        Ok(rows.iter().filter(ours).filter_map(logins).sum())
    }

    /// How each of `databases` is pooled: `transaction`, `session` or `statement`. Several, where
    /// users have a pool mode of their own.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn pool_modes(
        &self,
        databases: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, ConsoleError> {
        let usual = self.setting("pool_mode").await?.unwrap_or_default();
        let mut modes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for mut row in self.command("SHOW DATABASES").await? {
            if let Some(name) = row.remove("name").filter(|name| databases.contains(name)) {
                let mode = row.remove("pool_mode").unwrap_or_else(|| usual.clone());
                modes.entry(name).or_default().insert(mode);
            }
        }
        // What is there says it for certain, users' own modes included.
        for mut row in self.command("SHOW POOLS").await? {
            let name = row.remove("database");
            if let (Some(name), Some(mode)) = (name, row.remove("pool_mode"))
                && let Some(known) = modes.get_mut(&name)
            {
                known.insert(mode);
            }
        }
        Ok(modes)
    }
}
