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
use crate::core::pooler::{EntryState, Version};

/// A login on a healthy PgBouncer takes 2 ms; SCRAM some more.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Everything but PAUSE answers at once; PgBouncer is one thread, and may be busy.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// `SHOW VERSION` as a row, and `so_reuseport`, came with it.
const OLDEST: Version = Version(1, 12, 0);

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
        let version = Version::parse(&session.server_version).filter(|found| *found >= OLDEST);
        let version = version.ok_or_else(|| ConsoleError::Version {
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
        let rows = self.command("SHOW DATABASES").await?;
        Ok(rows.into_iter().filter_map(entry).collect())
    }

    /// One value of SHOW CONFIG.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn setting(&self, key: &str) -> Result<Option<String>, ConsoleError> {
        let rows = self.command("SHOW CONFIG").await?;
        let found = rows
            .into_iter()
            .find(|row| row.get("key").is_some_and(|k| k == key));
        Ok(found.and_then(|mut row| row.remove("value")))
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
        let rows = self.command("SHOW SERVERS").await?;
        let port = port.to_string();
        let is = |row: &Row, key: &str, value: &str| row.get(key).is_some_and(|v| v == value);
        let live = |row: &&Row| {
            is(row, "database", database)
                && is(row, "port", &port)
                && !is(row, "close_needed", "1")
                && (is(row, "addr", host) || host.parse::<std::net::IpAddr>().is_err())
                && row.get("state").is_some_and(|state| {
                    ["active", "idle", "used", "tested"].contains(&state.as_str())
                })
        };
        Ok(rows.iter().filter(live).count())
    }

    /// Clients that wait for a server connection of `database`.
    ///
    /// # Errors
    /// As [`Console::command`].
    pub async fn waiting_clients(&self, database: &str) -> Result<u64, ConsoleError> {
        let rows = self.command("SHOW POOLS").await?;
        let of_database = rows
            .iter()
            .filter(|row| row.get("database").is_some_and(|d| d == database));
        Ok(of_database
            .filter_map(|row| row.get("cl_waiting")?.parse::<u64>().ok())
            .sum())
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
            Err(ConsoleError::Answered { message, .. }) if message.contains("is not paused") => {
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

/// `SET key='value'`: unquoted, a value with a point is an invalid command.
#[must_use]
pub fn set_command(key: &str, value: &str) -> String {
    format!("SET {key}='{}'", value.replace('\'', "''"))
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

fn entry(mut row: Row) -> Option<(String, EntryState)> {
    let name = row.remove("name")?;
    let flag = |row: &Row, key: &str| row.get(key).is_some_and(|value| value != "0");
    let state = EntryState {
        paused: flag(&row, "paused"),
        disabled: flag(&row, "disabled"),
        host: row.remove("host").unwrap_or_default(),
        port: row
            .remove("port")
            .and_then(|port| port.parse().ok())
            .unwrap_or_default(),
        dbname: row.remove("database").unwrap_or_default(),
        force_user: row.remove("force_user"),
    };
    Some((name, state))
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
