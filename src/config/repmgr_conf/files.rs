//! The file system as the reader of `include` sees it. The real one is `cli::load`'s.

use std::io;
use std::path::Path;

/// How included files are read.
pub trait Files {
    /// The bytes of a file.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::NotFound`] is what `include_if_exists` passes over.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// The operating system's.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;
}
