//! Where a connection string points: libpq's pairing of `host`, `hostaddr` and `port` lists.

use super::Conninfo;
use super::error::ParseError;
use super::settings::integer;

/// The port that libpq takes when none is given.
pub const DEFAULT_PORT: u16 = 5432;

/// One place where libpq would try to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name, address or socket directory (begins with `/` or `@`); `None`: the default socket
    /// directory, unless [`Address::hostaddr`] is given.
    pub host: Option<String>,
    /// The numeric address that saves looking up [`Address::host`].
    pub hostaddr: Option<String>,
    /// The port.
    pub port: u16,
}

impl Conninfo {
    /// Every address, in the order in which libpq tries them; at least one.
    pub fn addresses(&self) -> Result<Vec<Address>, ParseError> {
        let hosts = items(self.get("host"));
        let hostaddrs = items(self.get("hostaddr"));
        let ports = items(self.get("port"));
        let count = if hostaddrs.is_empty() {
            hosts.len().max(1)
        } else {
            hostaddrs.len()
        };
        if !hosts.is_empty() && hosts.len() != count {
            return Err(ParseError::HostCount {
                hosts: hosts.len(),
                addresses: count,
            });
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(ParseError::PortCount {
                ports: ports.len(),
                hosts: count,
            });
        }
        (0..count)
            .map(|index| {
                let port = if ports.len() == 1 { 0 } else { index };
                Ok(Address {
                    host: item(&hosts, index),
                    hostaddr: item(&hostaddrs, index),
                    port: port_number(ports.get(port).copied(), index)?,
                })
            })
            .collect()
    }
}

fn items(list: Option<&str>) -> Vec<&str> {
    list.map(|list| list.split(',').collect())
        .unwrap_or_default()
}

fn item(list: &[&str], index: usize) -> Option<String> {
    list.get(index)
        .filter(|item| !item.is_empty())
        .map(|item| (*item).to_owned())
}

fn port_number(text: Option<&str>, index: usize) -> Result<u16, ParseError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_PORT);
    };
    integer(text)
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port != 0)
        .ok_or(ParseError::Port {
            host_index: index + 1,
        })
}
