//! `quorum`, `failover_cooldown` and `[[witness]]`: who has to agree before traffic is moved.
//!
//! Decides whether every witness is a host of its own, one that no PgBouncer speaks for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pgbouncers::{destination, label_by_name, name_of};
use super::ssh::Destination;
use super::{INTERVAL_MAX, absolute};
use crate::config::reader::{Table, Value, all};
use crate::config::{Agreement, Host, PgBouncer, Quorum, WitnessHost};

const COOLDOWN_DEFAULT: Duration = Duration::from_secs(60);

/// Reads them; `pgbouncers` are those whose hosts have a vote already, if they could be read.
pub(super) fn read(
    top: &mut Table<'_>,
    pgbouncers: Option<&BTreeMap<String, PgBouncer>>,
) -> Option<Agreement> {
    let quorum = top.get("quorum").map_or(Some(Quorum::default()), |value| {
        let otherwise = "write \"majority\", \"any\" or \"none\"";
        Some(match value.word(&["majority", "any", "none"], otherwise)? {
            "majority" => Quorum::Majority,
            "any" => Quorum::Any,
            _ => Quorum::None,
        })
    });
    let cooldown = top
        .get("failover_cooldown")
        .map_or(Some(COOLDOWN_DEFAULT), |value| {
            value.duration(Duration::ZERO..=INTERVAL_MAX)
        });
    let witnesses = witnesses(top, pgbouncers);
    Some(Agreement {
        quorum: quorum?,
        cooldown: cooldown?,
        witnesses: witnesses?,
    })
}

fn witnesses(
    top: &mut Table<'_>,
    pgbouncers: Option<&BTreeMap<String, PgBouncer>>,
) -> Option<BTreeMap<String, WitnessHost>> {
    let Some(list) = top.get("witness") else {
        return Some(BTreeMap::new());
    };
    let tables = list.tables("[[witness]]", label_by_name);
    let mut known: BTreeMap<String, WitnessHost> = BTreeMap::new();
    let read = tables.into_iter().map(|table| {
        let (name, place, witness) = witness(table)?;
        let none = BTreeMap::new();
        let pgbouncers = pgbouncers.unwrap_or(&none);
        if known.contains_key(&name) || pgbouncers.contains_key(&name) {
            place.problem("another [[witness]] or [[pgbouncer]] has this name");
            return None;
        }
        let of_pgbouncer = pgbouncers.values().find(|it| it.host == witness.host);
        if let Some(pgbouncer) = of_pgbouncer {
            let name = &pgbouncer.name;
            place.problem(format!(
                "its host is that of PgBouncer `{name}`, which has one vote already; leave it out"
            ));
            return None;
        }
        if known.values().any(|it| it.host == witness.host) {
            place.problem("another [[witness]] has the same host, and a host has one vote");
            return None;
        }
        known.insert(name.clone(), witness.clone());
        Some((name, witness))
    });
    all(read)
}

fn witness(mut table: Table<'_>) -> Option<(String, Value<'_>, WitnessHost)> {
    let name = table.require("name", "name = \"w1\"").and_then(name_of);
    let ssh = table.require("ssh", "ssh = \"user@host\"");
    let ssh = ssh.and_then(|value| destination(&value));
    let config = table
        .get("ssh_config")
        .map_or(Some(None), |value| absolute(&value).map(Some));
    let directory = table
        .require("directory", "directory = \"/var/lib/repoint\"")
        .and_then(|value| absolute(&value));
    let command = table
        .get("witness_command")
        .map_or(Some(None), |value| absolute(&value).map(Some));
    table.finish();
    let (name, place) = name?;
    let Destination { destination, port } = ssh?;
    let config = config?;
    let host = Host::Ssh {
        destination,
        port,
        config,
    };
    let witness = WitnessHost {
        host,
        directory: directory?,
        command: command?,
    };
    Some((name, place, witness))
}
