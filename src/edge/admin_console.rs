//! PgBouncer's admin console: simple queries only, columns by name, every command under a deadline.
//!
//! Knows what commands mean and how they go wrong (measured on 1.18.0 and 1.25.2), not when to send
//! them: that is `core::plan`. An answer is never taken for the state: after RELOAD and PAUSE the
//! caller reads SHOW DATABASES. WAIT_CLOSE is never sent (after one, PAUSE returns at once for
//! ever), nor the extended protocol (the console hangs up), nor PAUSE and RESUME without a
//! database.

use std::collections::BTreeMap;
use std::time::Duration;

use super::postgres::{self, PostgresError, Row, Session};
use super::remote::{RemoteError, RemoteHost};
use crate::conninfo::Conninfo;
use crate::core::pooler::{Capability, ClientState, EntryState, ServerState, Version};

mod rows;
#[cfg(test)]
mod tests;

mod connections;

/// A login on a healthy PgBouncer takes 2 ms; SCRAM some more.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Everything but PAUSE answers at once; PgBouncer is one thread, and may be busy.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// To RESUME of a database.
const NOT_PAUSED: &str = "is not paused";
/// To KILL_CLIENT.
const NO_CLIENT: &str = "client not found";

/// Why a console was not reached, or what it said.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// No login. `Display` has no password.
    #[error("log in to the admin console at {place}: {reason}")]
    Login {
        /// Host and port, or socket.
        place: String,
        /// What happened.
        reason: String,
    },
    /// Too old, or not a PgBouncer at all.
    #[error("{place} reports version `{version}`; repoint needs PgBouncer 1.12 or later")]
    Version {
        /// Host and port, or socket.
        place: String,
        /// As reported at login.
        version: String,
    },
    /// The way to the socket on the host failed.
    #[error("reach the console's socket on its host")]
    Socket(#[source] RemoteError),
    /// A command was answered with an error.
    #[error("`{command}`: {message}")]
    Answered {
        /// What was sent.
        command: String,
        /// PgBouncer's words.
        message: String,
    },
    /// The connection broke, or no answer came: it may have been done or not.
    #[error("`{command}`: {reason}")]
    Lost {
        /// What was sent.
        command: String,
        /// What happened.
        reason: String,
    },
}

/// One process's console, logged in.
#[derive(Debug)]
pub struct Console {
    conninfo: Conninfo,
    socket: Option<std::path::PathBuf>,
    place: String,
    session: Session,
    /// What the process reported at login.
    pub version: Version,
}

impl Console {
    /// Logs in. A host that begins with `/` is a socket directory where the PgBouncer runs.
    ///
    /// # Errors
    /// [`ConsoleError::Login`], [`ConsoleError::Version`], [`ConsoleError::Socket`].
    pub async fn open(conninfo: &Conninfo, host: &RemoteHost) -> Result<Self, ConsoleError> {
        let place = place(conninfo);
        let socket = match socket_path(conninfo) {
            Some(path) => Some(host.socket(&path).await.map_err(ConsoleError::Socket)?),
            None => None,
        };
        let session =
            log_in(conninfo, socket.as_deref())
                .await
                .map_err(|error| ConsoleError::Login {
                    place: place.clone(),
                    reason: error.to_string(),
                })?;
        let version = supported(&session.server_version).ok_or_else(|| ConsoleError::Version {
            place: place.clone(),
            version: session.server_version.clone(),
        })?;
        Ok(Self {
            conninfo: conninfo.clone(),
            socket,
            place,
            session,
            version,
        })
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Sends one command and gives its rows.
    ///
    /// # Errors
    /// [`ConsoleError::Answered`], [`ConsoleError::Lost`].
    pub async fn command(&self, command: &str) -> Result<Vec<Row>, ConsoleError> {
        send(&self.session, command, COMMAND_TIMEOUT).await
    }

    /// All entries that the process has now.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn databases(&self) -> Result<BTreeMap<String, EntryState>, ConsoleError> {
        Ok(rows::databases(self.command("SHOW DATABASES").await?))
    }

    /// The settings in force that a SET or a RELOAD changes.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn settings(&self) -> Result<BTreeMap<String, String>, ConsoleError> {
        Ok(rows::settings(self.command("SHOW CONFIG").await?))
    }

    /// One value of SHOW CONFIG.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn setting(&self, key: &str) -> Result<Option<String>, ConsoleError> {
        Ok(rows::setting(self.command("SHOW CONFIG").await?, key))
    }

    /// The connections that the process has to servers.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn servers(&self) -> Result<Vec<ServerState>, ConsoleError> {
        Ok(rows::servers(self.command("SHOW SERVERS").await?))
    }

    /// The clients of the process, this console among them.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn clients(&self) -> Result<Vec<ClientState>, ConsoleError> {
        Ok(rows::clients(self.command("SHOW CLIENTS").await?))
    }

    /// `KILL_CLIENT id`; `false`: it was gone already.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn kill_client(&self, id: u64) -> Result<bool, ConsoleError> {
        match self.command(&kill_client_command(id)).await {
            Ok(_) => Ok(true),
            Err(ConsoleError::Answered { message, .. }) if message == NO_CLIENT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets `values` again, each only where the value that `ours` names is still in force: what
    /// somebody has SET since is not ours to undo.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn set_again(
        &self,
        values: &BTreeMap<String, String>,
        ours: &[(&str, &str)],
    ) -> Result<(), ConsoleError> {
        if values.is_empty() {
            return Ok(());
        }
        let in_force = self.settings().await?;
        for (key, value) in ours {
            let still = in_force.get(*key).is_some_and(|found| found == value);
            if let (true, Some(before)) = (still, values.get(*key)) {
                self.command(&set_command(key, before)).await?;
            }
        }
        Ok(())
    }

    /// Whether somebody has paused the process as a whole; `None` before 1.19, which does not tell.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn paused_as_a_whole(&self) -> Result<Option<bool>, ConsoleError> {
        if !self.version.can(Capability::ShowState) {
            return Ok(None);
        }
        let rows = self.command("SHOW STATE").await?;
        Ok(Some(rows::paused_as_a_whole(&rows)))
    }

    /// Connections that the process has to servers at `host`:`port` for `database`, in a state that
    /// proves a completed login.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn live_servers(
        &self,
        database: &str,
        host: &str,
        port: u16,
    ) -> Result<usize, ConsoleError> {
        let live = |server: &&ServerState| {
            server.database == database
                && server.port == port
                && !server.close_needed
                && (server.addr == host || host.parse::<std::net::IpAddr>().is_err())
                && ["active", "idle", "used", "tested"].contains(&server.state.as_str())
        };
        Ok(self.servers().await?.iter().filter(live).count())
    }

    /// Clients that wait for a server connection of `database`.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn waiting_clients(&self, database: &str) -> Result<u64, ConsoleError> {
        let rows = self.command("SHOW POOLS").await?;
        Ok(rows::waiting_clients(&rows, database))
    }

    /// `PAUSE database`, on a connection of its own, which is given up after `limit`: a PAUSE has
    /// no time-out and no clean cancel. `Ok(false)`: no answer yet; the database is paused all the
    /// same.
    ///
    /// # Errors
    /// [`ConsoleError::Answered`], [`ConsoleError::Login`].
    pub async fn pause(&self, database: &str, limit: Duration) -> Result<bool, ConsoleError> {
        let session = log_in(&self.conninfo, self.socket.as_deref())
            .await
            .map_err(|error| ConsoleError::Login {
                place: self.place.clone(),
                reason: error.to_string(),
            })?;
        match send(&session, &pause_command(database), limit).await {
            Ok(_) => Ok(true),
            Err(ConsoleError::Lost { .. }) if !session.is_closed() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `RESUME database`; that it was not paused is no error.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn resume(&self, database: &str) -> Result<(), ConsoleError> {
        match self.command(&resume_command(database)).await {
            Ok(_) => Ok(()),
            Err(ConsoleError::Answered { message, .. }) if message.contains(NOT_PAUSED) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `ENABLE database`; one that PgBouncer does not have needs none.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn enable(&self, database: &str) -> Result<(), ConsoleError> {
        match self.command(&enable_command(database)).await {
            Ok(_) => Ok(()),
            Err(ConsoleError::Answered { message, .. }) if message.contains("no such database") => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A query through this process, as a client of `database`: which node does it land on?
    ///
    /// # Errors
    /// What the client would have seen.
    pub async fn identity_through(
        &self,
        database: &str,
        user: &str,
        limit: Duration,
    ) -> Result<String, PostgresError> {
        // The console's own password is another user's.
        let conninfo = self.conninfo.clone().without("password");
        let conninfo = conninfo.with("user", user).with("dbname", database);
        let ask = async {
            let session = match &self.socket {
                Some(socket) => postgres::connect_unix(&conninfo, socket, limit).await?,
                None => postgres::connect(&conninfo, limit).await?,
            };
            postgres::identity(&session, limit).await
        };
        tokio::time::timeout(limit, ask)
            .await
            .unwrap_or(Err(PostgresError::Silent(limit)))
    }
}

/// `PAUSE "database"`.
#[must_use]
pub fn pause_command(database: &str) -> String {
    format!("PAUSE {}", quote_name(database))
}

/// `RESUME "database"`.
#[must_use]
pub fn resume_command(database: &str) -> String {
    format!("RESUME {}", quote_name(database))
}

/// `KILL "database"`: drops every client of the entry, closes its connections and pauses it.
#[must_use]
pub fn kill_command(database: &str) -> String {
    format!("KILL {}", quote_name(database))
}

/// `KILL_CLIENT id`.
#[must_use]
pub fn kill_client_command(id: u64) -> String {
    format!("KILL_CLIENT {id}")
}

/// `DISABLE "database"`.
#[must_use]
pub fn disable_command(database: &str) -> String {
    format!("DISABLE {}", quote_name(database))
}

/// `ENABLE "database"`.
#[must_use]
pub fn enable_command(database: &str) -> String {
    format!("ENABLE {}", quote_name(database))
}

/// `SET key='value'`: unquoted, a value with a point is an invalid command.
#[must_use]
pub fn set_command(key: &str, value: &str) -> String {
    format!("SET {key}='{}'", value.replace('\'', "''"))
}

/// The version that is reported at login, if it is one that can be steered.
fn supported(reported: &str) -> Option<Version> {
    Version::parse(reported).filter(|version| version.can(Capability::BeSteered))
}

fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn log_in(
    conninfo: &Conninfo,
    socket: Option<&std::path::Path>,
) -> Result<Session, PostgresError> {
    let limit = conninfo
        .connect_timeout()
        .ok()
        .flatten()
        .unwrap_or(LOGIN_TIMEOUT);
    match socket {
        Some(path) => postgres::connect_unix(conninfo, path, limit).await,
        None => postgres::connect(conninfo, limit).await,
    }
}

async fn send(session: &Session, command: &str, limit: Duration) -> Result<Vec<Row>, ConsoleError> {
    session
        .simple(command, limit)
        .await
        .map_err(|error| match error {
            // SQLSTATE says nothing here, it is 08P01 for everything (and F0000 for RELOAD from
            // 1.25).
            PostgresError::Answered { message, .. } => ConsoleError::Answered {
                command: command.to_owned(),
                message,
            },
            PostgresError::Refused(_)
            | PostgresError::Unreachable(_)
            | PostgresError::Foreign(_)
            | PostgresError::Silent(_)
            | PostgresError::Unusable(_) => ConsoleError::Lost {
                command: command.to_owned(),
                reason: error.to_string(),
            },
        })
}

fn socket_path(conninfo: &Conninfo) -> Option<std::path::PathBuf> {
    let directory = conninfo.get("host").filter(|host| host.starts_with('/'))?;
    let port = conninfo.get("port").unwrap_or_default();
    Some(std::path::Path::new(directory).join(format!(".s.PGSQL.{port}")))
}

fn place(conninfo: &Conninfo) -> String {
    let host = conninfo
        .get("host")
        .or_else(|| conninfo.get("hostaddr"))
        .unwrap_or("localhost");
    format!("`{host}`:{}", conninfo.get("port").unwrap_or_default())
}
