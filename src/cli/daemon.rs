//! `repoint daemon`, the process: options, signals, log, PID file, and which configuration the
//! agent ([`crate::agent::daemon`]) runs with.
//!
//! A configuration that is read again, or a row of `repmgr.nodes` that has changed, ends one agent
//! and starts the next; what cannot be used never ends anything once an agent runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use tokio::sync::oneshot;

use self::peers::{Found, Peering};
use self::signals::{Signal, Signals};
use super::log::DaemonLog;
use super::{load, print};
use crate::agent::daemon::{self, Ending};
use crate::agent::membership;
use crate::agent::planning::Planner;
use crate::agent::sockets::SocketDirectory;
use crate::config::{Config, Peers};
use crate::edge::descriptors;
use crate::edge::pid_file::PidFile;

mod arguments;
mod peers;
mod signals;

pub(super) use arguments::Arguments;

/// A configuration that was read, with what was prepared from it.
type Loaded = (Config, BTreeMap<String, Planner>);

struct Process {
    path: PathBuf,
    arguments: Arguments,
    log: DaemonLog,
    pid_file: Option<PidFile>,
    signals: Signals,
    peering: Peering,
    /// systemd was told that this process is ready.
    told_ready: bool,
    /// No agent has run yet: the next one is the start of this daemon.
    first: bool,
}

/// Why an agent is ended.
enum Next {
    Stop,
    With(Box<Loaded>),
}

pub(super) async fn run(file: Option<&Path>, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.check()?;
    let path = load::find(file)?;
    let loaded = read(&path)?;
    let pid_file = arguments.pid_file(&loaded.0);
    if arguments.show_pid_file {
        if let Some(pid_file) = pid_file {
            print::line(&pid_file.display().to_string());
        }
        return Ok(ExitCode::SUCCESS);
    }
    // First, so that who finds the PID file can send a signal.
    let signals = Signals::new()?;
    let pid_file = pid_file.as_deref().map(PidFile::create).transpose()?;
    let log = DaemonLog::start(&loaded.0.log, arguments.level()).await?;
    let mut process = Process {
        path,
        arguments,
        log,
        pid_file,
        signals,
        peering: Peering::default(),
        told_ready: false,
        first: true,
    };
    let end = process.work(loaded).await;
    if let Err(error) = &end
        && process.log.file.is_some()
    {
        // Standard error, where it is told as well, may be nobody's.
        tracing::error!("{error:#}");
    }
    process.log.end().await;
    end.map(|()| ExitCode::SUCCESS)
}

/// Reads the configuration, and logs what is odd about it.
fn read(path: &Path) -> anyhow::Result<Loaded> {
    let loaded = load::load_active_active(path)?;
    loaded.log();
    Ok((loaded.config, loaded.planners))
}

impl Process {
    /// One agent after the other, until a signal ends it.
    async fn work(&mut self, loaded: Loaded) -> anyhow::Result<()> {
        let mut sockets = Some(sockets(&loaded.0)?);
        let mut loaded = match self.wait_for_peers(loaded).await? {
            Next::With(loaded) => *loaded,
            Next::Stop => return Ok(()),
        };
        loop {
            let directory = match sockets.take() {
                Some(directory) => directory,
                // Whatever became of the directory, the PgBouncers have to be reached.
                None => SocketDirectory::create_or_temporary(&loaded.0.runtime_directory)
                    .context("make a directory for the sockets of ssh")?,
            };
            match self.watch(loaded, &directory).await? {
                Next::With(next) => loaded = *next,
                Next::Stop => break,
            }
        }
        tracing::info!("repoint ends; nothing is left paused by it");
        Ok(())
    }

    /// Runs an agent until it is to be another one.
    async fn watch(&mut self, loaded: Loaded, sockets: &SocketDirectory) -> anyhow::Result<Next> {
        let (config, planners) = loaded;
        self.peering.known(&config);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            config = %self.path.display(),
            node = %config.node_id,
            pgbouncers = config.pgbouncers.len(),
            "repoint starts"
        );
        if config.pgbouncers.is_empty() {
            tracing::warn!(
                "the configuration names no PgBouncer: failures are recorded and told to the hook, \
                 and nothing is redirected"
            );
        }
        make_room(&config);
        for node in config.nodes.values() {
            let (name, conninfo) = (&node.node_name, &node.conninfo);
            tracing::debug!(%conninfo, "node {name:?} (ID: {})", node.node_id);
        }
        self.tell_ready("watching the nodes");
        let (stop, stopped) = oneshot::channel();
        let first = std::mem::replace(&mut self.first, false);
        let mut agent = tokio::spawn({
            let (config, sockets) = (config.clone(), sockets.path().to_owned());
            async move {
                let stopped = async { stopped.await.unwrap_or(Ending::Stop) };
                daemon::run(config, planners, &sockets, first, stopped).await;
            }
        });
        let next = loop {
            let reread = membership::reread_interval(config.monitoring.monitor_interval);
            let signal = tokio::select! {
                end = &mut agent => {
                    end.context("the agent ended by itself")?;
                    return Err(anyhow!("the agent could not be started"));
                }
                signal = self.signals.next() => Some(signal),
                () = tokio::time::sleep(reread), if config.peers == Peers::Registered => None,
            };
            let next = match signal {
                Some(Signal::End) => Some(Next::Stop),
                Some(Signal::Reload) => self.reload().await,
                None => self.reread(&config).await,
            };
            if let Some(next) = next {
                break next;
            }
        };
        let (ending, notice) = match &next {
            Next::Stop => (Ending::Stop, sd_notify::NotifyState::Stopping),
            Next::With(_) => (
                Ending::Reload,
                sd_notify::NotifyState::Status("taking another configuration"),
            ),
        };
        tell_systemd(&[notice]);
        tracing::info!("bringing what is under way to its end");
        let _ = stop.send(ending);
        agent.await.context("the agent ended by itself")?;
        Ok(next)
    }

    /// Until the nodes are known: reads `repmgr.nodes` every monitoring interval.
    async fn wait_for_peers(&mut self, mut loaded: Loaded) -> anyhow::Result<Next> {
        let mut said: Option<(String, Instant)> = None;
        loop {
            let asked = self.find_peers(loaded).await;
            let trouble = match asked {
                Found::Stop => return Ok(self.stop_waiting()),
                Found::All(loaded) => return Ok(Next::With(loaded)),
                Found::Not(trouble, unchanged) => {
                    loaded = *unchanged;
                    trouble
                }
            };
            if trouble.is_final {
                return Err(trouble.into_error());
            }
            let config = &loaded.0;
            let (interval, again) = (
                config.monitoring.monitor_interval,
                config.log.status_interval,
            );
            let due = said.as_ref().is_none_or(|(text, at)| {
                *text != trouble.text || (!again.is_zero() && at.elapsed() >= again)
            });
            if due {
                tracing::warn!(
                    "the other node is not known yet: {trouble}; looking again every {interval:?}"
                );
                said = Some((trouble.text.clone(), Instant::now()));
                self.tell_ready(&format!("waiting: {}", trouble.text));
            }
            let signal = tokio::select! {
                signal = self.signals.next() => signal,
                () = tokio::time::sleep(interval) => continue,
            };
            match signal {
                Signal::End => return Ok(self.stop_waiting()),
                Signal::Reload => {
                    if let Some(new) = self.load_again().await {
                        loaded = new;
                    }
                }
            }
        }
    }

    fn stop_waiting(&self) -> Next {
        tell_systemd(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("repoint ends; nothing was begun");
        Next::Stop
    }

    /// After SIGHUP: the new configuration if it can be used; the agent goes on meanwhile.
    async fn reload(&mut self) -> Option<Next> {
        let loaded = self.load_again().await?;
        match self.find_peers(loaded).await {
            Found::Stop => Some(Next::Stop),
            Found::All(loaded) => Some(Next::With(loaded)),
            Found::Not(trouble, _) => {
                tracing::error!("the configuration is not taken, the old one stays: {trouble}");
                None
            }
        }
    }

    /// The file, with the settings of the process taken from it; the log is opened again whatever
    /// it holds.
    async fn load_again(&mut self) -> Option<Loaded> {
        match read(&self.path) {
            Ok(loaded) => {
                self.log.change(&loaded.0.log).await;
                self.move_pid_file(&loaded.0);
                Some(loaded)
            }
            Err(error) => {
                self.log.reopen().await;
                // One line of the log, however many problems it names.
                let why = format!("{error:#}").replace('\n', " ");
                tracing::error!("the configuration is not taken, the old one stays: {why}");
                None
            }
        }
    }

    fn move_pid_file(&mut self, config: &Config) {
        let wanted = self.arguments.pid_file(config);
        let has = self.pid_file.as_ref().map(PidFile::path);
        if wanted.as_deref() == has {
            return;
        }
        match wanted.as_deref().map(PidFile::create).transpose() {
            Ok(pid_file) => self.pid_file = pid_file,
            Err(error) => tracing::error!("{:#}; the one before stays", anyhow!(error)),
        }
    }

    async fn find_peers(&mut self, loaded: Loaded) -> Found {
        let deadline = Instant::now() + membership::LIMIT;
        tokio::select! {
            biased;
            () = self.signals.end() => Found::Stop,
            found = self.peering.find(loaded, deadline) => found,
        }
    }

    async fn reread(&mut self, config: &Config) -> Option<Next> {
        let deadline = Instant::now() + membership::LIMIT;
        tokio::select! {
            biased;
            () = self.signals.end() => Some(Next::Stop),
            found = self.peering.look_again(config, deadline) => found.map(Next::With),
        }
    }

    fn tell_ready(&mut self, status: &str) {
        let waits = status.starts_with("waiting");
        match std::mem::replace(&mut self.told_ready, true) {
            false if waits => tell_systemd(&[
                sd_notify::NotifyState::Ready,
                sd_notify::NotifyState::Status(status),
            ]),
            false => tell_systemd(&[sd_notify::NotifyState::Ready]),
            true => tell_systemd(&[sd_notify::NotifyState::Status(status)]),
        }
    }
}

/// Every PgBouncer has sessions of its own, and during a redirect more of them.
fn make_room(config: &Config) {
    let pgbouncers = config.pgbouncers.values();
    let consoles = pgbouncers.map(|pgbouncer| pgbouncer.consoles.len()).sum();
    let needed = descriptors::needed(config.pgbouncers.len(), consoles);
    let room = descriptors::make_room(needed);
    let (before, now) = (room.before, room.now);
    if room.suffices() {
        tracing::debug!(needed, ?before, ?now, "limit of open files");
    } else {
        tracing::warn!(
            needed,
            limit = now,
            pgbouncers = config.pgbouncers.len(),
            "the limit of open files is too low for all PgBouncers at once: raise its hard limit \
             (systemd: LimitNOFILE)"
        );
    }
}

fn sockets(config: &Config) -> anyhow::Result<SocketDirectory> {
    SocketDirectory::create(&config.runtime_directory).with_context(|| {
        format!(
            "make the runtime directory `{}`",
            config.runtime_directory.display()
        )
    })
}

fn tell_systemd(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = error.to_string(), "systemd is not told");
    }
}
