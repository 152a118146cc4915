//! The file with the daemon's process id, and the lock on it that makes a second daemon refuse.
//!
//! The lock is the truth and ends with its process, however that ends; the number is for people and
//! scripts. Another file is never overwritten: no link is followed, and what holds anything but a
//! number stays as it is.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

/// More than any number has; whatever is longer is another file.
const BYTES_MAX: u64 = 32;
/// A daemon that ends just now takes its file with it; more than a few of them is no coincidence.
const TRIES: u32 = 10;

/// Why there is no PID file.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another daemon holds it.
    #[error("PID file `{path}` is held by a running daemon{}", pid_of(*.pid))]
    Held {
        /// The file.
        path: PathBuf,
        /// What it says.
        pid: Option<u32>,
    },
    /// It is not a file that a daemon wrote.
    #[error("PID file `{path}` {what}; nothing is overwritten")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// It cannot be made.
    #[error("make the PID file `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
}

fn pid_of(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default()
}

/// A PID file of this process; it is removed when this is dropped, if it is still the same one.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Makes or takes over the file, and locks it.
    ///
    /// # Errors
    /// [`PidFileError`].
    pub fn create(path: &Path) -> Result<Self, PidFileError> {
        let path = path.to_owned();
        match lock(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(Refusal::Held(pid)) => Err(PidFileError::Held { path, pid }),
            Err(Refusal::Foreign(what)) => Err(PidFileError::Foreign { path, what }),
            Err(Refusal::Io(source)) => Err(PidFileError::Io { path, source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

enum Refusal {
    Held(Option<u32>),
    Foreign(&'static str),
    Io(io::Error),
}

impl<E: Into<io::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

fn lock(path: &Path) -> Result<File, Refusal> {
    for _ in 0..TRIES {
        let mut file = open_without_following(path)?;
        let text = text_of(&mut file)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Refusal::Held(text.trim().parse().ok()));
            }
            Err(error) => return Err(error.into()),
        }
        // Its owner may have removed it between our opening and our locking.
        if !is_at(&file, path)? {
            continue;
        }
        if !text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::Foreign("holds something else"));
        }
        file.set_len(0)?;
        io::Seek::rewind(&mut file)?;
        writeln!(file, "{}", std::process::id())?;
        return Ok(file);
    }
    Err(io::Error::from(io::ErrorKind::ResourceBusy).into())
}

fn open_without_following(path: &Path) -> Result<File, Refusal> {
    // Not waiting for the other end of a pipe, either.
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = match open(path, flags, mode) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(Refusal::Foreign("is a symbolic link")),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Refusal::Foreign("is not a plain file"));
    }
    if metadata.nlink() > 1 {
        return Err(Refusal::Foreign("has a second name"));
    }
    if metadata.len() > BYTES_MAX {
        return Err(Refusal::Foreign("holds something else"));
    }
    Ok(file)
}

fn text_of(file: &mut File) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the file that is open is the one at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("repoint.pid");
        (place, path)
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).expect("text")
    }

    #[test]
    fn it_holds_the_number_of_the_process_and_goes_with_it() {
        let (_place, path) = place();
        let file = PidFile::create(&path).expect("nobody else has it");
        assert_eq!(file.path(), path);
        assert_eq!(text(&path), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_one_is_refused_and_told_who_holds_it() {
        let (_place, path) = place();
        let _held = PidFile::create(&path).expect("nobody else has it");
        let error = PidFile::create(&path).expect_err("it is held").to_string();
        let (path, pid) = (path.display(), std::process::id());
        assert_eq!(
            error,
            format!("PID file `{path}` is held by a running daemon (PID {pid})")
        );
    }

    #[test]
    fn the_file_of_a_process_that_was_killed_is_taken_over() {
        let (_place, path) = place();
        // A process that lives, but holds no lock: the number was given again.
        std::fs::write(&path, "1234567890").expect("a file");
        let _taken = PidFile::create(&path).expect("nobody holds it");
        assert_eq!(text(&path), format!("{}\n", std::process::id()));
    }

    #[test]
    fn nothing_else_is_overwritten() {
        let (place, path) = place();
        let other = place.path().join("other");
        std::fs::write(&other, "1").expect("a file");
        type Make = fn(&Path, &Path) -> io::Result<()>;
        let cases: [(&str, Make); 5] = [
            ("is a symbolic link", |other, path| {
                std::os::unix::fs::symlink(other, path)
            }),
            ("has a second name", |other, path| {
                std::fs::hard_link(other, path)
            }),
            ("holds something else", |_, path| {
                std::fs::write(path, "root:x:0")
            }),
            ("holds something else", |_, path| {
                std::fs::write(path, "1".repeat(100))
            }),
            ("is not a plain file", |_, path| {
                let made = std::process::Command::new("mkfifo").arg(path).status()?;
                assert!(made.success());
                Ok(())
            }),
        ];
        for (what, make) in cases {
            make(&other, &path).expect(what);
            let error = PidFile::create(&path).expect_err(what).to_string();
            assert!(
                error.ends_with(&format!("{what}; nothing is overwritten")),
                "{error}"
            );
            assert_eq!(text(&other), "1");
            std::fs::remove_file(&path).expect("it is still there");
        }
    }

    #[test]
    fn a_file_that_somebody_else_has_put_there_stays() {
        let (_place, path) = place();
        let file = PidFile::create(&path).expect("nobody else has it");
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "4711").expect("a file");
        drop(file);
        assert_eq!(text(&path), "4711");
    }
}
