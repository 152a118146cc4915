//! What PgBouncer gets of a node's connection string: a host, a port and a database name.
//!
//! PgBouncer does not understand libpq's strings (`connect_timeout` alone makes it refuse the whole
//! file), so nothing is pasted: three values are taken out and checked; `render::ini::quote` writes
//! them. Everything else of the string is for the agent's own connections. A plain type, because
//! `core` compares with it and `render` writes it.

use super::{Conninfo, DEFAULT_PORT};

/// Where a database entry points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Name, address, or socket directory (begins with `/` or `@`).
    pub host: String,
    /// The port, never 0.
    pub port: u16,
    /// The database on the node.
    pub dbname: String,
}

/// Why a connection string gives no [`ServerAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// PgBouncer would choose among the hosts by itself, behind the back of the routing.
    #[error("`{keyword}` lists {count} items; a node is one server, so give one")]
    SeveralHosts {
        /// `host`, `hostaddr` or `port`.
        keyword: &'static str,
        /// How many.
        count: usize,
    },
    /// There is neither `host` nor `hostaddr`.
    #[error(
        "the connection string has no `host`; \
         PgBouncer would use a local socket on its own machine"
    )]
    NoHost,
    /// The port is not a number from 1 to 65535, written in digits only.
    #[error("`port` is not a number from 1 to 65535")]
    Port,
    /// There is no database name.
    #[error("the connection string has no `dbname`; add it there or to the database entry")]
    NoDbname,
    /// A value that cannot stand in PgBouncer's file, where it would begin a line of its own.
    #[error("`{keyword}` holds a control character, which PgBouncer's file cannot hold")]
    Unwritable {
        /// `host`, `hostaddr` or `dbname`.
        keyword: &'static str,
    },
}

impl ServerAddress {
    /// Takes `hostaddr`, else `host`; `port`, else 5432; `dbname_override`, else `dbname`.
    pub fn from_conninfo(
        conninfo: &Conninfo,
        dbname_override: Option<&str>,
    ) -> Result<Self, AddressError> {
        for keyword in ["host", "hostaddr", "port"] {
            let count = conninfo.get(keyword).map_or(1, |v| v.split(',').count());
            if count > 1 {
                return Err(AddressError::SeveralHosts { keyword, count });
            }
        }
        let (keyword, host) = ["hostaddr", "host"]
            .into_iter()
            .find_map(|keyword| Some((keyword, conninfo.get(keyword)?)))
            .ok_or(AddressError::NoHost)?;
        let dbname = dbname_override
            .filter(|dbname| !dbname.is_empty())
            .or_else(|| conninfo.get("dbname"))
            .ok_or(AddressError::NoDbname)?;
        Ok(Self {
            host: writable(keyword, host)?,
            port: conninfo.get("port").map_or(Ok(DEFAULT_PORT), port)?,
            dbname: writable("dbname", dbname)?,
        })
    }
}

fn writable(keyword: &'static str, value: &str) -> Result<String, AddressError> {
    if value.chars().any(char::is_control) {
        return Err(AddressError::Unwritable { keyword });
    }
    Ok(value.to_owned())
}

fn port(text: &str) -> Result<u16, AddressError> {
    text.parse()
        .ok()
        .filter(|port| *port != 0 && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or(AddressError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, dbname: Option<&str>) -> Result<String, AddressError> {
        ServerAddress::from_conninfo(&conninfo(text), dbname).map(|address| ini(&address))
    }

    fn conninfo(text: &str) -> Conninfo {
        Conninfo::parse(text).unwrap()
    }

    fn ini(address: &ServerAddress) -> String {
        format!(
            "host='{}' port='{}' dbname='{}'",
            address.host, address.port, address.dbname
        )
    }

    #[test]
    fn only_host_port_and_dbname_are_taken() {
        let text = "host=a port=5433 dbname=app user=u password=p connect_timeout=2";
        assert_eq!(
            address(text, None).unwrap(),
            "host='a' port='5433' dbname='app'"
        );
    }

    #[test]
    fn the_address_wins_over_the_name_and_the_override_over_the_dbname() {
        assert_eq!(
            address("host=a hostaddr=::1 dbname=app", Some("other")).unwrap(),
            "host='::1' port='5432' dbname='other'"
        );
        assert!(
            address("host=a dbname=app", Some(""))
                .unwrap()
                .ends_with("'app'")
        );
    }

    #[test]
    fn socket_directories_stay_as_they_are() {
        for host in ["/var/run/postgresql", "@abstract"] {
            let text = format!("host={host} dbname=app");
            let expected = format!("host='{host}' port='5432' dbname='app'");
            assert_eq!(address(&text, None).unwrap(), expected);
        }
    }

    #[test]
    fn quotes_are_data() {
        assert_eq!(
            address(r"host=a dbname='it\'s host=b'", None).unwrap(),
            "host='a' port='5432' dbname='it's host=b'"
        );
    }

    #[test]
    fn lists_are_refused() {
        for (text, keyword) in [
            ("host=a,b dbname=d", "host"),
            ("host=a hostaddr=::1,::2 dbname=d", "hostaddr"),
            ("host=a port=1,2 dbname=d", "port"),
        ] {
            let expected = AddressError::SeveralHosts { keyword, count: 2 };
            assert_eq!(address(text, None), Err(expected));
        }
    }

    #[test]
    fn a_host_and_a_dbname_are_required() {
        for text in ["dbname=d", "host='' dbname=d", "port=1 dbname=d"] {
            assert_eq!(address(text, None), Err(AddressError::NoHost));
        }
        assert_eq!(address("host=a user=u", None), Err(AddressError::NoDbname));
    }

    #[test]
    fn ports_are_digits_from_1_to_65535() {
        for port in ["0", "65536", "-1", "+1", "' 1'", "1a", "a", "1e3"] {
            let text = format!("host=a dbname=d port={port}");
            assert_eq!(address(&text, None), Err(AddressError::Port), "{port}");
        }
    }

    #[test]
    fn control_characters_are_refused() {
        for (text, dbname, keyword) in [
            ("host='a\n[pgbouncer]' dbname=d", None, "host"),
            ("host=a dbname='d\t'", None, "dbname"),
            ("host=a", Some("d\x7f"), "dbname"),
        ] {
            assert!(matches!(
                address(text, dbname),
                Err(AddressError::Unwritable { keyword: found, .. }) if found == keyword
            ));
        }
    }
}
