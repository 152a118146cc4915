//! The open ways to one PgBouncer: its host, and the console of each of its processes.

use std::path::Path;

use crate::config::PgBouncer;
use crate::core::debt::Debt;
use crate::core::pooler::{FileState, Observation, Operation, ProcessState};
use crate::core::worker::HASTY;
use crate::edge::admin_console::{Console, ConsoleError, set_command};
use crate::edge::chain;
use crate::edge::remote::{Inspection, RemoteError, RemoteHost};
use crate::generation::Generation;
use crate::render::header;

/// `server_login_retry`: how long PgBouncer leaves a server alone that refused a login.
pub(crate) const LOGIN_RETRY: &str = "server_login_retry";

/// Why a PgBouncer is not reached.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Its host.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A console.
    #[error(transparent)]
    Console(#[from] ConsoleError),
}

impl LinkError {
    /// The error and its causes, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        chain(self)
    }
}

/// The open ways.
#[derive(Debug)]
pub struct Links {
    /// The host.
    pub host: RemoteHost,
    /// One console for each process.
    pub consoles: Vec<Console>,
}

impl Links {
    /// Opens all of them.
    ///
    /// # Errors
    /// The first that does not open.
    pub async fn open(pgbouncer: &PgBouncer, sockets: &Path) -> Result<Self, LinkError> {
        let host = RemoteHost::open(&pgbouncer.host, &pgbouncer.file, sockets).await?;
        let mut consoles = Vec::new();
        for conninfo in &pgbouncer.consoles {
            consoles.push(Console::open(conninfo, &host).await?);
        }
        Ok(Self { host, consoles })
    }

    /// What every process says.
    ///
    /// # Errors
    /// The first console that does not answer.
    pub async fn processes(&self) -> Result<Vec<ProcessState>, LinkError> {
        let mut processes = Vec::new();
        for console in &self.consoles {
            let entries = console.databases().await?;
            let server_login_retry = console.setting(LOGIN_RETRY).await?.unwrap_or_default();
            processes.push(ProcessState {
                entries,
                server_login_retry,
            });
        }
        Ok(processes)
    }

    /// Looks at the consoles, and at the file when there is no earlier look to take it from.
    ///
    /// # Errors
    /// What does not answer.
    pub async fn look(&self, earlier: Option<FileState>) -> Result<Observation, LinkError> {
        let processes = self.processes().await?;
        let file = match earlier {
            // The session may have died unnoticed; better known now than in an emergency.
            Some(file) if self.host.alive().await => file,
            Some(_) | None => file_state(&self.host.inspect().await?),
        };
        Ok(Observation { processes, file })
    }

    /// Sets `server_login_retry` to `value` where a redirect's value still holds.
    ///
    /// # Errors
    /// The first console that does not do it.
    pub async fn set_login_retry(&self, value: &str) -> Result<(), LinkError> {
        for console in &self.consoles {
            if console.setting(LOGIN_RETRY).await?.as_deref() == Some(HASTY) {
                console.command(&set_command(LOGIN_RETRY, value)).await?;
            }
        }
        Ok(())
    }

    /// Pays what an operation owes whose owner is gone, and forgets it.
    ///
    /// # Errors
    /// What could not be paid; the record stays.
    pub async fn pay(&self, token: &str, debt: &Debt) -> Result<(), LinkError> {
        for database in &debt.paused {
            for console in &self.consoles {
                let paused = console
                    .databases()
                    .await?
                    .get(database)
                    .is_some_and(|e| e.paused);
                if paused {
                    console.resume(database).await?;
                }
            }
        }
        if let Some(value) = &debt.server_login_retry {
            self.set_login_retry(value).await?;
        }
        Ok(self.host.settle(token).await?)
    }
}

/// What an inspection says of the managed file.
#[must_use]
pub fn file_state(inspection: &Inspection) -> FileState {
    let header = inspection.content.as_deref().and_then(header::read);
    let operation = inspection.operation.as_ref().map(|record| Operation {
        token: record.token.clone(),
        expired: record.expired,
        // A record that cannot be read owes nothing that could be paid; it is cleared when it is
        // old.
        debt: serde_json::from_str(&record.debt).unwrap_or_default(),
    });
    FileState {
        generation: header
            .as_ref()
            .map_or(Generation::NONE, |(header, _)| header.generation),
        active: header.as_ref().map(|(header, _)| header.active),
        hash: inspection.hash.clone(),
        untouched: header.map(|(_, untouched)| untouched),
        operation,
    }
}
