//! The SSH session to a host: OpenSSH's own processes do the talking, with the operator's
//! configuration. Opens it, when it is its turn (`handshake`); what is done in it is `shell`'s.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};
use tokio::time::timeout;

use super::{RemoteError, Turns, one_line};

/// Covers TCP and banner (OpenSSH's `ConnectTimeout`, whole seconds).
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// OpenSSH gives up after three of these without an answer.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A master that nobody uses any more ends by itself, also when this process was killed.
const IDLE: NonZeroUsize = NonZeroUsize::new(120).expect("120 is not zero");

/// A session, of all that use it. Let go of without being closed, it is ended by a thread of its
/// own: OpenSSH's master is asked for that, and its answer waited for without a limit, while all
/// nodes and PgBouncers share one thread.
#[derive(Debug, Clone)]
pub(super) struct SharedSession(Option<Arc<Session>>);

impl SharedSession {
    pub(super) fn new(session: Session) -> Self {
        Self(Some(Arc::new(session)))
    }

    /// Ends it, unless somebody else still uses it: that one's end is then the session's.
    pub(super) async fn close(mut self) {
        if let Some(session) = self.0.take().and_then(Arc::into_inner) {
            let _ = timeout(CONNECT_TIMEOUT, session.close()).await;
        }
    }
}

impl Deref for SharedSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.0.as_deref().expect("it is taken out only at the end")
    }
}

impl Drop for SharedSession {
    fn drop(&mut self) {
        if let Some(session) = self.0.take().and_then(Arc::into_inner) {
            let thread = std::thread::Builder::new().name("ssh end".to_owned());
            let _ = thread.spawn(move || drop(session));
        }
    }
}

pub(super) async fn connect(
    destination: &str,
    port: Option<u16>,
    config: Option<&Path>,
    sockets: &Path,
    turns: &Turns,
) -> Result<SharedSession, RemoteError> {
    let mut builder = SessionBuilder::default();
    builder
        .known_hosts_check(KnownHosts::Strict)
        .connect_timeout(CONNECT_TIMEOUT)
        .server_alive_interval(ALIVE_INTERVAL)
        .control_persist(ControlPersist::IdleFor(IDLE))
        .control_directory(sockets);
    if let Some(port) = port {
        builder.port(port);
    }
    if let Some(config) = config {
        builder.config_file(config);
    }
    let refused = |reason| RemoteError::Connect {
        host: destination.to_owned(),
        reason,
    };
    let connected = turns.connect(builder, destination.to_owned()).await;
    connected.map_err(|reason| refused(ssh_reason(&reason)))
}

/// OpenSSH explains a changed host key with a banner of ten lines: the last one says it.
fn ssh_reason(text: &str) -> String {
    if text.contains("Host key verification failed") {
        return "host key verification failed: the host is not in known_hosts, or its key changed"
            .to_owned();
    }
    one_line(text)
}
