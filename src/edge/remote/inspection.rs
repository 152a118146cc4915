//! What the host's script says of the managed file.

use std::path::PathBuf;
use std::time::Duration;

/// What is on record about an operation that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRecord {
    /// Whose operation.
    pub token: String,
    /// Whether its time is over: the host's uptime says so, or the host was started anew.
    pub expired: bool,
    /// What is owed, as whoever began it wrote it.
    pub debt: String,
}

/// What was found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The file itself, symbolic links followed.
    pub path: PathBuf,
    /// SHA-256 of the file, or `absent`.
    pub hash: String,
    /// Whether it can be replaced: files can be created in its directory, or the file itself can be
    /// overwritten and the operator allowed that.
    pub writable: bool,
    /// An operation on record.
    pub operation: Option<OperationRecord>,
    /// The file's bytes; `None` when there is none.
    pub content: Option<Vec<u8>>,
}

impl Inspection {
    /// Whether hash and bytes are of one file: it was not replaced while it was read.
    pub(super) fn is_whole(&self) -> bool {
        let Some(content) = &self.content else {
            return true;
        };
        let hash = sha256(content);
        let hash = hash.iter().map(|byte| format!("{byte:02x}"));
        hash.collect::<String>() == self.hash
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

/// Reads the time in the answer of the script's `inspect`: boot, and uptime in whole seconds.
pub(super) fn parse_time(output: &[u8]) -> Option<(String, Duration)> {
    let mut lines = output.split(|byte| *byte == b'\n');
    let mut line = |key| std::str::from_utf8(lines.next()?).ok()?.strip_prefix(key);
    let boot = line("boot ")?.to_owned();
    let uptime = line("uptime ")?.parse().ok()?;
    Some((boot, Duration::from_secs(uptime)))
}

/// Reads the answer of the script's `inspect`; `None`: something else answered.
pub(super) fn parse(output: &[u8]) -> Option<Inspection> {
    let mut rest = output;
    let mut line = |key: &str| -> Option<String> {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (head, tail) = rest.split_at(end);
        rest = &tail[1..];
        std::str::from_utf8(head)
            .ok()?
            .strip_prefix(key)
            .map(|value| value.trim().to_owned())
    };
    let boot = line("boot ")?;
    let uptime: u64 = line("uptime ")?.parse().ok()?;
    let path = PathBuf::from(line("path ")?);
    let hash = line("hash ")?;
    let operation = line("operation")?;
    let writable = line("writable ")? == "yes";
    line("content")?;
    let content = (hash != "absent").then(|| rest.to_vec());
    Some(Inspection {
        path,
        operation: parse_operation(&operation, &boot, uptime),
        writable,
        hash,
        content,
    })
}

fn parse_operation(line: &str, boot: &str, uptime: u64) -> Option<OperationRecord> {
    let mut words = line.splitn(4, ' ');
    let token = words.next().filter(|token| !token.is_empty())?.to_owned();
    let (boot_then, expires) = (words.next()?, words.next()?.parse::<u64>().ok()?);
    let debt = words.next().unwrap_or_default().to_owned();
    Some(OperationRecord {
        token,
        expired: boot_then != boot || uptime >= expires,
        debt,
    })
}
