//! The steps on a PgBouncer's host, one by one, as an agent has them done.

use std::time::Duration;

use repoint::config::{NodeId, PgBouncer};
use repoint::edge::remote::{Activation, Inspection, RemoteError, RemoteHost, Site, Switch, Turns};
use repoint::generation::Generation;
use repoint::render::header;
use tokio::runtime::Runtime;

use crate::fixture::Host;

pub(crate) const TOKEN: &str = "1-2-3-4";
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// An open host, and the thread that waits for its answers.
pub(crate) struct Verbs {
    pub(crate) runtime: Runtime,
    pub(crate) open: RemoteHost,
    /// None: nothing here pauses.
    switch: Switch,
}

/// A file to be put in place.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) generation: Generation,
    pub(crate) content: Vec<u8>,
    pub(crate) hash: String,
}

impl File {
    /// Of decision `number`, with something behind the entry.
    pub(crate) fn new(number: u64, more: &str) -> Self {
        let node_id = NodeId(1);
        let generation = Generation { number, node_id };
        let body = format!("[databases]\napp = host='127.0.0.1' port='{number}'\n{more}");
        let content = header::with_header(generation, node_id, node_id, &body);
        Self {
            generation,
            hash: header::hash(&content),
            content,
        }
    }
}

impl Verbs {
    pub(crate) fn open(host: &Host, lines: &str) -> Self {
        Self::try_open(host, &host.pgbouncer(lines))
            .unwrap_or_else(|error| panic!("{error}\n{}", host.sshd().log()))
    }

    pub(crate) fn try_open(host: &Host, pgbouncer: &PgBouncer) -> Result<Self, RemoteError> {
        let sockets = host.home().path("s");
        host.home().create_directory(&sockets);
        let runtime = runtime();
        let open = runtime.block_on(RemoteHost::open(
            &Site::of_pgbouncer(pgbouncer),
            &sockets,
            &Turns::default(),
        ))?;
        Ok(Self {
            runtime,
            open,
            switch: Switch::default(),
        })
    }

    pub(crate) fn alive(&self) -> bool {
        self.runtime.block_on(self.open.alive())
    }

    pub(crate) fn inspect(&self) -> Inspection {
        self.try_inspect().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_inspect(&self) -> Result<Inspection, RemoteError> {
        self.runtime.block_on(self.open.inspect())
    }

    pub(crate) fn stage(&self, file: &File) -> Result<(), RemoteError> {
        let stage = self.open.stage(NodeId(1), &file.content, &file.hash, &[]);
        self.runtime.block_on(stage)
    }

    pub(crate) fn record(&self, debt: &str) -> Result<(), RemoteError> {
        let record = self.open.record(None, TOKEN, LEASE, debt, &self.switch);
        self.runtime.block_on(record)
    }

    /// In place of the file that hashes to `hash_read`.
    pub(crate) fn activate(&self, file: &File, hash_read: &str) -> Result<(), RemoteError> {
        self.activate_for(None, file, hash_read)
    }

    /// If the ledger of the host has accepted its decision.
    pub(crate) fn activate_by_ledger(
        &self,
        file: &File,
        hash_read: &str,
    ) -> Result<(), RemoteError> {
        self.activate_as(true, None, file, hash_read)
    }

    /// The same, where the operation `replaces` was on record.
    pub(crate) fn activate_for(
        &self,
        replaces: Option<&str>,
        file: &File,
        hash_read: &str,
    ) -> Result<(), RemoteError> {
        self.activate_as(false, replaces, file, hash_read)
    }

    fn activate_as(
        &self,
        by_ledger: bool,
        replaces: Option<&str>,
        file: &File,
        hash_read: &str,
    ) -> Result<(), RemoteError> {
        let activation = Activation {
            token: TOKEN,
            writer: NodeId(1),
            generation: file.generation,
            hash_read,
            hash: &file.hash,
            lease: LEASE,
            debt: "{}",
            replaces,
            by_ledger,
            switch: &self.switch,
        };
        self.runtime.block_on(self.open.activate(&activation))
    }

    /// All that exchanges a file.
    pub(crate) fn exchange(&self, file: &File) -> Result<(), RemoteError> {
        let before = self.inspect().hash;
        self.stage(file)?;
        self.activate(file, &before)?;
        self.settle()
    }

    pub(crate) fn rollback(&self, file: &File) -> Result<(), RemoteError> {
        let rollback = self.open.rollback(TOKEN, file.generation, &file.hash);
        self.runtime.block_on(rollback)
    }

    pub(crate) fn update(&self) -> Result<(), RemoteError> {
        self.runtime.block_on(self.open.update(TOKEN, LEASE, "{}"))
    }

    pub(crate) fn settle(&self) -> Result<(), RemoteError> {
        self.runtime.block_on(self.open.settle(TOKEN))
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
