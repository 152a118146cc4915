//! The SSH handshake: when it is its turn, and where it holds up nobody.
//!
//! sshd counts the connections that have not logged in yet, whoever makes them. From `MaxStartups`
//! on (10, unless told) it closes three of ten at random, and a fleet that connects at once, to
//! many PgBouncers on one host, would lose some of them again and again. Hosts have nothing in
//! common here: one that hangs in its handshakes delays nobody else, and its own for a bounded
//! time.
//!
//! A handshake has a thread of its own, because starting a process holds up its thread until the
//! kernel has given the child its turn. On a busy machine, the start of a fleet would hold up the
//! probes of nodes and all other PgBouncers for seconds.
//!
//! What is not seen here is a jump host that several hosts are behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openssh::{Error, SessionBuilder};
use tokio::runtime;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::session::SharedSession;
use crate::config;
use crate::edge::chain;

/// Handshakes with one host at a time. The agents of both nodes together leave some of the ten to
/// others.
const HANDSHAKES_MAX: usize = 4;

/// The handshake as a whole; longer than OpenSSH's own limit for TCP and banner, because an `ssh`
/// that is abandoned while it connects stays behind as a process.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The turns of all hosts of a fleet.
#[derive(Debug, Default)]
pub struct AllTurns {
    hosts: BTreeMap<String, Turns>,
}

/// The turns of one host.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

impl AllTurns {
    /// Those of this host, shared with all that are on it.
    pub fn of(&mut self, host: &config::Host) -> Turns {
        self.hosts.entry(key(host)).or_default().clone()
    }
}

impl Default for Turns {
    /// Of somebody who is alone with its host.
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HANDSHAKES_MAX)))
    }
}

impl Turns {
    /// Connects, when it is its turn: that is waited for as long again as a handshake may last, and
    /// does not shorten it. The error is a reason in words.
    pub(super) async fn connect(
        &self,
        builder: SessionBuilder,
        destination: String,
    ) -> Result<SharedSession, String> {
        let seconds = TIMEOUT.as_secs();
        let Some(_turn) = self.take(TIMEOUT).await else {
            return Err(format!(
                "other connections to the same host did not come about within {seconds} s"
            ));
        };
        match launch(builder, destination).await {
            Some(Ok(session)) => Ok(session),
            Some(Err(error)) => Err(chain(&error)),
            None => Err(format!("no session within {seconds} s")),
        }
    }

    /// Held while connecting, and no longer. `None`: others took all of `limit`.
    async fn take(&self, limit: Duration) -> Option<SemaphorePermit<'_>> {
        timeout(limit, self.0.acquire()).await.ok()?.ok()
    }
}

/// The handshake, on a thread of its own. `None`: not in time.
async fn launch(
    builder: SessionBuilder,
    destination: String,
) -> Option<Result<SharedSession, Error>> {
    let (send, ended) = oneshot::channel();
    let handshake = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let session = match runtime {
            Ok(runtime) => runtime
                .block_on(async { timeout(TIMEOUT, builder.connect_mux(&destination)).await })
                .ok(),
            Err(error) => Some(Err(Error::Master(error))),
        };
        // A session that nobody waits for any more is ended by being dropped.
        let _ = send.send(session.map(|session| session.map(SharedSession::new)));
    };
    let thread = std::thread::Builder::new().name("ssh handshake".to_owned());
    match thread.spawn(handshake) {
        Ok(_) => ended.await.unwrap_or_default(),
        Err(error) => Some(Err(Error::Master(error))),
    }
}

/// What sshd is one for: the host and the port, whoever logs in.
fn key(host: &config::Host) -> String {
    match host {
        config::Host::Local => String::new(),
        config::Host::Ssh {
            destination, port, ..
        } => {
            let host = destination
                .rsplit_once('@')
                .map_or(&**destination, |(_, host)| host);
            let port = port.map(|port| port.to_string()).unwrap_or_default();
            format!("{}:{port}", host.to_ascii_lowercase())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(destination: &str, port: Option<u16>) -> config::Host {
        config::Host::Ssh {
            destination: destination.to_owned(),
            port,
            config: None,
        }
    }

    #[test]
    fn users_of_one_host_share_its_turns_and_other_hosts_have_their_own() {
        let one = key(&ssh("postgres@db1.example", None));
        for same in ["db1.example", "pgbouncer@DB1.example"] {
            assert_eq!(key(&ssh(same, None)), one, "{same}");
        }
        for other in [ssh("db2.example", None), ssh("db1.example", Some(2222))] {
            assert_ne!(key(&other), one, "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_host_that_hangs_delays_its_own_for_a_bounded_time_and_others_not_at_all() {
        let limit = Duration::from_millis(20);
        let mut all = AllTurns::default();
        let hangs = all.of(&ssh("db1", None));
        let mut held = Vec::new();
        for _ in 0..HANDSHAKES_MAX {
            held.push(hangs.take(limit).await.expect("a free turn"));
        }
        let neighbour = all.of(&ssh("postgres@db1", None));
        assert!(neighbour.take(limit).await.is_none());
        let other = all.of(&ssh("db2", None));
        assert!(other.take(Duration::ZERO).await.is_some());
        held.pop();
        assert!(hangs.take(limit).await.is_some());
    }
}
