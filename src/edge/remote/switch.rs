//! The dead-man's switch of a pause: which ways lead from PgBouncer's host to its consoles.
//!
//! Decides what is tried, and in which order; trying, and the switch itself, are `switch.sh`, which
//! the host's script sets when it records what a pause owes. No password goes to the host.

use std::time::Duration;

use super::{NO_OPERATION, RemoteError, RemoteHost};
use crate::conninfo::Conninfo;

/// The words of one candidate in the script's verb `can_undo`.
const WORDS: usize = 7;
const NO_MODE: &str = "-";

/// One way to each console, as the switch takes it; empty: none is known, so nothing on the host
/// would end a pause whose owner is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switch(Vec<String>);

impl Switch {
    /// Whether there is one.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// A console as the configuration names it, and what its process says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// How the agent reaches it.
    pub conninfo: &'a Conninfo,
    /// `listen_port` of SHOW CONFIG.
    pub listen_port: &'a str,
    /// `unix_socket_dir` of SHOW CONFIG; empty: none.
    pub unix_socket_dir: &'a str,
}

impl RemoteHost {
    /// Which ways the host itself has to the consoles.
    ///
    /// # Errors
    /// [`RemoteError::Failed`], [`RemoteError::Lost`].
    pub async fn can_undo(&self, places: &[Place<'_>]) -> Result<Switch, RemoteError> {
        let candidates = candidates(places);
        let arguments: Vec<&str> = candidates.iter().map(String::as_str).collect();
        let output = self.verb("can_undo", &arguments, &[]).await?;
        Ok(found(&output, &candidates, places.len()))
    }

    /// Puts on record what will be owed should we vanish before `lease` is over, in place of what
    /// was read there, and sets the switch that then pays it.
    ///
    /// # Errors
    /// [`RemoteError::Occupied`]: something else is on record. [`RemoteError::Failed`],
    /// [`RemoteError::Lost`].
    pub async fn record(
        &self,
        replaces: Option<&str>,
        token: &str,
        lease: Duration,
        debt: &str,
        switch: &Switch,
    ) -> Result<(), RemoteError> {
        let lease = lease.as_secs().to_string();
        let mut arguments = vec![replaces.unwrap_or(NO_OPERATION), token, &lease, debt];
        arguments.extend(switch.words());
        self.verb("record", &arguments, &[]).await.map(drop)
    }

    /// As [`RemoteHost::record`], but only if nothing is on record; `false`: something was.
    ///
    /// # Errors
    /// [`RemoteError::Failed`], [`RemoteError::Lost`].
    pub async fn record_alone(
        &self,
        token: &str,
        lease: Duration,
        debt: &str,
        switch: &Switch,
    ) -> Result<bool, RemoteError> {
        match self.record(None, token, lease, debt, switch).await {
            Err(RemoteError::Occupied(_)) => Ok(false),
            otherwise => otherwise.map(|()| true),
        }
    }
}

/// What is tried, for all consoles: `WORDS` words each. The configured socket first; then the one
/// that PgBouncer names, as its own user and as the configured one; then the TCP address, unless
/// several processes share it.
pub(super) fn candidates(places: &[Place<'_>]) -> Vec<String> {
    let mut words = Vec::new();
    for (index, place) in places.iter().enumerate() {
        // The first two: any of these ways could lead to another PgBouncer.
        let (port, directory) = (place.listen_port, place.unix_socket_dir);
        let get = |keyword| place.conninfo.get(keyword).unwrap_or_default();
        let (user, mode) = (get("user"), place.conninfo.get("sslmode"));
        let (host, own_port) = (get("host"), get("port"));
        let mut ways: Vec<[&str; 4]> = Vec::new();
        let mut add = |way| {
            if !ways.contains(&way) {
                ways.push(way);
            }
        };
        if host.starts_with('/') {
            add([host, own_port, user, NO_MODE]);
        }
        if directory.starts_with('/') {
            add([directory, port, "pgbouncer", NO_MODE]);
            add([directory, port, user, NO_MODE]);
        }
        let address = place.conninfo.get("hostaddr").unwrap_or(host);
        if places.len() == 1 && !address.is_empty() && !address.starts_with('/') {
            add([address, own_port, user, mode.unwrap_or(NO_MODE)]);
        }
        for way in ways {
            words.extend([index.to_string(), port.to_owned(), directory.to_owned()]);
            words.extend(way.map(str::to_owned));
        }
    }
    words
}

/// What the script found: `CONSOLE NUMBER TOOL` a line. A console without a way makes a switch that
/// would leave it paused: then there is none.
pub(super) fn found(output: &[u8], candidates: &[String], consoles: usize) -> Switch {
    let text = String::from_utf8_lossy(output);
    let mut words = Vec::new();
    let mut reached = 0;
    for line in text.lines() {
        let mut parts = line.split(' ');
        let mut number = || parts.next()?.parse::<usize>().ok();
        let (Some(console), Some(candidate)) = (number(), number()) else {
            return Switch::default();
        };
        let way = candidates.chunks(WORDS).nth(candidate);
        let tool = parts.next().filter(|tool| ["perl", "psql"].contains(tool));
        let (Some([_, _, _, way @ ..]), Some(tool), true) = (way, tool, console == reached) else {
            return Switch::default();
        };
        reached += 1;
        words.push(tool.to_owned());
        words.extend(way.iter().cloned());
    }
    match reached == consoles {
        true => Switch(words),
        false => Switch::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::worker::HASTY;

    fn tried(consoles: &[&str], directory: &str) -> Vec<String> {
        let parse = |text: &&str| Conninfo::parse(text).expect("a connection string");
        let conninfos: Vec<Conninfo> = consoles.iter().map(parse).collect();
        let place = |conninfo| Place {
            conninfo,
            listen_port: "6432",
            unix_socket_dir: directory,
        };
        let places: Vec<Place<'_>> = conninfos.iter().map(place).collect();
        let words = candidates(&places);
        let line = |c: &[String]| format!("{} {}", c[0], c[3..].join(" "));
        words.chunks(WORDS).map(line).collect()
    }

    #[test]
    fn a_console_is_tried_at_its_socket_first_and_at_its_address_last() {
        let tcp = "host=pgb1 port=6432 user=admin password=secret sslmode=require";
        let expected = [
            "0 /run/pg 6432 pgbouncer -",
            "0 /run/pg 6432 admin -",
            "0 pgb1 6432 admin require",
        ];
        assert_eq!(tried(&[tcp], "/run/pg"), expected);
        assert_eq!(tried(&[tcp], ""), expected[2..]);
        let socket = "host=/run/pg port=6432 user=pgbouncer";
        assert_eq!(tried(&[socket], "/run/pg"), expected[..1]);
        // Which of several processes answers at a port is chance.
        let of_two = tried(&[tcp, "host=/b port=6432 user=admin"], "");
        assert_eq!(of_two, ["1 /b 6432 admin -"]);
    }

    #[test]
    fn a_way_to_every_console_makes_a_switch_and_anything_less_none() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let tried = words("0 p d /a 1 u - 0 p d b 1 u - 1 p d /c 2 u -");
        let of = |output: &str| found(output.as_bytes(), &tried, 2);
        let both = of("0 1 psql\n1 2 perl\n");
        assert_eq!(both.0.join(" "), "psql b 1 u - perl /c 2 u -");
        for output in [
            "",
            "0 1 psql\n",
            "1 2 perl\n",
            "0 9 psql\n1 2 perl\n",
            "0 1 sh\n1 2 psql\n",
            "hello",
        ] {
            assert!(!of(output).is_there(), "{output}");
        }
    }

    #[test]
    fn the_switch_knows_the_value_of_a_redirect() {
        assert!(super::super::shell::SWITCH.contains(&format!("\nhasty={HASTY}\n")));
    }
}
