//! The host of a PgBouncer: its managed file, and a way to its unix sockets.
//!
//! Touches files only through one script (`host.sh`), run by `sh` here or through OpenSSH there, so
//! that a local PgBouncer and a remote one go the same way. Decides nothing: what is staged,
//! activated or rolled back, and when, is `core::sequence`'s; what the file holds is `render`'s.
//!
//! No SFTP: comparing and renaming under a lock needs a command on the host anyway
//! (SFTP cannot compare), so a host that allows none is refused when the session opens.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openssh::{ControlPersist, ForwardType, KnownHosts, Session, SessionBuilder, Socket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::chain;
use crate::config;
use crate::generation::Generation;

mod inspection;

pub use inspection::{Inspection, OperationRecord};

const SCRIPT: &str = include_str!("host.sh");
/// Covers TCP and banner (OpenSSH's `ConnectTimeout`, whole seconds).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The handshake as a whole; longer than [`CONNECT_TIMEOUT`], because a `ssh` that is abandoned
/// while it connects stays behind as a process.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// OpenSSH gives up after three of these without an answer.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A master that nobody uses any more ends by itself, also when this process was killed.
const IDLE: std::num::NonZeroUsize = std::num::NonZeroUsize::new(120).expect("120 is not zero");
/// A question to OpenSSH's own process on this machine.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// One verb of the script. It takes the lock for at most 3 s.
const VERB_TIMEOUT: Duration = Duration::from_secs(6);
/// A PgBouncer configuration is some kilobytes; more than this is not one.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why something on a host could not be done. `Display` names the host or file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No session: refused, timed out, key or host key not accepted. Retrying may help.
    #[error("connect to `{host}` by ssh: {reason}")]
    Connect {
        /// The destination as configured.
        host: String,
        /// OpenSSH's own words, shortened to one line.
        reason: String,
    },
    /// The host lets us in, but runs no command.
    #[error("`{host}` runs no command of ours ({reason}); repoint needs `sh` there")]
    NoCommand {
        /// The destination as configured.
        host: String,
        /// What came instead.
        reason: String,
    },
    /// A newer decision is on the host already.
    #[error("superseded: {0}")]
    Superseded(String),
    /// The file is not the one that was read: someone else wrote it in between.
    #[error("{0}")]
    Changed(String),
    /// The script said no, for another reason.
    #[error("{verb} on `{host}`: {reason}")]
    Failed {
        /// What was attempted.
        verb: &'static str,
        /// The destination as configured.
        host: String,
        /// The script's own words.
        reason: String,
    },
    /// The session broke or stayed silent: it may have been done or not.
    #[error("{verb} on `{host}`: {reason}")]
    Lost {
        /// What was attempted.
        verb: &'static str,
        /// The destination as configured.
        host: String,
        /// What happened.
        reason: String,
    },
}

/// An open way to a host.
#[derive(Debug)]
pub struct RemoteHost {
    name: String,
    file: PathBuf,
    link: Link,
    /// A verb got no answer: nothing more is tried here, because each try would wait as long again.
    lost: AtomicBool,
}

#[derive(Debug)]
enum Link {
    Local,
    Ssh {
        session: Box<Session>,
        sockets: PathBuf,
    },
}

impl RemoteHost {
    /// Opens the way to `host` and to `file` on it. `sockets` is a directory of this process alone.
    ///
    /// # Errors
    /// [`RemoteError::Connect`] and [`RemoteError::NoCommand`].
    pub async fn open(
        host: &config::Host,
        file: &Path,
        sockets: &Path,
    ) -> Result<Self, RemoteError> {
        let (name, link) = match host {
            config::Host::Local => ("local".to_owned(), Link::Local),
            config::Host::Ssh {
                destination,
                port,
                config,
            } => {
                let session = connect(destination, *port, config.as_deref(), sockets).await?;
                let link = Link::Ssh {
                    session: Box::new(session),
                    sockets: sockets.to_owned(),
                };
                (destination.clone(), link)
            }
        };
        let opened = Self {
            name,
            file: file.to_owned(),
            link,
            lost: AtomicBool::new(false),
        };
        opened.prove_that_commands_run().await?;
        Ok(opened)
    }

    /// Whether the session is known to be gone. A session that has only just died still looks
    /// alive.
    pub async fn alive(&self) -> bool {
        if self.lost.load(Ordering::Relaxed) {
            return false;
        }
        match &self.link {
            Link::Local => true,
            // The master process is asked, here; it too may hang.
            Link::Ssh { session, .. } => {
                matches!(timeout(CHECK_TIMEOUT, session.check()).await, Ok(Ok(())))
            }
        }
    }

    /// Reads the file and what is on record about it.
    ///
    /// # Errors
    /// [`RemoteError::Failed`] when the directory is not there, [`RemoteError::Lost`].
    pub async fn inspect(&self) -> Result<Inspection, RemoteError> {
        let output = self.verb("inspect", &[], &[]).await?;
        inspection::parse(&output).ok_or_else(|| RemoteError::NoCommand {
            host: self.name.clone(),
            reason: "the answer is not that of a plain `sh`".to_owned(),
        })
    }

    /// Puts `content` beside the file, with its owner and mode, on disk, and records what will be
    /// owed should we vanish before `lease` is over.
    ///
    /// # Errors
    /// All of [`RemoteError`] but the first two; nothing was put in place.
    pub async fn stage(
        &self,
        token: &str,
        content: &[u8],
        hash: &str,
        lease: Duration,
        debt: &str,
    ) -> Result<(), RemoteError> {
        let lease = lease.as_secs().to_string();
        self.verb("stage", &[token, hash, &lease, debt], content)
            .await
            .map(drop)
    }

    /// Renames the staged file into place, if the file there is the one that was read
    /// (`hash_read`) and not of a newer generation. The old one is kept as `.prev`.
    ///
    /// # Errors
    /// [`RemoteError::Superseded`], [`RemoteError::Changed`]: not done, and someone else did
    /// something. After [`RemoteError::Lost`] it must be read whether it was done.
    pub async fn activate(
        &self,
        token: &str,
        generation: Generation,
        hash_read: &str,
        hash: &str,
    ) -> Result<(), RemoteError> {
        let (number, node_id) = (
            generation.number.to_string(),
            generation.node_id.to_string(),
        );
        self.verb(
            "activate",
            &[token, &number, &node_id, hash_read, hash],
            &[],
        )
        .await
        .map(drop)
    }

    /// Puts the previous file back, if what is there is still exactly what this operation put
    /// there.
    ///
    /// # Errors
    /// As [`RemoteHost::activate`].
    pub async fn rollback(
        &self,
        token: &str,
        generation: Generation,
        hash: &str,
    ) -> Result<(), RemoteError> {
        let (number, node_id) = (
            generation.number.to_string(),
            generation.node_id.to_string(),
        );
        self.verb("rollback", &[token, &number, &node_id, hash], &[])
            .await
            .map(drop)
    }

    /// Replaces what is on record about our operation; does nothing when it is another's.
    ///
    /// # Errors
    /// [`RemoteError::Failed`], [`RemoteError::Lost`].
    pub async fn record(
        &self,
        token: &str,
        lease: Duration,
        debt: &str,
    ) -> Result<(), RemoteError> {
        self.verb("record", &[token, &lease.as_secs().to_string(), debt], &[])
            .await
            .map(drop)
    }

    /// Nothing is owed any more: forgets the operation and its staged file.
    ///
    /// # Errors
    /// [`RemoteError::Failed`], [`RemoteError::Lost`].
    pub async fn settle(&self, token: &str) -> Result<(), RemoteError> {
        self.verb("settle", &[token], &[]).await.map(drop)
    }

    /// A path on this machine that leads to the unix socket `socket` on the host.
    ///
    /// # Errors
    /// [`RemoteError::Failed`] when the session refuses.
    pub async fn socket(&self, socket: &Path) -> Result<PathBuf, RemoteError> {
        let Link::Ssh { session, sockets } = &self.link else {
            return Ok(socket.to_owned());
        };
        let mut name = String::from("s");
        for byte in &sha256(socket.as_os_str().as_encoded_bytes())[..4] {
            name.push_str(&format!("{byte:02x}"));
        }
        let here = sockets.join(name);
        // Left over from a session before this one; OpenSSH refuses to listen on it.
        let _ = tokio::fs::remove_file(&here).await;
        let listen = Socket::UnixSocket {
            path: here.as_path().into(),
        };
        let connect = Socket::UnixSocket {
            path: socket.into(),
        };
        let request = session.request_port_forward(ForwardType::Local, listen, connect);
        let failed = |reason: String| RemoteError::Failed {
            verb: "forward a socket",
            host: self.name.clone(),
            reason,
        };
        match timeout(VERB_TIMEOUT, request).await {
            Ok(Ok(())) => Ok(here),
            Ok(Err(error)) => Err(failed(one_line(&chain(&error)))),
            Err(_) => Err(failed("no answer".to_owned())),
        }
    }

    /// Ends the session; the master process of OpenSSH with it.
    pub async fn close(self) {
        if let Link::Ssh { session, .. } = self.link {
            let _ = timeout(CONNECT_TIMEOUT, session.close()).await;
        }
    }

    async fn prove_that_commands_run(&self) -> Result<(), RemoteError> {
        match self.inspect().await {
            Ok(_) => Ok(()),
            Err(RemoteError::Failed { reason, .. }) if reason.starts_with("no directory for") => {
                Err(RemoteError::Failed {
                    verb: "look",
                    host: self.name.clone(),
                    reason,
                })
            }
            Err(RemoteError::Failed { reason, .. } | RemoteError::NoCommand { reason, .. }) => {
                Err(RemoteError::NoCommand {
                    host: self.name.clone(),
                    reason,
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn verb(
        &self,
        verb: &'static str,
        arguments: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, RemoteError> {
        let lost = |reason: String| {
            self.lost.store(true, Ordering::Relaxed);
            let host = self.name.clone();
            RemoteError::Lost { verb, host, reason }
        };
        if self.lost.load(Ordering::Relaxed) {
            return Err(lost("the session is lost".to_owned()));
        }
        let file = self.file.to_string_lossy();
        let mut words = vec!["-c", SCRIPT, "repoint", verb, file.as_ref()];
        words.extend_from_slice(arguments);
        let run = async {
            match &self.link {
                Link::Local => run_here(&words, input).await,
                Link::Ssh { session, .. } => run_there(session, &words, input).await,
            }
        };
        let end = timeout(VERB_TIMEOUT, run)
            .await
            .map_err(|_| lost("no answer".to_owned()))?;
        let end = end.map_err(|reason| lost(one_line(&reason)))?;
        let reason = one_line(&String::from_utf8_lossy(&end.error));
        match end.status {
            Some(0) => Ok(end.output),
            Some(20) => Err(RemoteError::Superseded(reason)),
            Some(21) => Err(RemoteError::Changed(reason)),
            Some(status) => Err(RemoteError::Failed {
                verb,
                host: self.name.clone(),
                reason: if reason.is_empty() {
                    format!("exit status {status}")
                } else {
                    reason
                },
            }),
            None => Err(lost("ended by a signal".to_owned())),
        }
    }
}

struct End {
    status: Option<i32>,
    output: Vec<u8>,
    error: Vec<u8>,
}

async fn connect(
    destination: &str,
    port: Option<u16>,
    config: Option<&Path>,
    sockets: &Path,
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
    match timeout(HANDSHAKE_TIMEOUT, builder.connect_mux(destination)).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(refused(ssh_reason(&chain(&error)))),
        Err(_) => Err(refused(format!(
            "no session within {} s",
            HANDSHAKE_TIMEOUT.as_secs()
        ))),
    }
}

async fn run_here(words: &[&str], input: &[u8]) -> Result<End, String> {
    let mut child = tokio::process::Command::new("sh")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("run `sh`: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A script that ended early closes its end; its exit status says why.
        let _ = stdin.write_all(input).await;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| error.to_string())?;
    Ok(End {
        status: output.status.code(),
        output: output.stdout,
        error: output.stderr,
    })
}

async fn run_there(session: &Session, words: &[&str], input: &[u8]) -> Result<End, String> {
    let mut command = session.command("sh");
    command.args(words).stdin(openssh::Stdio::piped());
    command
        .stdout(openssh::Stdio::piped())
        .stderr(openssh::Stdio::piped());
    let mut child = command.spawn().await.map_err(|error| chain(&error))?;
    if let Some(mut stdin) = child.stdin().take() {
        let _ = stdin.write_all(input).await;
    }
    let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
    let (mut output, mut error) = (Vec::new(), Vec::new());
    let read_output = async {
        if let Some(stdout) = stdout {
            let _ = stdout.take(FILE_BYTES_MAX).read_to_end(&mut output).await;
        }
    };
    let read_error = async {
        if let Some(stderr) = stderr {
            let _ = stderr.take(FILE_BYTES_MAX).read_to_end(&mut error).await;
        }
    };
    tokio::join!(read_output, read_error);
    match child.wait().await {
        Ok(status) => Ok(End {
            status: status.code(),
            output,
            error,
        }),
        // `sh` itself is missing: exit status 127, which the crate turns into an error.
        Err(openssh::Error::Remote(error)) => Ok(End {
            status: Some(127),
            output,
            error: error.to_string().into_bytes(),
        }),
        Err(error) => Err(chain(&error)),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

/// OpenSSH explains a changed host key with a banner of ten lines: the last one says it.
fn ssh_reason(text: &str) -> String {
    if text.contains("Host key verification failed") {
        return "host key verification failed: the host is not in known_hosts, or its key changed"
            .to_owned();
    }
    one_line(text)
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
