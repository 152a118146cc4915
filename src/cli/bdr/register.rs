//! `bdr register`: looks at everything first, then makes the tables, has them replicate, and writes
//! the node's row. Whatever is right already stays untouched.

use super::announce::{Happening, announce};
use super::peer::{self, Peer};
use super::{adapter, checks, one_line, query_failed};
use crate::cli::connection::{Connection, Target};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::say::Voice;
use crate::cluster_db::node_records::{self, NodeRecord};
use crate::cluster_db::registration::{self, CHANGE_LIMIT, OwnRecord};
use crate::cluster_db::replication::{self, Adapter, Change};
use crate::cluster_db::schema::{self, Tables};
use crate::config::Config;
use crate::core::event::EventKind;
use crate::edge::postgres::{PostgresError, Session};

pub(super) const EXAMPLE: &str = "Example, on each node:
  repoint -f /etc/repoint/repoint.toml bdr register

Exit status: 0 registered; 1 not possible as things are; 6 no connection; 7 a query failed.";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Write the record of a node that is registered already again.
    #[arg(short = 'F', long)]
    force: bool,
    /// Look at everything and say what would be done; change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    pub(super) voice: Voice,
}

/// Everything that was looked at, before anything is changed.
struct Registration {
    config: Config,
    own: OwnRecord,
    session: Session,
    adapter: &'static dyn Adapter,
    peer: Option<Peer>,
    tables: Tables,
    records: Vec<NodeRecord>,
    voice: Voice,
}

pub(super) async fn run(target: Target, arguments: &Arguments) -> Result<Exit, Failure> {
    let registration = look(&target, arguments).await?;
    match arguments.dry_run {
        true => registration.describe().await?,
        false => registration.carry_out().await?,
    }
    Ok(Exit::Success)
}

async fn look(target: &Target, arguments: &Arguments) -> Result<Registration, Failure> {
    let config = target.config.clone().ok_or_else(|| {
        Failure::new(
            Exit::BadConfig,
            "\"bdr register\" needs this node's id, name and conninfo",
        )
        .hint("name the configuration that has them with -f")
    })?;
    let own = own_record(&config);
    let session = target.connect().await?;
    let failed = query_failed("set up the session");
    registration::begin(&session).await.map_err(failed)?;
    let adapter = adapter(
        &session,
        &target.conninfo,
        config.replication,
        "bdr register",
    )
    .await?;
    let members = replication::members(&session, adapter).await;
    let members = members.map_err(query_failed("read the nodes of the replication"))?;
    checks::members(adapter, &members)?;
    checks::name(&session, adapter, &own).await?;
    checks::conninfo(&session, target, &config).await?;
    let peer = Peer::of(&config, &members, &own.node_name).await;
    let tables = schema::look(&session).await;
    let tables = tables.map_err(query_failed("look for repmgr's tables"))?;
    let records = checks::records(&session, tables, peer.as_ref()).await?;
    checks::registered(&records, &own, arguments.force)?;
    Ok(Registration {
        config,
        own,
        session,
        adapter,
        peer,
        tables,
        records,
        voice: arguments.voice,
    })
}

fn own_record(config: &Config) -> OwnRecord {
    let node = config.local();
    OwnRecord {
        node_id: node.node_id,
        node_name: node.node_name.clone(),
        conninfo: node.conninfo.original().to_owned(),
        location: config.record.location.clone(),
        priority: config.record.priority,
    }
}

impl Registration {
    fn is_registered(&self) -> bool {
        let own = |record: &NodeRecord| record.node_id == self.own.node_id;
        self.records.iter().any(own)
    }

    /// Where a new table's rows are sent at once, the peer needs the tables before the first row.
    async fn peer_lacks_tables(&self) -> Result<Option<(&Peer, &Session)>, Failure> {
        let Some(peer) = self.peer.as_ref() else {
            return Ok(None);
        };
        if !self.adapter.sends_new_tables() {
            return Ok(None);
        }
        let session = match &peer.session {
            Ok(session) => session,
            Err(_) if self.tables == Tables::There => return Ok(None),
            Err(why) => {
                return Err(Failure::new(
                    Exit::DbConn,
                    format!("unable to connect to node \"{}\"", peer.node_name),
                )
                .detail(why)
                .hint("it needs repmgr's tables too, before they replicate: start it first"));
            }
        };
        let look = schema::look(session).await;
        let look = look.map_err(query_failed("look for the other node's tables"))?;
        Ok((look != Tables::There).then_some((peer, session)))
    }

    /// What the local node has to offer and does not, yet; before there are tables, everything.
    async fn offers(&self) -> Result<Vec<Change>, Failure> {
        let session = &self.session;
        let tables = match schema::look(session).await {
            Ok(Tables::There) => schema::tables(session).await,
            Ok(_) => {
                let tables = ["events", "nodes"].map(str::to_owned).to_vec();
                return Ok(self.adapter.offer(&self.own.node_name, &tables));
            }
            Err(error) => Err(error),
        };
        let failed = query_failed("look at the replication sets");
        let tables = tables.map_err(&failed)?;
        let mut needed = Vec::new();
        for change in self.adapter.offer(&self.own.node_name, &tables) {
            let is_needed = registration::is_needed(session, &change).await;
            if is_needed.map_err(&failed)? {
                needed.push(change);
            }
        }
        Ok(needed)
    }

    async fn takes(&self) -> Result<Vec<(&Session, Change)>, Failure> {
        match &self.peer {
            Some(peer) => {
                let own = &self.own.node_name;
                peer::takes(self.adapter, &self.session, own, peer, self.voice).await
            }
            None => Ok(Vec::new()),
        }
    }

    fn shown_conninfo(&self) -> String {
        self.config.local().conninfo.original_without_password()
    }

    /// `--dry-run`: the same looks, and words instead of changes.
    async fn describe(&self) -> Result<(), Failure> {
        let voice = self.voice;
        let how = |tables: Tables| match tables {
            Tables::There => None,
            Tables::Extension => Some("extension \"repmgr\" would be installed".to_owned()),
            Tables::Plain(why) => Some(format!(
                "tables \"repmgr.nodes\" and \"repmgr.events\" would be made, because {why}"
            )),
        };
        if let Some(how) = how(self.tables) {
            voice.info(&how);
        }
        if let Some((peer, _)) = self.peer_lacks_tables().await? {
            let name = one_line(&peer.node_name);
            voice.info(&format!("the same would be made on node \"{name}\""));
        }
        for change in self.offers().await? {
            voice.info(&format!("would {}", change.what));
        }
        for (_, change) in self.takes().await? {
            voice.info(&format!("would {}", change.what));
        }
        let verb = if self.is_registered() {
            "updated"
        } else {
            "created"
        };
        let (id, name) = (self.own.node_id, &self.own.node_name);
        voice.info(&format!(
            "node record for node \"{name}\" (ID: {id}) would be {verb}"
        ));
        voice.info(&format!(
            "BDR node {id} would be registered (conninfo: {})",
            self.shown_conninfo()
        ));
        Ok(())
    }

    async fn carry_out(self) -> Result<(), Failure> {
        let voice = self.voice;
        if let Some((_, session)) = self.peer_lacks_tables().await? {
            make_tables(session, self.adapter, voice).await?;
        }
        let made = match self.tables {
            Tables::There => false,
            Tables::Extension | Tables::Plain(_) => {
                make_tables(&self.session, self.adapter, voice).await?;
                true
            }
        };
        for change in self.offers().await? {
            self.make(&self.session, &change).await?;
        }
        for (session, change) in self.takes().await? {
            self.make(session, &change).await?;
        }
        self.warn_if_not_carried().await?;
        if made {
            self.announce(EventKind::ClusterCreated, "").await;
        }
        self.write_record().await?;
        if self.config.local().conninfo.get("password").is_some() {
            voice.warning("the conninfo in repmgr.nodes has a password, which its readers can see");
            voice.hint("keep it in a password file instead, see passfile");
        }
        let (id, conninfo) = (self.own.node_id, self.shown_conninfo());
        voice.notice(&format!("BDR node {id} registered (conninfo: {conninfo})"));
        Ok(())
    }

    async fn make(&self, session: &Session, change: &Change) -> Result<(), Failure> {
        if self.voice.verbose {
            self.voice.info(&change.what);
        }
        let made = registration::make(session, change).await;
        made.map_err(|error| {
            let failure = query_failed(&change.what)(error);
            failure.hint("it may need every node of the replication: see that all are up")
        })
    }

    async fn warn_if_not_carried(&self) -> Result<(), Failure> {
        let name = &self.own.node_name;
        for table in ["nodes", "events"] {
            let carries = self.adapter.carries(name, table);
            let carries = replication::ask(&self.session, &carries).await;
            let carries = carries.map_err(query_failed("look at the replication sets"))?;
            if carries.as_deref() != Some("t") {
                let (voice, kind) = (self.voice, self.adapter.extension());
                voice.warning(&format!("{kind} does not replicate repmgr.{table}"));
                voice.detail("its replication set is none of this node's connection");
            }
        }
        Ok(())
    }

    /// The row, and the peer's where it is not here yet.
    async fn write_record(&self) -> Result<(), Failure> {
        let (own, session) = (&self.own, &self.session);
        let failed = query_failed("write the node record");
        let peer_is_registered = match &self.peer {
            Some(peer) => peer.is_registered().await,
            None => false,
        };
        let local = node_records::all(session).await.map_err(&failed)?;
        if let Some(Peer {
            node_name,
            session: Ok(other),
        }) = self.peer.as_ref().filter(|_| peer_is_registered)
            && !local.iter().any(|row| row.node_name == *node_name)
        {
            let copied = registration::copy_missing(other, session).await;
            copied.map_err(&failed)?;
        }
        registration::write(session, own).await.map_err(&failed)?;
        let verb = if self.is_registered() {
            "updated"
        } else {
            "created"
        };
        let details = format!(
            "node record {verb} for node \"{}\" (ID: {})",
            own.node_name, own.node_id
        );
        self.voice.notice(&details);
        if let Some(peer) = self.peer.as_ref().filter(|_| peer_is_registered) {
            let seen = peer::see_row_arrive(session, peer, own.node_id).await;
            if let Err(error) = seen {
                let name = one_line(&peer.node_name);
                let text = format!("the node record was not seen to arrive on node \"{name}\"");
                self.voice.warning(&text);
                self.voice.detail(&one_line(&error.to_string()));
            }
        }
        self.announce(EventKind::BdrRegister, &details).await;
        Ok(())
    }

    async fn announce(&self, kind: EventKind, details: &str) {
        let happening = Happening {
            node_id: self.own.node_id,
            kind,
            successful: true,
            details,
        };
        let hook = Some(&self.config.hook);
        announce(&self.session, hook, self.voice, happening).await;
    }
}

/// Makes the tables on a node, in the best way that it allows.
async fn make_tables(
    session: &Session,
    adapter: &dyn Adapter,
    voice: Voice,
) -> Result<(), Failure> {
    let failed = |error: PostgresError| {
        let failure = query_failed("make repmgr's tables")(error);
        failure.hint(match adapter.ddl_replicates() {
            true => "the schema is changed on every node at once: see that all are up",
            false => "a superuser can make them: CREATE EXTENSION repmgr",
        })
    };
    let tables = schema::look(session).await.map_err(failed)?;
    if tables == Tables::Extension {
        voice.notice("attempting to install extension \"repmgr\"");
    }
    schema::lock(session, CHANGE_LIMIT).await.map_err(failed)?;
    let found = schema::ensure(session, Some(adapter), CHANGE_LIMIT).await;
    let found = found.map_err(failed)?;
    schema::unlock(session).await.map_err(failed)?;
    match found {
        Tables::There => {}
        Tables::Extension => voice.notice("\"repmgr\" extension successfully installed"),
        Tables::Plain(why) => voice.notice(&format!(
            "made tables \"repmgr.nodes\" and \"repmgr.events\", because {why}"
        )),
    }
    Ok(())
}
