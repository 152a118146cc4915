//! How a host sees the two nodes of a move.
//!
//! Looks at both at the same time and in the same way: with a login and a query through a stream
//! that is forwarded in the SSH session, or with the operator's own command there. Says what was
//! seen; what vote that makes is [`crate::core::vote`]'s.
//!
//! What a PgBouncer there knows of its own connections to servers is not asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use openssh::{Session, Stdio};
use tokio::time::{Instant, timeout, timeout_at};

use super::forward::{Forward, MasterWords};
use super::session::SharedSession;
use super::{RemoteHost, one_line};
use crate::conninfo::{Address, Conninfo};
use crate::core::vote::{Sight, Sights};
use crate::edge::chain;
use crate::edge::libpq_files::complete;
use crate::edge::postgres::{self, PostgresError};

/// A look at a node takes no longer than this, and no longer than its `connect_timeout`.
pub const LOOK_LIMIT: Duration = Duration::from_secs(3);
/// A session that has just answered a query answers another one within this.
const AGAIN_LIMIT: Duration = Duration::from_secs(1);
/// How long a command's end is waited for once its own time is over.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What `timeout` gives for a command that it had to kill.
const KILLED: i32 = 137;

const FORBIDDEN: &str = "sshd there forbids forwarding to a node (AllowTcpForwarding, PermitOpen): \
                         allow it, or name a `witness_command`";
const BROKE: &str = "the way through this witness broke while it looked";

impl RemoteHost {
    /// How this host sees the two nodes now, each within `limit`, its `connect_timeout` and
    /// [`LOOK_LIMIT`]; at most two seconds more where one of them is not reached.
    pub async fn see(&self, failed: &Conninfo, next: &Conninfo, limit: Duration) -> Sights {
        let eyes = match (&self.ssh, &self.witness_command) {
            (None, _) => Eyes::Here,
            (Some(ssh), Some(command)) => Eyes::Command {
                session: ssh.session.clone(),
                command: command.clone(),
            },
            (Some(ssh), None) => Eyes::Forwarded {
                session: ssh.session.clone(),
                sockets: ssh.sockets.clone(),
            },
        };
        let (failed, next) = (failed.clone(), next.clone());
        // A task of its own: it also ends what it has begun when nobody waits for it any more.
        let look = tokio::spawn(async move { eyes.look(&failed, &next, limit).await });
        let ended = look.await;
        ended.unwrap_or_else(|_| Sights::unknown("it was not looked to the end"))
    }
}

/// Where one looks from.
enum Eyes {
    /// This machine.
    Here,
    /// A host that forwards streams.
    Forwarded {
        session: SharedSession,
        sockets: PathBuf,
    },
    /// A host with a command of the operator's.
    Command {
        session: SharedSession,
        command: PathBuf,
    },
}

/// One node, with the session in which it answered.
struct Look {
    sight: Sight,
    session: Option<postgres::Session>,
}

impl From<Sight> for Look {
    fn from(sight: Sight) -> Self {
        Self {
            sight,
            session: None,
        }
    }
}

impl Eyes {
    async fn look(&self, failed: &Conninfo, next: &Conninfo, limit: Duration) -> Sights {
        let words = match self {
            Self::Forwarded { session, .. } => Some(MasterWords::from_now(session)),
            Self::Here | Self::Command { .. } => None,
        };
        let (failed, next) = tokio::join!(self.look_at(failed, limit), self.look_at(next, limit));
        let Look { session, sight } = next;
        let mut sights = Sights {
            failed: failed.sight,
            next: sight,
        };
        if words.is_some_and(|words| words.of_prohibition()) {
            for sight in [&mut sights.failed, &mut sights.next] {
                if matches!(sight, Sight::NotReached { .. }) {
                    *sight = unknown(FORBIDDEN);
                }
            }
        }
        // What broke the way to the one node after the other had answered would look like a node
        // that has failed.
        if let (Sight::NotReached { .. }, Some(session)) = (&sights.failed, session)
            && postgres::is_read_only(&session, AGAIN_LIMIT).await.is_err()
        {
            return Sights::unknown(BROKE);
        }
        sights
    }

    async fn look_at(&self, conninfo: &Conninfo, limit: Duration) -> Look {
        // What kind of server it is, is part of what is seen.
        let conninfo = match complete(&conninfo.clone().without("target_session_attrs")) {
            Ok(conninfo) => conninfo,
            Err(reason) => return unknown(&reason).into(),
        };
        let limit = limit
            .min(LOOK_LIMIT)
            .min(postgres::attempt_limit(&conninfo));
        let begun = Instant::now();
        let session = match self {
            Self::Here => postgres::connect(&conninfo, limit).await,
            Self::Forwarded { session, sockets } => {
                forwarded(session, sockets, &conninfo, limit).await
            }
            Self::Command { session, command } => {
                return asked(session, command, &conninfo, limit).await.into();
            }
        };
        let session = match session {
            Ok(session) => session,
            Err(error) => return of_error(&error).into(),
        };
        let left = limit.saturating_sub(begun.elapsed());
        match postgres::is_read_only(&session, left).await {
            Ok(read_only) => Look {
                sight: Sight::Reached { read_only },
                session: Some(session),
            },
            Err(PostgresError::Silent(_)) => of_error(&PostgresError::Silent(limit)).into(),
            Err(error) => of_error(&error).into(),
        }
    }
}

/// Logs in through the SSH session, at each address of the connection string in turn.
async fn forwarded(
    session: &SharedSession,
    sockets: &Path,
    conninfo: &Conninfo,
    limit: Duration,
) -> Result<postgres::Session, PostgresError> {
    let addresses = addresses(conninfo).map_err(PostgresError::Unusable)?;
    let deadline = Instant::now() + limit;
    let mut last = PostgresError::Silent(limit);
    for (address, host) in &addresses {
        let forward = Forward::new(session, sockets, host, address.port);
        let attempt = async {
            let path = forward.open().await;
            let path = path.map_err(|reason| {
                PostgresError::Unusable(format!("forward a port through ssh: {reason}"))
            })?;
            postgres::connect_forwarded(conninfo, address, path).await
        };
        let ended = timeout_at(deadline, attempt).await;
        forward.close().await;
        match ended {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => last = error,
            Err(_) => return Err(PostgresError::Silent(limit)),
        }
    }
    Err(last)
}

/// Has the operator's command look, with the host and the port as its two arguments.
async fn asked(
    session: &SharedSession,
    command: &Path,
    conninfo: &Conninfo,
    limit: Duration,
) -> Sight {
    let addresses = match addresses(conninfo) {
        Ok(addresses) => addresses,
        Err(reason) => return unknown(&reason),
    };
    let Some((address, host)) = addresses.first() else {
        return unknown("no address");
    };
    // Where nobody waits for it any more, it would otherwise stay behind there.
    let seconds = limit.as_secs_f64().ceil().to_string();
    let port = address.port.to_string();
    let mut words = Session::to_command(session.clone(), "timeout");
    words
        .args(["-s", "KILL", &seconds, &command.to_string_lossy()])
        .args([host, &port])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let told = |what: &str| format!("`{}` {what}", command.display());
    let silent = || unknown(&told(&format!("says nothing within {limit:?}")));
    match timeout(limit + LAST_WORDS, words.status()).await {
        Err(_) | Ok(Err(openssh::Error::RemoteProcessTerminated)) => silent(),
        Ok(Err(openssh::Error::Remote(_))) => unknown(&told("is not there, or `timeout` is not")),
        Ok(Err(error)) => unknown(&one_line(&chain(&error))),
        Ok(Ok(status)) => match status.code() {
            Some(0) => Sight::Reached { read_only: false },
            Some(1) => Sight::NotReached {
                reason: told("does not reach it"),
            },
            Some(KILLED) | None => silent(),
            Some(code) => unknown(&told(&format!("ends with exit status {code}"))),
        },
    }
}

/// The addresses of a node that mean the same on every host, and the host of each as sshd or a
/// command is told it.
fn addresses(conninfo: &Conninfo) -> Result<Vec<(Address, String)>, String> {
    let all = conninfo.addresses().map_err(|error| chain(&error))?;
    all.into_iter()
        .map(|address| {
            let host = address.hostaddr.clone().or(address.host.clone());
            match host {
                Some(host) if is_name(&host) => Ok((address, host)),
                _ => Err("the node has no host name or address that others can use".to_owned()),
            }
        })
        .collect()
}

/// No path of a socket, and nothing that a command could take for something else.
fn is_name(host: &str) -> bool {
    !host.starts_with(['/', '@', '-']) && !host.chars().any(|c| c.is_control() || c == ' ')
}

fn unknown(reason: &str) -> Sight {
    let reason = reason.to_owned();
    Sight::Unknown { reason }
}

fn of_error(error: &PostgresError) -> Sight {
    let reason = error.to_string();
    match error {
        PostgresError::Answered { .. } if error.is_out_of_service() => Sight::NotReached { reason },
        PostgresError::Answered { .. } => Sight::Refusing { reason },
        PostgresError::Refused(_)
        | PostgresError::Unreachable(_)
        | PostgresError::Foreign(_)
        | PostgresError::Silent(_) => Sight::NotReached { reason },
        PostgresError::Unusable(_) => Sight::Unknown { reason },
    }
}
