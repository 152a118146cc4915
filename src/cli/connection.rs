//! Which server a command talks to: that of the configuration, or the one that the command line
//! names, as with repmgr's `-h -p -U -d`.

use std::path::Path;
use std::time::Duration;

use super::exit::Exit;
use super::failure::Failure;
use super::load;
use super::say::Voice;
use crate::config::Config;
use crate::conninfo::Conninfo;
use crate::edge::postgres::{Session, attempt_limit, connect};

/// How to connect without a configuration.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Connection {
    /// Database server host.
    #[arg(short = 'h', long, value_name = "HOST")]
    pub(super) host: Option<String>,
    /// Database server port.
    #[arg(short = 'p', long, value_name = "PORT")]
    pub(super) port: Option<String>,
    /// Database user.
    #[arg(short = 'U', long, value_name = "USER")]
    pub(super) username: Option<String>,
    /// Database, or a whole connection string.
    #[arg(short = 'd', long, value_name = "DBNAME")]
    pub(super) dbname: Option<String>,
}

/// Where to connect, and the configuration if there is one.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) conninfo: Conninfo,
    pub(super) config: Option<Config>,
}

impl Connection {
    fn is_given(&self) -> bool {
        let given = [&self.host, &self.port, &self.username, &self.dbname];
        given.iter().any(|option| option.is_some())
    }

    /// What the command line names goes over the configuration's conninfo; without a configuration
    /// it is all there is. A file is only looked for when nothing is named.
    pub(super) fn target(&self, file: Option<&Path>) -> Result<Target, Failure> {
        let config = match (file, self.is_given()) {
            (None, true) => None,
            (Some(_), _) | (None, false) => {
                let loaded = load::load(&load::find(file)?)?;
                loaded.warn(Voice::default());
                Some(loaded.config)
            }
        };
        let conninfo = match &config {
            Some(config) => config.local().conninfo.clone(),
            None => Conninfo::parse("").map_err(|error| unusable(&error))?,
        };
        let conninfo = self.over(conninfo)?;
        Ok(Target { conninfo, config })
    }

    fn over(&self, conninfo: Conninfo) -> Result<Conninfo, Failure> {
        let whole = |text: &&String| text.contains('=') || text.contains("://");
        let mut conninfo = match self.dbname.as_ref().filter(whole) {
            Some(text) => Conninfo::parse(text).map_err(|error| unusable(&error))?,
            None => conninfo,
        };
        let dbname = self.dbname.as_ref().filter(|text| !whole(text));
        let given = [
            ("host", self.host.as_ref()),
            ("port", self.port.as_ref()),
            ("user", self.username.as_ref()),
            ("dbname", dbname),
        ];
        for (keyword, value) in given {
            if let Some(value) = value {
                conninfo = conninfo.with(keyword, value);
            }
        }
        if self.host.is_some() {
            // libpq connects to hostaddr when both are there.
            conninfo = conninfo.without("hostaddr");
        }
        Ok(conninfo)
    }
}

impl Target {
    /// Connects, or says why not.
    pub(super) async fn connect(&self) -> Result<Session, Failure> {
        let session = connect(&self.conninfo, self.limit()).await;
        session.map_err(|error| {
            Failure::new(Exit::DbConn, "unable to connect to the database")
                .detail(format!("{}: {error}", self.conninfo.redacted()))
                .hint("check the conninfo, and that the server runs and lets this user in")
        })
    }

    /// How long an attempt may take.
    pub(super) fn limit(&self) -> Duration {
        attempt_limit(&self.conninfo)
    }
}

fn unusable(error: &crate::conninfo::ParseError) -> Failure {
    Failure::new(
        Exit::BadConfig,
        format!("-d is not a connection string: {error}"),
    )
}
