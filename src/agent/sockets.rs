//! The directory for the sockets of this process's SSH sessions.

use std::path::{Path, PathBuf};

/// A directory named after this process, removed when dropped.
#[derive(Debug)]
pub struct SocketDirectory {
    path: PathBuf,
}

impl SocketDirectory {
    /// Makes it below `runtime_directory`, and removes those of processes that are gone.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(runtime_directory: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::create_dir_all(runtime_directory)?;
        for entry in std::fs::read_dir(runtime_directory)?.flatten() {
            let name = entry.file_name();
            let pid = name
                .to_str()
                .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let path = runtime_directory.join(std::process::id().to_string());
        let _ = std::fs::remove_dir_all(&path);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    /// The same, or in the directory for temporary files when `runtime_directory` is not ours: for
    /// commands that any user may run.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create_or_temporary(runtime_directory: &Path) -> std::io::Result<Self> {
        Self::create(runtime_directory).or_else(|_| {
            use std::os::unix::fs::DirBuilderExt as _;
            let name = format!("repoint-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            // Not there already: someone else could have made it.
            std::fs::DirBuilder::new().mode(0o700).create(&path)?;
            Ok(Self { path })
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
