//! Which server a command talks to: that of the configuration, or the one that the command line
//! names, as with repmgr's `-h -p -U -d`.
//!
//! What is in the tables of the cluster can be read on any node, so a command that only reads them
//! may ask another node of the configuration when its own is down.

use std::path::Path;
use std::time::Duration;

use super::exit::Exit;
use super::failure::Failure;
use super::load;
use super::say::Voice;
use super::table::printable;
use crate::config::{Config, Node};
use crate::conninfo::Conninfo;
use crate::edge::postgres::{PostgresError, Session, attempt_limit, connect};

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
    /// Whether the command line names the server: then no other will do.
    named: bool,
}

impl Connection {
    fn is_given(&self) -> bool {
        let given = [&self.host, &self.port, &self.username, &self.dbname];
        given.iter().any(|option| option.is_some())
    }

    /// What the command line names goes over the configuration's conninfo; without a configuration
    /// it is all there is. A file is only looked for when nothing is named.
    pub(super) fn target(&self, file: Option<&Path>, voice: Voice) -> Result<Target, Failure> {
        let config = match (file, self.is_given()) {
            (None, true) => None,
            (Some(_), _) | (None, false) => {
                let loaded = load::load(&load::find(file)?)?;
                loaded.warn(voice);
                Some(loaded.config)
            }
        };
        let conninfo = match &config {
            Some(config) => config.local().conninfo.clone(),
            None => Conninfo::parse("").map_err(|error| unusable(&error))?,
        };
        let conninfo = self.over(conninfo)?;
        let named = self.is_given();
        Ok(Target {
            conninfo,
            config,
            named,
        })
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
                .detail(reason(&self.conninfo, &error))
                .hint("check the conninfo, and that the server runs and lets this user in")
        })
    }

    /// Connects, or else to the first other node of the configuration that answers, and says so.
    pub(super) async fn connect_to_any(&self, voice: Voice) -> Result<Session, Failure> {
        let mut failure = match self.connect().await {
            Ok(session) => return Ok(session),
            Err(failure) => failure,
        };
        for node in self.others() {
            let name = printable(&node.node_name);
            match connect(&node.conninfo, attempt_limit(&node.conninfo)).await {
                Ok(session) => {
                    let id = node.node_id;
                    voice.warning(&format!(
                        "{}; asking node \"{name}\" (ID: {id}) instead",
                        failure.message
                    ));
                    voice.detail(failure.detail.as_deref().unwrap_or_default());
                    return Ok(session);
                }
                Err(error) => {
                    let detail = failure.detail.unwrap_or_default();
                    let other = reason(&node.conninfo, &error);
                    failure.detail = Some(format!("{detail}\nnode \"{name}\": {other}"));
                }
            }
        }
        Err(self.point_to_others(failure))
    }

    /// The tables are on the other node, too, and only the operator knows where that is when no
    /// configuration lists it.
    pub(super) fn point_to_others(&self, failure: Failure) -> Failure {
        match self.others().next() {
            None => failure.hint(
                "see that the server runs and lets this user in, or ask another node: name it \
                 with -h",
            ),
            Some(_) => failure,
        }
    }

    fn others(&self) -> impl Iterator<Item = &Node> {
        let config = self.config.as_ref().filter(|_| !self.named);
        let nodes = config.map(|config| {
            let local = config.node_id;
            config.nodes.values().filter(move |n| n.node_id != local)
        });
        nodes.into_iter().flatten()
    }

    /// How long an attempt may take.
    pub(super) fn limit(&self) -> Duration {
        attempt_limit(&self.conninfo)
    }
}

fn reason(conninfo: &Conninfo, error: &PostgresError) -> String {
    // The server's words may hold anything.
    format!("{}: {}", conninfo.redacted(), printable(&error.to_string()))
}

fn unusable(error: &crate::conninfo::ParseError) -> Failure {
    Failure::new(
        Exit::BadConfig,
        format!("-d is not a connection string: {error}"),
    )
}

/// A connection string out of a row, to be shown: as it is stored, unless a password is in it. Of
/// one that cannot be read nothing is shown, because any part of it may be a password.
pub(super) fn conninfo_without_password(text: &str) -> String {
    let conninfo = match Conninfo::parse(text) {
        Ok(conninfo) => conninfo,
        Err(error) => return format!("(cannot be read: {error})"),
    };
    let nested = |dbname: &str| dbname.contains('=') || dbname.contains("://");
    match conninfo.get("dbname").is_some_and(nested) {
        true => conninfo.without_password().redacted(),
        false => conninfo.original_without_password(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_a_connection_string_is_shown() {
        for (stored, shown) in [
            ("host=a  user=b", "host=a  user=b"),
            ("host=a password=secret user=b", "host=a user=b"),
            ("postgresql://b:secret@a/c", "host=a dbname=c user=b"),
            (
                "host=a dbname='host=c password=secret'",
                "host=a dbname=********",
            ),
            (
                "host=a secret",
                "(cannot be read: missing `=` after the word at byte 7 of the connection string)",
            ),
        ] {
            assert_eq!(conninfo_without_password(stored), shown);
        }
    }
}
