//! The host of a PgBouncer: its managed file, and a way to its unix sockets.
//!
//! Touches files only through one script (`host.sh`), run by one `sh` (`shell`) here or through
//! OpenSSH (`session`) there, so that a local PgBouncer and a remote one go the same way. Decides
//! nothing: what is staged, activated or rolled back, and when, is `core::sequence`'s; what the
//! file holds is `render`'s.
//!
//! No SFTP: comparing and renaming under a lock needs a command on the host anyway
//! (SFTP cannot compare), so a host that allows none is refused when the session opens.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssh::{ForwardType, Socket};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::chain;
use crate::config::{self, NodeId};
use crate::generation::Generation;

mod beside;
mod clock;
mod error;
mod forward;
mod handshake;
mod inspection;
mod ledger;
mod session;
mod shell;
mod sight;
mod switch;

use clock::Clock;
pub use error::RemoteError;
pub use handshake::{AllTurns, Turns};
pub use inspection::{Inspection, OperationRecord};
pub use ledger::KeptLedger;
use session::SharedSession;
use shell::{Answer, Broken, Shell, Start};
pub use sight::LOOK_LIMIT;
pub use switch::{Place, Switch};

/// One verb of the script. It takes the lock for at most 3 s.
const VERB_TIMEOUT: Duration = Duration::from_secs(6);
/// A question that the shell answers by itself.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a file is read that is replaced while it is read.
const INSPECT_TRIES: u32 = 3;

/// What [`RemoteHost::activate`] needs.
#[derive(Debug, Clone, Copy)]
pub struct Activation<'a> {
    /// Names the operation.
    pub token: &'a str,
    /// Whose staged file it is.
    pub writer: NodeId,
    /// Its place in the order of decisions.
    pub generation: Generation,
    /// SHA-256 of the file that was read before, or `absent`.
    pub hash_read: &'a str,
    /// SHA-256 of the staged file.
    pub hash: &'a str,
    /// For how long whoever looks leaves the debt to us.
    pub lease: Duration,
    /// What is owed from now on.
    pub debt: &'a str,
    /// The operation whose place it takes: the one that was read, if there was any.
    pub replaces: Option<&'a str>,
    /// Whether the ledger there has to have accepted the decision; else its place in the order is
    /// compared with what the first line of the file says.
    pub by_ledger: bool,
    /// What undoes it when its time is over, should there be something to undo.
    pub switch: &'a Switch,
}

/// A place on a host where something of ours is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Where it is.
    pub host: config::Host,
    /// The managed file. A witness without a PgBouncer has none: only what is kept beside it.
    pub file: PathBuf,
    /// Whether the file may be written in place where its directory is not writable.
    pub in_place: bool,
    /// As whom commands run there.
    pub sudo: Option<config::SudoUser>,
    /// What looks at a node from there, instead of a forwarded stream.
    pub witness_command: Option<PathBuf>,
}

impl Site {
    /// That of a PgBouncer's file.
    #[must_use]
    pub fn of_pgbouncer(pgbouncer: &config::PgBouncer) -> Self {
        Self {
            host: pgbouncer.host.clone(),
            file: pgbouncer.file.clone(),
            in_place: pgbouncer.in_place,
            sudo: pgbouncer.sudo.clone(),
            witness_command: pgbouncer.witness_command.clone(),
        }
    }

    /// That of a host that only votes.
    #[must_use]
    pub fn of_witness(witness: &config::WitnessHost) -> Self {
        Self {
            host: witness.host.clone(),
            file: witness.directory.join("witness"),
            in_place: false,
            sudo: None,
            witness_command: witness.command.clone(),
        }
    }
}

/// An open way to a host.
#[derive(Debug)]
pub struct RemoteHost {
    name: String,
    /// `None` for this machine.
    ssh: Option<Ssh>,
    /// What looks at a node from there, instead of a forwarded stream.
    witness_command: Option<PathBuf>,
    /// Does one verb at a time. Taken out for as long as a verb is under way, and put back only
    /// with its whole answer: after any other end nothing more is tried here, because nobody knows
    /// what the next answer would be an answer to, and each try would wait as long again.
    shell: Mutex<Option<Shell>>,
    /// What time it was there when the host was looked at last.
    clock: std::sync::Mutex<Clock>,
}

#[derive(Debug)]
struct Ssh {
    session: SharedSession,
    sockets: PathBuf,
    /// Those that this session was asked for.
    forwards: Mutex<BTreeSet<PathBuf>>,
}

impl RemoteHost {
    /// Opens the way to a host and to what is kept there. `sockets` is a directory of this process
    /// alone; `turns` are those of the host.
    ///
    /// # Errors
    /// [`RemoteError::Connect`], [`RemoteError::NoCommand`], [`RemoteError::Sudo`]; that the
    /// directory is not there; [`RemoteError::Lost`].
    pub async fn open(site: &Site, sockets: &Path, turns: &Turns) -> Result<Self, RemoteError> {
        let (name, ssh) = match &site.host {
            config::Host::Local => ("local".to_owned(), None),
            config::Host::Ssh {
                destination,
                port,
                config,
            } => {
                let connect =
                    session::connect(destination, *port, config.as_deref(), sockets, turns);
                let ssh = Ssh {
                    session: connect.await?,
                    sockets: sockets.to_owned(),
                    forwards: Mutex::default(),
                };
                (destination.clone(), Some(ssh))
            }
        };
        let start = Start {
            file: &site.file,
            in_place: site.in_place,
            sudo: site.sudo.as_ref().map(|user| user.0.as_str()),
        };
        let session = ssh.as_ref().map(|ssh| &ssh.session);
        match begin(&name, session, &start).await {
            Ok((shell, clock)) => Ok(Self {
                clock: std::sync::Mutex::new(clock),
                name,
                ssh,
                witness_command: site.witness_command.clone(),
                shell: Mutex::new(Some(shell)),
            }),
            Err(error) => {
                if let Some(ssh) = ssh {
                    ssh.session.close().await;
                }
                Err(error)
            }
        }
    }

    /// Whether the host still answers: the shell there is asked. While a verb is under way, that
    /// verb's own end tells.
    pub async fn alive(&self) -> bool {
        let Ok(mut place) = self.shell.try_lock() else {
            return true;
        };
        let Some(shell) = place.take() else {
            return false;
        };
        let answer = timeout(ALIVE_TIMEOUT, shell.ask("ping", &[], &[], None)).await;
        if let Ok(Ok((shell, _))) = answer {
            *place = Some(shell);
        }
        place.is_some()
    }

    /// Reads the file and what is on record about it.
    ///
    /// # Errors
    /// [`RemoteError::Failed`] when the directory is not there, [`RemoteError::Lost`].
    pub async fn inspect(&self) -> Result<Inspection, RemoteError> {
        for _ in 1..INSPECT_TRIES {
            let inspection = self.look().await?;
            if inspection.is_whole() {
                return Ok(inspection);
            }
        }
        self.look().await
    }

    /// Puts `content` beside the file, with its owner and mode, on disk; `writer` and `hash` name
    /// it. What the same writer had staged before goes, but for what is in `keep`.
    ///
    /// # Errors
    /// All of [`RemoteError`] but the first two; nothing was put in place.
    pub async fn stage(
        &self,
        writer: NodeId,
        content: &[u8],
        hash: &str,
        keep: &[String],
    ) -> Result<(), RemoteError> {
        let writer = writer.to_string();
        let mut arguments = vec![writer.as_str(), hash];
        arguments.extend(keep.iter().map(String::as_str));
        self.verb("stage", &arguments, content).await.map(drop)
    }

    /// Renames the staged file into place, if the file there is the one that was read and not of a
    /// newer generation, with the debt on record. The old one is kept as `.prev`.
    ///
    /// # Errors
    /// [`RemoteError::Superseded`], [`RemoteError::Changed`]: not done, and someone else did
    /// something; so did who is on record, with [`RemoteError::Occupied`].
    /// [`RemoteError::NotStaged`]: not done; it can be staged anew. [`RemoteError::Undecided`]: not
    /// done; it can be learned. After [`RemoteError::Lost`] it must be read whether it was done.
    pub async fn activate(&self, activation: &Activation<'_>) -> Result<(), RemoteError> {
        let generation = activation.generation;
        let (number, node_id) = (
            generation.number.to_string(),
            generation.node_id.to_string(),
        );
        let (writer, lease) = (
            activation.writer.to_string(),
            activation.lease.as_secs().to_string(),
        );
        let mut arguments = vec![
            activation.token,
            &number,
            &node_id,
            activation.hash_read,
            activation.hash,
            &writer,
            &lease,
            activation.debt,
            activation.replaces.unwrap_or(NO_OPERATION),
            if activation.by_ledger {
                "ledger"
            } else {
                "header"
            },
        ];
        arguments.extend(activation.switch.words());
        self.verb("activate", &arguments, &[]).await.map(drop)
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
    pub async fn update(
        &self,
        token: &str,
        lease: Duration,
        debt: &str,
    ) -> Result<(), RemoteError> {
        self.verb("update", &[token, &lease.as_secs().to_string(), debt], &[])
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

    /// A path on this machine that leads to the unix socket `socket` on the host; the same one for
    /// as long as the session is open.
    ///
    /// # Errors
    /// [`RemoteError::Failed`] when the session refuses.
    pub async fn socket(&self, socket: &Path) -> Result<PathBuf, RemoteError> {
        let Some(ssh) = &self.ssh else {
            return Ok(socket.to_owned());
        };
        let mut name = String::from("s");
        for byte in &inspection::sha256(socket.as_os_str().as_encoded_bytes())[..4] {
            name.push_str(&format!("{byte:02x}"));
        }
        let here = ssh.sockets.join(name);
        let mut forwards = ssh.forwards.lock().await;
        if forwards.insert(here.clone()) {
            // Left over from a session before this one; OpenSSH refuses to listen on it. Later it
            // is what this session listens on: OpenSSH says yes to what it has, and makes no other.
            let _ = tokio::fs::remove_file(&here).await;
        }
        drop(forwards);
        let listen = Socket::UnixSocket {
            path: here.as_path().into(),
        };
        let connect = Socket::UnixSocket {
            path: socket.into(),
        };
        let request = ssh
            .session
            .request_port_forward(ForwardType::Local, listen, connect);
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
        // It uses the session.
        drop(self.shell);
        if let Some(ssh) = self.ssh {
            ssh.session.close().await;
        }
    }

    async fn look(&self) -> Result<Inspection, RemoteError> {
        let output = self.verb("inspect", &[], &[]).await?;
        if let (Some(read), Ok(mut clock)) = (Clock::of_inspection(&output), self.clock.lock()) {
            *clock = read;
        }
        inspection::parse(&output).ok_or_else(|| RemoteError::NoCommand {
            host: self.name.clone(),
            reason: NOT_A_SHELL.to_owned(),
        })
    }

    async fn verb(
        &self,
        verb: &'static str,
        arguments: &[&str],
        content: &[u8],
    ) -> Result<Vec<u8>, RemoteError> {
        let failed = |reason: String| {
            let host = self.name.clone();
            RemoteError::Failed { verb, host, reason }
        };
        let lost = |reason: String| {
            let host = self.name.clone();
            RemoteError::Lost { verb, host, reason }
        };
        if arguments.iter().any(|text| text.bytes().any(|b| b < b' ')) {
            return Err(failed("a control character in what is sent".to_owned()));
        }
        let work = async {
            let mut place = self.shell.lock().await;
            let Some(shell) = place.take() else {
                return Err(Broken::Gone("the session is lost".to_owned()));
            };
            let until = self
                .clock
                .lock()
                .ok()
                .map(|clock| clock.after(VERB_TIMEOUT));
            let (shell, answer) = shell.ask(verb, arguments, content, until.as_ref()).await?;
            *place = Some(shell);
            Ok(answer)
        };
        let answer = timeout(VERB_TIMEOUT, work)
            .await
            .unwrap_or(Err(Broken::Silent))
            .map_err(|broken| lost(broken.to_string()))?;
        let reason = one_line(&String::from_utf8_lossy(&answer.error));
        match answer.status {
            0 => Ok(answer.output),
            20 => Err(RemoteError::Superseded(reason)),
            21 => Err(RemoteError::Changed(reason)),
            25 => Err(RemoteError::NotStaged(reason)),
            26 => Err(RemoteError::Occupied(reason)),
            27 => Err(RemoteError::Late(reason)),
            28 => Err(RemoteError::Undecided(reason)),
            // A shell says so of one that was ended by a signal: it may have done it before.
            status if status > 128 => Err(lost(format!("ended by signal {}", status - 128))),
            status if reason.is_empty() => Err(failed(format!("exit status {status}"))),
            _ => Err(failed(reason)),
        }
    }
}

/// What the host is told when nothing is expected to be on record.
pub const NO_OPERATION: &str = "none";
const NOT_A_SHELL: &str = "the answer is not that of a plain `sh`";

/// Starts the shell on a host, and has it look for the first time.
async fn begin(
    name: &str,
    session: Option<&SharedSession>,
    start: &Start<'_>,
) -> Result<(Shell, Clock), RemoteError> {
    let started = timeout(VERB_TIMEOUT, Shell::start(session, start)).await;
    let lost = |reason| RemoteError::Lost {
        verb: "look",
        host: name.to_owned(),
        reason,
    };
    let shell = match started {
        Ok(started) => started.map_err(lost)?,
        Err(_) => return Err(lost("no answer".to_owned())),
    };
    let first = timeout(VERB_TIMEOUT, shell.ask("inspect", &[], &[], None)).await;
    let first = first.unwrap_or(Err(Broken::Silent));
    first_look(name, start.sudo, first)
}

/// Judges the first answer: is there a shell at all, and can it find the file?
fn first_look(
    name: &str,
    sudo: Option<&str>,
    first: Result<(Shell, Answer), Broken>,
) -> Result<(Shell, Clock), RemoteError> {
    let host = name.to_owned();
    let (verb, no_command) = ("look", |reason| RemoteError::NoCommand {
        host: name.to_owned(),
        reason,
    });
    let (shell, answer) = match (first, sudo) {
        (Ok(first), _) => first,
        (Err(Broken::Ended(reason)), None) => return Err(no_command(reason)),
        (Err(Broken::Ended(reason)), Some(user)) => {
            let user = user.to_owned();
            return Err(RemoteError::Sudo { host, user, reason });
        }
        (Err(broken), _) => {
            let reason = broken.to_string();
            return Err(RemoteError::Lost { verb, host, reason });
        }
    };
    if answer.status != 0 {
        let reason = one_line(&String::from_utf8_lossy(&answer.error));
        return Err(RemoteError::Failed { verb, host, reason });
    }
    let clock = Clock::of_inspection(&answer.output);
    match inspection::parse(&answer.output).and(clock) {
        Some(clock) => Ok((shell, clock)),
        None => Err(no_command(NOT_A_SHELL.to_owned())),
    }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(600) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
