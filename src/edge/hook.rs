//! Runs the operator's notification command, as repmgr does, but never longer than it may.
//!
//! Touches processes only. What the shell is given is decided in
//! [`crate::core::event::hook_script`]; whether a failure matters is decided by the caller.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long a command that was asked to end may take to do so.
const TERMINATION_GRACE: Duration = Duration::from_secs(2);
/// A killed process is gone at once, unless the kernel itself hangs, as with a lost network disk.
const KILL_GRACE: Duration = Duration::from_millis(500);
/// How often is looked whether it has ended; the kernel tells only about the shell itself.
const TERMINATION_POLL: Duration = Duration::from_millis(20);

/// How a command ended, and after what time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookEnd {
    /// How it ended.
    pub status: HookStatus,
    /// From its start to its end.
    pub elapsed: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookStatus {
    /// By itself; 0 means success.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// By a signal that is not ours.
    Signalled {
        /// The number of the signal.
        signal: i32,
    },
    /// It took too long and was ended, with everything it had started in its process group.
    TimedOut,
}

/// The command could not be run, so nothing is known about its outcome.
#[derive(Debug, thiserror::Error)]
pub enum HookRunError {
    /// No process could be made.
    #[error("starting `/bin/sh` for the notification command failed")]
    Spawn {
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Its end could not be waited for.
    #[error("waiting for the notification command failed")]
    Wait {
        /// The operating system's reason.
        source: std::io::Error,
    },
}

/// Runs `script` with `/bin/sh -c`, and ends it when it takes longer than `timeout`.
///
/// Environment, working directory and standard error are ours; standard input and output are
/// `/dev/null`. The command is the leader of a process group. After `timeout` the group gets
/// SIGTERM and, if any of it is left 2 seconds later, SIGKILL. What a command that ended by itself
/// left behind is left alone, and a process that has left the group is not reached. Dropping the
/// future kills the group at once.
///
/// # Errors
/// When the shell cannot be started or waited for; a time-out is an outcome.
pub async fn run(script: &str, timeout: Duration) -> Result<HookEnd, HookRunError> {
    let started = Instant::now();
    let mut child = Command::new("/bin/sh")
        .args(["-c", "--", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| HookRunError::Spawn { source })?;
    let mut group = Group::of(&child);
    let status = match tokio::time::timeout(timeout, child.wait()).await {
        Ok(ended) => status(ended.map_err(|source| HookRunError::Wait { source })?),
        Err(_elapsed) => {
            end(&group, &mut child).await?;
            HookStatus::TimedOut
        }
    };
    group.leader = None;
    Ok(HookEnd {
        status,
        elapsed: started.elapsed(),
    })
}

/// The process group of a command; whatever is left of it is killed when this is dropped.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            leader: id.and_then(Pid::from_raw),
        }
    }

    /// Sends a signal; that nobody is left to get it is no failure.
    fn signal(&self, signal: Signal) {
        let Some(leader) = self.leader else { return };
        match kill_process_group(leader, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::warn!(
                group = leader.as_raw_nonzero().get(),
                %error,
                "signalling the notification command failed"
            ),
        }
    }

    fn is_empty(&self) -> bool {
        self.leader
            .is_none_or(|leader| test_kill_process_group(leader).is_err())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Ends a group, first kindly. The shell is reaped meanwhile; its group's number stays taken as
/// long as any process is in the group, so no stranger is signalled.
async fn end(group: &Group, child: &mut Child) -> Result<(), HookRunError> {
    group.signal(Signal::TERM);
    let ended = async {
        let reaped = child.wait().await;
        while !group.is_empty() {
            tokio::time::sleep(TERMINATION_POLL).await;
        }
        reaped
    };
    let reaped = match tokio::time::timeout(TERMINATION_GRACE, ended).await {
        Ok(reaped) => reaped,
        Err(_elapsed) => {
            group.signal(Signal::KILL);
            let Ok(reaped) = tokio::time::timeout(KILL_GRACE, child.wait()).await else {
                tracing::warn!("the notification command hangs in the kernel and cannot be killed");
                return Ok(());
            };
            reaped
        }
    };
    reaped
        .map(drop)
        .map_err(|source| HookRunError::Wait { source })
}

fn status(ended: ExitStatus) -> HookStatus {
    match (ended.code(), ended.signal()) {
        (Some(code), _) => HookStatus::Exited { code },
        // A process that has ended and has no exit code was ended by a signal.
        (None, signal) => HookStatus::Signalled {
            signal: signal.unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const PLENTY: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_exit_code_is_reported() {
        for code in [0, 1, 127, 255] {
            let end = run(&format!("exit {code}"), PLENTY).await.expect("a shell");
            assert_eq!(end.status, HookStatus::Exited { code });
            assert!(end.elapsed < PLENTY);
        }
    }

    #[tokio::test]
    async fn a_signal_is_reported() {
        let end = run("kill -USR1 $$", PLENTY).await.expect("a shell");
        assert_eq!(
            end.status,
            HookStatus::Signalled {
                signal: Signal::USR1.as_raw()
            }
        );
    }

    #[tokio::test]
    async fn a_script_that_begins_with_a_dash_is_no_option() {
        let end = run("-no-such-command", PLENTY).await.expect("a shell");
        assert_eq!(end.status, HookStatus::Exited { code: 127 });
    }

    #[tokio::test]
    async fn a_script_that_is_too_long_for_an_argument_is_an_error() {
        let script = format!("true {}", "x".repeat(1 << 20));
        let error = run(&script, PLENTY)
            .await
            .expect_err("no such argument is possible");
        assert!(matches!(error, HookRunError::Spawn { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn input_and_output_are_empty_and_the_group_is_its_own() {
        let script = "read x && exit 3; [ /proc/self/fd/1 -ef /dev/null ] || exit 4; \
                      set -- $(cat /proc/$$/stat); [ \"$5\" = $$ ] || exit 5";
        let end = run(script, PLENTY).await.expect("a shell");
        assert_eq!(end.status, HookStatus::Exited { code: 0 });
    }

    #[tokio::test]
    async fn a_time_out_ends_the_grandchildren_too() {
        let pids = Pids::new();
        let script = format!(
            "sh -c 'sleep 60 & echo $! > {}; wait'; true",
            pids.file.display()
        );
        let end = run(&script, Duration::from_millis(500))
            .await
            .expect("a shell");
        assert_eq!(end.status, HookStatus::TimedOut);
        assert!(
            end.elapsed < Duration::from_millis(3500),
            "{:?}",
            end.elapsed
        );
        pids.assert_gone().await;
    }

    #[tokio::test]
    async fn a_command_that_ignores_the_request_to_end_is_killed() {
        let pids = Pids::new();
        let script = format!(
            "trap '' TERM; sleep 60 & echo $! > {}; while :; do sleep 60; done",
            pids.file.display()
        );
        let end = run(&script, Duration::from_millis(500))
            .await
            .expect("a shell");
        assert_eq!(end.status, HookStatus::TimedOut);
        assert!(end.elapsed >= TERMINATION_GRACE);
        assert!(
            end.elapsed < Duration::from_millis(3500),
            "{:?}",
            end.elapsed
        );
        pids.assert_gone().await;
    }

    #[tokio::test]
    async fn a_grandchild_that_outlives_the_shell_is_killed() {
        let pids = Pids::new();
        let script = format!(
            "(trap '' TERM; sleep 60; sleep 60) & echo $! > {}; sleep 60",
            pids.file.display()
        );
        let end = run(&script, Duration::from_millis(500))
            .await
            .expect("a shell");
        assert_eq!(end.status, HookStatus::TimedOut);
        pids.assert_gone().await;
    }

    #[tokio::test]
    async fn what_a_command_left_behind_on_purpose_is_left_alone() {
        let pids = Pids::new();
        let script = format!("sleep 20 & echo $! > {}", pids.file.display());
        let end = run(&script, PLENTY).await.expect("a shell");
        assert_eq!(end.status, HookStatus::Exited { code: 0 });
        let pid = pids.pid().await;
        assert!(!is_gone(pid));
        rustix::process::kill_process(pid, Signal::KILL).expect("it is ours");
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_group() {
        let pids = Pids::new();
        let script = format!("sleep 60 & echo $! > {}; wait", pids.file.display());
        let running = run(&script, PLENTY);
        tokio::select! {
            end = running => panic!("it ended by itself: {end:?}"),
            _ = pids.pid() => {}
        }
        pids.assert_gone().await;
    }

    /// A file into which a script writes the number of a process.
    struct Pids {
        _directory: tempfile::TempDir,
        file: PathBuf,
    }

    impl Pids {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a temporary directory");
            Self {
                file: directory.path().join("pid"),
                _directory: directory,
            }
        }

        async fn pid(&self) -> Pid {
            wait_for(|| {
                let text = std::fs::read_to_string(&self.file).ok()?;
                Pid::from_raw(text.strip_suffix('\n')?.parse().ok()?)
            })
            .await
        }

        async fn assert_gone(&self) {
            let pid = self.pid().await;
            wait_for(|| is_gone(pid).then_some(())).await;
        }
    }

    /// Whether a process has ended; one that nobody has reaped yet has.
    fn is_gone(pid: Pid) -> bool {
        let stat = Path::new("/proc")
            .join(pid.as_raw_nonzero().to_string())
            .join("stat");
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .map(|(_, state)| state.starts_with('Z'));
        state.unwrap_or(true)
    }

    async fn wait_for<T>(mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(Instant::now() < deadline, "the condition was never met");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
