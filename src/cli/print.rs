//! Standard output, for results: a reader that went away (`| head`) is no error.

use std::io::Write as _;

/// Writes bytes as they are.
pub(super) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Writes a line.
pub(super) fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}
