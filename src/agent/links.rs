//! The open ways to one PgBouncer: its host, and the console of each of its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all, try_join, try_join_all};

use crate::config::{Host, PausePolicy, PgBouncer};
use crate::conninfo::Conninfo;
use crate::core::debt::{Debt, Settings};
use crate::core::pooler::{
    Capability, Content, FileState, LOGIN_RETRY, Observation, Operation, ProcessState,
};
use crate::core::sequence::{Lost, Owed, is_hasty, lost};
use crate::core::worker::{Depth, HASTY};
use crate::edge::admin_console::{Console, ConsoleError, set_command};
use crate::edge::chain;
use crate::edge::remote::{Inspection, Place, RemoteError, RemoteHost, Site, Switch, Turns};
use crate::generation::Generation;
use crate::render::{header, ini};

/// PgBouncer's default for the port of an entry.
const PORT: u16 = 5432;

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
    /// What ends a pause when this agent is gone; only looked for where there are pauses.
    pub switch: Switch,
}

impl Links {
    /// Opens all of them, the session when it is its turn on the host.
    ///
    /// # Errors
    /// The first that does not open.
    pub async fn open(
        pgbouncer: &PgBouncer,
        sockets: &Path,
        turns: &Turns,
    ) -> Result<Self, LinkError> {
        let host = RemoteHost::open(&Site::of_pgbouncer(pgbouncer), sockets, turns).await?;
        let consoles = match open_consoles(pgbouncer, &host).await {
            Ok(consoles) => consoles,
            Err(error) => {
                host.close().await;
                return Err(error.into());
            }
        };
        let mut links = Self {
            host,
            consoles,
            switch: Switch::default(),
        };
        if links.may_pause(pgbouncer)
            && let Err(error) = links.look_for_switch(pgbouncer).await
        {
            links.host.close().await;
            return Err(error);
        }
        Ok(links)
    }

    /// Whether a redirect after a failure, or what comes before it, may ever pause clients.
    #[must_use]
    pub fn may_pause(&self, pgbouncer: &PgBouncer) -> bool {
        // KILL pauses too.
        let kills = |console: &Console| !console.version.can(Capability::KillClient);
        pgbouncer.pause == PausePolicy::Always
            || pgbouncer.early_pause.is_some()
            || self.consoles.iter().any(kills)
    }

    /// Looks for what ends a pause when this agent is gone, unless it is known. On this machine
    /// there is nothing: as a process of the same service, it would end together with the agent.
    ///
    /// # Errors
    /// What does not answer; that there is none is no error.
    pub async fn look_for_switch(&mut self, pgbouncer: &PgBouncer) -> Result<(), LinkError> {
        if !self.switch.is_there() && pgbouncer.host != Host::Local {
            self.switch = self.find_switch(&pgbouncer.consoles).await?;
        }
        Ok(())
    }

    async fn find_switch(&self, conninfos: &[Conninfo]) -> Result<Switch, LinkError> {
        let mut processes = Vec::new();
        for console in &self.consoles {
            let setting = async |key| console.setting(key).await.map(Option::unwrap_or_default);
            processes.push((
                setting("listen_port").await?,
                setting("unix_socket_dir").await?,
            ));
        }
        let place = |(conninfo, (port, directory))| Place {
            conninfo,
            listen_port: port,
            unix_socket_dir: directory,
        };
        let processes = processes
            .iter()
            .map(|(port, directory)| (port.as_str(), directory.as_str()));
        let places: Vec<Place<'_>> = conninfos.iter().zip(processes).map(place).collect();
        match self.host.can_undo(&places).await {
            Ok(switch) => Ok(switch),
            Err(error @ RemoteError::Lost { .. }) => Err(error.into()),
            // Whatever the host says to it, it is no reason not to serve this PgBouncer.
            Err(error) => {
                tracing::debug!(error = chain(&error), "no dead-man's switch");
                Ok(Switch::default())
            }
        }
    }

    /// Looks as closely as `depth` says, and takes the rest from the look before it.
    ///
    /// # Errors
    /// What does not answer.
    pub async fn look(
        &self,
        depth: Depth,
        earlier: Option<&Observation>,
    ) -> Result<Observation, LinkError> {
        match (depth, earlier) {
            (Depth::Entries, Some(earlier)) => {
                let processes = self.processes(&earlier.processes);
                let (processes, alive) = join(processes, self.host.alive()).await;
                let processes = processes?;
                // The session may have died unnoticed; better known now than in an emergency.
                let file = match alive {
                    true => earlier.file.clone(),
                    false => file_state(&self.host.inspect().await?),
                };
                Ok(Observation { processes, file })
            }
            // What follows goes through the session, and finds out by itself.
            (Depth::Settings, Some(earlier)) => {
                let (processes, file) = (self.processes(&[]).await?, earlier.file.clone());
                Ok(Observation { processes, file })
            }
            (Depth::All, _) | (_, None) => {
                let processes = self.processes(&[]).await?;
                let file = file_state(&self.host.inspect().await?);
                Ok(Observation { processes, file })
            }
        }
    }

    /// What every process says; the settings are taken from `known` where it has them.
    ///
    /// # Errors
    /// The first console that does not answer.
    pub async fn processes(&self, known: &[ProcessState]) -> Result<Vec<ProcessState>, LinkError> {
        let consoles = self.consoles.iter().enumerate();
        let processes = consoles.map(|(index, console)| process(console, known.get(index)));
        try_join_all(processes).await
    }

    /// The settings of every process that a SET or a RELOAD changes, in force now.
    ///
    /// # Errors
    /// The first console that does not answer.
    pub async fn settings(&self) -> Result<Vec<Settings>, ConsoleError> {
        try_join_all(self.consoles.iter().map(Console::settings)).await
    }

    /// Pays what an operation owes whose owner is gone, and forgets it. Gives what is told of it.
    ///
    /// # Errors
    /// What could not be paid; the record stays.
    pub async fn pay(&self, token: &str, debt: &Debt) -> Result<Vec<String>, LinkError> {
        let notes = self.undo(debt).await?;
        self.host.settle(token).await?;
        Ok(notes)
    }

    /// Pays what is owed, and leaves the record as it is. Gives what is told of it. A process that
    /// is gone does not keep the others from it.
    ///
    /// # Errors
    /// What could not be paid; the first of several.
    pub async fn undo(&self, debt: &Debt) -> Result<Vec<String>, ConsoleError> {
        let consoles = self.consoles.iter().enumerate();
        let undone = consoles.map(|(index, console)| undo_at(console, index, debt));
        let notes: Result<Vec<_>, _> = join_all(undone).await.into_iter().collect();
        Ok(notes?.concat())
    }

    /// Ends pauses on every process that answers.
    ///
    /// # Errors
    /// The first that does not.
    pub async fn resume(&self, databases: &BTreeSet<String>) -> Result<(), ConsoleError> {
        let resumed = self.consoles.iter().map(|console| async move {
            for database in databases {
                console.resume(database).await?;
            }
            Ok(())
        });
        join_all(resumed).await.into_iter().collect()
    }

    /// Has every process that answers try its nodes again soon.
    ///
    /// # Errors
    /// The first that does not.
    pub async fn hasten(&self) -> Result<(), ConsoleError> {
        let hasten = set_command(LOGIN_RETRY, HASTY);
        let hastened = self.consoles.iter().map(|console| console.command(&hasten));
        let results: Result<Vec<_>, _> = join_all(hastened).await.into_iter().collect();
        results.map(drop)
    }

    /// Sets again what our own operation owes, where nobody has set it since; unless another one is
    /// on record in its place, which owes it from then on.
    ///
    /// # Errors
    /// What could not be paid; the record stays.
    pub async fn pay_own(&self, owed: &Owed) -> Result<(), LinkError> {
        let operation = file_state(&self.host.inspect().await?).operation;
        if operation.is_some_and(|operation| operation.token != owed.token) {
            return Ok(());
        }
        let consoles = self.consoles.iter().zip(&owed.values);
        let paid = consoles.map(|(console, value)| async move {
            if is_hasty(&console.settings().await?) {
                console.command(&set_command(LOGIN_RETRY, value)).await?;
            }
            Ok(())
        });
        let results: Result<(), ConsoleError> = join_all(paid).await.into_iter().collect();
        results?;
        Ok(self.host.settle(&owed.token).await?)
    }
}

async fn undo_at(
    console: &Console,
    index: usize,
    debt: &Debt,
) -> Result<Vec<String>, ConsoleError> {
    for database in &debt.paused {
        let entries = console.databases().await?;
        if entries.get(database).is_some_and(|entry| entry.paused) {
            console.resume(database).await?;
        }
    }
    let found = console.settings().await?;
    // A process without the sign has what it should have, or was started anew since.
    let notes = match is_hasty(&found) {
        true => set_again(console, &lost(&debt.settings_of(index), &found, None)).await?,
        false => Vec::new(),
    };
    for database in &debt.disabled {
        console.enable(database).await?;
    }
    Ok(notes)
}

/// Why there is no switch, where there is none.
#[must_use]
pub fn why_no_switch(pgbouncer: &PgBouncer) -> &'static str {
    match pgbouncer.host {
        Host::Local => "it is this one, where systemd ends whatever a service has started with it",
        Host::Ssh { .. } => "neither perl nor psql gets into the admin console there",
    }
}

async fn open_consoles(
    pgbouncer: &PgBouncer,
    host: &RemoteHost,
) -> Result<Vec<Console>, ConsoleError> {
    let mut consoles = Vec::new();
    for conninfo in &pgbouncer.consoles {
        consoles.push(Console::open(conninfo, host).await?);
    }
    Ok(consoles)
}

/// How long after its due time a debt is still ours alone to pay.
const LEASE_SLACK: Duration = Duration::from_secs(5);

/// Puts on record that this is still owed.
///
/// # Errors
/// As [`RemoteHost::update`].
pub async fn record_owed(host: &RemoteHost, owed: &Owed) -> Result<(), RemoteError> {
    let lease = owed.due.saturating_duration_since(Instant::now()) + LEASE_SLACK;
    let debt = serde_json::to_string(&owed.debt()).expect("a debt holds nothing but text");
    host.update(&owed.token, lease, &debt).await
}

/// Sets again what a RELOAD undid, reads back whether it is in force, and tells of each.
///
/// # Errors
/// No answer.
pub async fn set_again(console: &Console, lost: &[Lost]) -> Result<Vec<String>, ConsoleError> {
    for setting in lost {
        match console
            .command(&set_command(&setting.key, &setting.was))
            .await
        {
            // Refused; what is in force is told below.
            Ok(_) | Err(ConsoleError::Answered { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let found = console.settings().await?;
    let note = |setting: &Lost| match found.get(&setting.key) == Some(&setting.was) {
        true if setting.key == LOGIN_RETRY && setting.is == HASTY => None,
        true => Some(setting.note_again()),
        false => Some(setting.note_lost()),
    };
    Ok(lost.iter().filter_map(note).collect())
}

/// What one process says. Both questions are sent at once: it answers one after the other.
async fn process(
    console: &Console,
    known: Option<&ProcessState>,
) -> Result<ProcessState, LinkError> {
    let settings = async {
        match known {
            Some(process) => Ok(process.settings.clone()),
            None => console.settings().await,
        }
    };
    let (entries, settings) = try_join(console.databases(), settings).await?;
    Ok(ProcessState { entries, settings })
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
        content: inspection
            .content
            .as_deref()
            .map(|bytes| Content(bytes.into())),
        entries: entries(inspection.content.as_deref().unwrap_or_default()),
        operation,
    }
}

/// Where the entries of a file point.
fn entries(file: &[u8]) -> Option<BTreeMap<String, (String, u16)>> {
    let ini = ini::parse(std::str::from_utf8(file).ok()?).ok()?;
    let place = |(name, entry): (&&str, &&ini::Entry)| {
        let host = entry.get("host").unwrap_or_default().to_owned();
        let port = entry
            .get("port")
            .map_or(Some(PORT), |port| port.parse().ok())?;
        Some(((*name).to_owned(), (host, port)))
    };
    ini.databases().iter().map(place).collect()
}
