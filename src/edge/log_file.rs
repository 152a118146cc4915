//! Where the lines of the daemon's log go: standard error, or a file.
//!
//! A thread of its own writes them, so that a disk, a pipe or a journal that hangs, which may be
//! the very failure that the daemon is there for, never stops the daemon. What a full disk refuses,
//! or what comes while the thread is stuck, is lost and counted. How a line looks is
//! `cli::log`'s.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Lines that wait for a disk that is slow: some megabytes, and more than any incident has.
const QUEUE: usize = 10_000;
/// A file is opened in much less; a disk that hangs must not keep a reload.
const OPEN_LIMIT: Duration = Duration::from_secs(2);
/// What has been said is still to be written when the daemon ends, but not at any price.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The way to the thread.
#[derive(Debug, Clone)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Write there from now on; `None`: standard error.
    Open(Option<PathBuf>, oneshot::Sender<io::Result<()>>),
    Flush(oneshot::Sender<()>),
}

impl LogWriter {
    /// Starts the thread; it writes to standard error until [`LogWriter::open`].
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn start() -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write_all(&messages, &counter))?;
        Ok(Self { queue, lost })
    }

    /// Hands a line over; never waits.
    pub fn line(&self, line: Vec<u8>) {
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes to this file from now on, `None` being standard error: appends, and makes it if it is
    /// absent. Also the way to open it again after it was moved away.
    ///
    /// # Errors
    /// It cannot be opened, or the disk does not answer; the lines go on to where they went.
    pub async fn open(&self, file: Option<&Path>) -> io::Result<()> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Open(file.map(Path::to_owned), answer);
        self.send(message)?;
        let silent = |_| io::Error::from(io::ErrorKind::TimedOut);
        let answer = timeout(OPEN_LIMIT, answered).await.map_err(silent)?;
        answer.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    /// Waits, for a moment at most, until all lines are written.
    pub async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        if self.send(Message::Flush(answer)).is_ok() {
            let _ = timeout(FLUSH_LIMIT, answered).await;
        }
    }

    /// How many lines were lost since this was asked last.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    fn send(&self, message: Message) -> io::Result<()> {
        self.queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => io::ErrorKind::TimedOut.into(),
            TrySendError::Disconnected(_) => io::ErrorKind::BrokenPipe.into(),
        })
    }
}

/// The thread: works until nobody can send any more.
fn write_all(messages: &Receiver<Message>, lost: &AtomicU64) {
    let mut file: Option<File> = None;
    // The last line is there in part, because the disk was full in the middle of it.
    let mut torn = false;
    for message in messages {
        match message {
            Message::Line(line) => {
                let mut whole = std::mem::take(&mut torn).then(|| b"\n".to_vec());
                let whole = match &mut whole {
                    Some(start) => {
                        start.extend(&line);
                        &start[..]
                    }
                    None => &line,
                };
                let written = match &file {
                    Some(file) => write(file, whole),
                    None => write(io::stderr().lock(), whole),
                };
                if written < whole.len() {
                    torn = written > 0 || whole.len() > line.len();
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::Open(path, answer) => {
                let opened = path.as_deref().map(open).transpose();
                let answered = opened.map(|opened| {
                    file = opened;
                    torn = false;
                });
                let _ = answer.send(answered);
            }
            Message::Flush(answer) => {
                let _ = answer.send(());
            }
        }
    }
}

/// How many bytes could be written.
fn write(mut to: impl io::Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = to.flush();
    written
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe that nobody reads is refused, where opening it would wait for a reader.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    }

    #[test]
    fn lines_are_appended_and_go_to_a_new_file_after_the_old_one_was_moved() {
        let place = tempfile::tempdir().expect("a directory");
        let (path, moved) = (place.path().join("log"), place.path().join("log.1"));
        std::fs::write(&path, "before\n").expect("a file");
        runtime().block_on(async {
            let writer = LogWriter::start().expect("a thread");
            writer.open(Some(&path)).await.expect("it opens");
            writer.line(b"one\n".to_vec());
            writer.flush().await;
            std::fs::rename(&path, &moved).expect("it is there");
            writer.line(b"two\n".to_vec());
            writer.open(Some(&path)).await.expect("it opens");
            writer.line(b"three\n".to_vec());
            writer.flush().await;
        });
        let text = |path| std::fs::read_to_string(path).expect("text");
        assert_eq!(text(&moved), "before\none\ntwo\n");
        assert_eq!(text(&path), "three\n");
    }

    #[test]
    fn a_file_that_does_not_open_leaves_the_one_before() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("log");
        runtime().block_on(async {
            let writer = LogWriter::start().expect("a thread");
            writer.open(Some(&path)).await.expect("it opens");
            let absent = place.path().join("absent/log");
            let error = writer.open(Some(&absent)).await.expect_err("no directory");
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            writer.line(b"still\n".to_vec());
            writer.flush().await;
        });
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "still\n");
    }

    #[test]
    fn what_a_full_disk_refuses_is_lost_and_counted() {
        runtime().block_on(async {
            let writer = LogWriter::start().expect("a thread");
            let full = writer.open(Some(Path::new("/dev/full"))).await;
            full.expect("it opens");
            for _ in 0..3 {
                writer.line(b"a line\n".to_vec());
            }
            writer.flush().await;
            assert_eq!((writer.take_lost(), writer.take_lost()), (3, 0));
        });
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_refused_instead_of_waited_for() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        runtime().block_on(async {
            let writer = LogWriter::start().expect("a thread");
            writer.open(Some(&path)).await.expect_err("nobody reads it");
        });
    }
}
