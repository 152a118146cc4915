//! A TCP port as a host sees it: a socket of this machine that leads there through the SSH session.
//!
//! Makes and ends forwards, and reads what OpenSSH's master says about the streams in them. A
//! forward is made at once whatever is behind it, and its stream ends in the same way when nothing
//! listens there and when sshd forbids forwarding; what follows is `sight`'s.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openssh::{ForwardType, Socket};
use tokio::time::timeout;

use super::one_line;
use super::session::SharedSession;
use crate::edge::chain;

/// The master is a process of this machine: it answers at once, or it hangs.
const MASTER_TIMEOUT: Duration = Duration::from_secs(1);
/// More than a master says in the time of one look.
const WORDS_BYTES: u64 = 64 << 10;
/// OpenSSH's words for a stream that sshd does not allow, to this port or to any.
const PROHIBITED: &str = "administratively prohibited";
/// No two forwards of this process have the same socket: OpenSSH's master says yes to one that it
/// has already, and makes no other.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A forward that was asked for; [`Forward::close`] ends it.
pub(super) struct Forward<'a> {
    session: &'a SharedSession,
    here: PathBuf,
    host: &'a str,
    port: u16,
}

impl<'a> Forward<'a> {
    /// Nothing is made yet.
    pub(super) fn new(
        session: &'a SharedSession,
        sockets: &Path,
        host: &'a str,
        port: u16,
    ) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            session,
            here: sockets.join(format!("w{number:x}")),
            host,
            port,
        }
    }

    /// Makes it; the path leads to `host`:`port`, as the host resolves it. The error is a reason in
    /// words; it must be closed also then.
    pub(super) async fn open(&self) -> Result<&Path, String> {
        let (listen, connect) = self.ends();
        let made = self
            .session
            .request_port_forward(ForwardType::Local, listen, connect);
        match timeout(MASTER_TIMEOUT, made).await {
            Ok(Ok(())) => Ok(&self.here),
            Ok(Err(error)) => Err(one_line(&chain(&error))),
            Err(_) => Err("OpenSSH's master does not answer".to_owned()),
        }
    }

    /// Ends it; streams that are open in it stay so.
    pub(super) async fn close(self) {
        let (listen, connect) = self.ends();
        let ended = self
            .session
            .close_port_forward(ForwardType::Local, listen, connect);
        // Where the master does not know it, or is gone, there is nothing to end.
        let _ = timeout(MASTER_TIMEOUT, ended).await;
        // The master leaves its socket.
        let _ = std::fs::remove_file(&self.here);
    }

    fn ends(&self) -> (Socket<'_>, Socket<'_>) {
        let path = self.here.as_path().into();
        (
            Socket::UnixSocket { path },
            Socket::new(self.host, self.port),
        )
    }
}

/// What the master of a session says from now on.
pub(super) struct MasterWords {
    log: Option<PathBuf>,
    begin: u64,
}

impl MasterWords {
    pub(super) fn from_now(session: &SharedSession) -> Self {
        let log = session
            .control_socket()
            .parent()
            .map(|directory| directory.join("log"));
        let length = log.as_ref().and_then(|log| std::fs::metadata(log).ok());
        Self {
            log,
            begin: length.map_or(0, |metadata| metadata.len()),
        }
    }

    /// Whether it said meanwhile that sshd forbids a stream. Of which one it does not say. With a
    /// `LogLevel` below INFO it never says so.
    pub(super) fn of_prohibition(&self) -> bool {
        use std::io::{Read as _, Seek as _};
        let read = || {
            let mut file = std::fs::File::open(self.log.as_ref()?).ok()?;
            file.seek(std::io::SeekFrom::Start(self.begin)).ok()?;
            let mut words = Vec::new();
            file.take(WORDS_BYTES).read_to_end(&mut words).ok()?;
            Some(String::from_utf8_lossy(&words).contains(PROHIBITED))
        };
        read().unwrap_or(false)
    }
}
