//! The SSH session to a host: OpenSSH's own processes do the talking, with the operator's
//! configuration. Opens it, when it is its turn (`handshake`); what is done in it is `shell`'s.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};

use super::{RemoteError, Turns, one_line};

/// Covers TCP and banner (OpenSSH's `ConnectTimeout`, whole seconds).
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// OpenSSH gives up after three of these without an answer.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A master that nobody uses any more ends by itself, also when this process was killed.
const IDLE: NonZeroUsize = NonZeroUsize::new(120).expect("120 is not zero");

pub(super) async fn connect(
    destination: &str,
    port: Option<u16>,
    config: Option<&Path>,
    sockets: &Path,
    turns: &Turns,
) -> Result<Session, RemoteError> {
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
