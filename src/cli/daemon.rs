//! `repoint daemon`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::load;
use crate::agent::daemon;
use crate::agent::sockets::SocketDirectory;

enum Ended {
    Stop,
    Reload,
}

pub(super) async fn run(file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let path = load::find(file)?;
    let mut loaded = load::load_active_active(&path)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut next;
    loop {
        loaded.log();
        let (config, planners) = (loaded.config, loaded.planners);
        let sockets = SocketDirectory::create(&config.runtime_directory).with_context(|| {
            format!(
                "make the runtime directory `{}`",
                config.runtime_directory.display()
            )
        })?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            config = %path.display(),
            node = %config.node_id,
            pgbouncers = config.pgbouncers.len(),
            "repoint starts"
        );
        tell_systemd(&[sd_notify::NotifyState::Ready]);
        let (stop, stopped) = oneshot::channel::<()>();
        let agent = daemon::run(config, planners, sockets.path(), async {
            let _ = stopped.await;
        });
        tokio::pin!(agent);
        next = None;
        let ended = loop {
            let ended = tokio::select! {
                () = &mut agent => break Ended::Stop,
                _ = terminate.recv() => Ended::Stop,
                _ = interrupt.recv() => Ended::Stop,
                _ = hangup.recv() => Ended::Reload,
            };
            match ended {
                Ended::Stop => break ended,
                Ended::Reload => match load::load_active_active(&path) {
                    Ok(new) => {
                        next = Some(new);
                        break ended;
                    }
                    Err(error) => {
                        // One line of the log, however many problems it names.
                        let why = format!("{error:#}").replace('\n', " ");
                        tracing::error!("the configuration is not taken, the old one stays: {why}");
                    }
                },
            }
        };
        let notice = match ended {
            Ended::Stop => sd_notify::NotifyState::Stopping,
            Ended::Reload => sd_notify::NotifyState::Status("reading the configuration again"),
        };
        tell_systemd(&[notice]);
        tracing::info!("bringing what is under way to its end");
        let _ = stop.send(());
        agent.await;
        match next {
            Some(new) => loaded = new,
            None => break,
        }
    }
    tracing::info!("repoint ends; nothing is left paused by it");
    Ok(ExitCode::SUCCESS)
}

fn tell_systemd(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = error.to_string(), "systemd is not told");
    }
}
