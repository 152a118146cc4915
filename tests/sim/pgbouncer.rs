//! A stand-in for one PgBouncer with one entry, `app`: what it has loaded, and what was done to it
//! at its console.

use std::collections::BTreeMap;
use std::time::Duration;

use repoint::config::{NodeId, file};
use repoint::core::debt::Settings;
use repoint::core::pooler::{EntryState, LOGIN_RETRY, ProcessState};
use repoint::core::routing::Routing;
use repoint::core::worker::HASTY;

pub(crate) const ENTRY: &str = "app";
/// A setting that operators SET.
pub(crate) const OPERATORS: &str = "query_timeout";
/// What it is in the file.
const OF_FILE: &str = "0";
/// Before a RELOAD.
const NEAR: Duration = Duration::from_secs(10);
const LOGIN_RETRY_OF_FILE: &str = "15";

pub(crate) struct PgBouncer {
    pub(crate) loaded: NodeId,
    /// Since when clients wait, and whether by an operator's command.
    pub(crate) paused: Option<(Duration, bool)>,
    pub(crate) login_retry: String,
    pub(crate) operators: String,
    /// What an operator has SET since PgBouncer was started; `None`: so near to a RELOAD that
    /// nobody can tell which came first.
    pub(crate) wished: Option<String>,
    set_at: Option<Duration>,
    /// It will not like the next file, whatever is in it.
    pub(crate) rejects: bool,
    /// Counts its lives.
    pub(crate) life: u64,
}

impl PgBouncer {
    pub(crate) fn new(loaded: NodeId, life: u64) -> Self {
        Self {
            life,
            loaded,
            paused: None,
            login_retry: LOGIN_RETRY_OF_FILE.to_owned(),
            operators: OF_FILE.to_owned(),
            wished: Some(OF_FILE.to_owned()),
            set_at: None,
            rejects: false,
        }
    }

    pub(crate) fn set_by_operator(&mut self, now: Duration) {
        "77".clone_into(&mut self.operators);
        self.set_at = Some(now);
        let over = self.login_retry != HASTY;
        self.wished = over.then(|| self.operators.clone());
    }

    pub(crate) fn reload(&mut self, active: NodeId, now: Duration) {
        if self.set_at.is_some_and(|at| now < at + NEAR) {
            self.wished = None;
        }
        self.operators = OF_FILE.to_owned();
        self.login_retry = HASTY.to_owned();
        if !std::mem::take(&mut self.rejects) {
            self.loaded = active;
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        match key {
            LOGIN_RETRY => value.clone_into(&mut self.login_retry),
            _ => value.clone_into(&mut self.operators),
        }
    }

    /// Whether nothing of a redirect is left behind.
    pub(crate) fn is_as_found(&self) -> bool {
        let wished = self.wished.as_ref();
        let kept = wished.is_none_or(|wished| *wished == self.operators);
        self.login_retry == LOGIN_RETRY_OF_FILE && kept
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::from([
            (LOGIN_RETRY.to_owned(), self.login_retry.clone()),
            (OPERATORS.to_owned(), self.operators.clone()),
        ])
    }

    pub(crate) fn state(&self) -> ProcessState {
        let entry = EntryState {
            host: host(self.loaded),
            port: 5432,
            dbname: ENTRY.to_owned(),
            force_user: None,
            paused: self.paused.is_some(),
            disabled: false,
        };
        ProcessState {
            entries: BTreeMap::from([(ENTRY.to_owned(), entry)]),
            settings: self.settings(),
        }
    }
}

pub(crate) fn host(node: NodeId) -> String {
    format!("10.0.0.1{node}")
}

/// The entry on both nodes.
pub(crate) fn routing() -> Routing {
    let text = r#"
        node_id = 1
        [[node]]
        node_id = 1
        node_name = "node1"
        conninfo = "host=10.0.0.11 dbname=app user=repmgr"
        [[node]]
        node_id = 2
        node_name = "node2"
        conninfo = "host=10.0.0.12 dbname=app user=repmgr"
        [[pgbouncer]]
        name = "pgb"
        local = true
        console = "host=10.0.0.21 user=admin"
        file = "/etc/pgbouncer/databases.ini"
        [[pgbouncer.database]]
        name = "app"
    "#;
    let config = file::parse(std::path::Path::new("repoint.toml"), text).expect("it is complete");
    Routing::new(&config.pgbouncers["pgb"], &config.nodes).expect("both can be translated")
}
