//! What differs between two files, without what could be a secret in them.
//!
//! It decides which lines are shown, and how. Lines are compared as they are, and shown masked
//! ([`super::ini::masked`]): a password that changed shows as a line that changed.

use similar::{ChangeTag, TextDiff};

use super::header;
use super::ini::masked;

/// How many changed lines are told in a sentence, and how much of each.
const CHANGES_MAX: usize = 6;
const CHARACTERS_MAX: usize = 120;

/// The difference as `diff -u` shows it.
#[must_use]
pub fn unified(before: &[u8], after: &[u8], names: (&str, &str)) -> String {
    let (before, after) = (Lines::of(before), Lines::of(after));
    let diff = TextDiff::from_slices(&before.as_they_are(), &after.as_they_are());
    let mut unified = String::new();
    for hunk in diff.unified_diff().iter_hunks() {
        if unified.is_empty() {
            unified = format!("--- {}\n+++ {}\n", names.0, names.1);
        }
        unified.push_str(&format!("{}\n", hunk.header()));
        for change in hunk.iter_changes() {
            let line = match change.tag() {
                ChangeTag::Equal | ChangeTag::Delete => before.shown(change.old_index()),
                ChangeTag::Insert => after.shown(change.new_index()),
            };
            unified.push_str(&format!("{}{line}\n", change.tag()));
            if !change.value().ends_with('\n') {
                unified.push_str("\\ No newline at end of file\n");
            }
        }
    }
    unified
}

/// The lines that somebody added or removed, as a sentence goes on; lines of our own do not count.
#[must_use]
pub fn changes(before: &[u8], after: &[u8]) -> String {
    let (before, after) = (
        Lines::of(&header::body(before)),
        Lines::of(&header::body(after)),
    );
    let diff = TextDiff::from_slices(&before.as_they_are(), &after.as_they_are());
    let mut told = Vec::new();
    for change in diff.iter_all_changes() {
        let (what, line) = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => ("removed", before.shown(change.old_index())),
            ChangeTag::Insert => ("added", after.shown(change.new_index())),
        };
        told.push(format!("{what} `{}`", short(line.trim())));
    }
    let more = told.len().saturating_sub(CHANGES_MAX);
    told.truncate(CHANGES_MAX);
    if more > 0 {
        told.push(format!("and {more} lines more"));
    }
    told.join(", ")
}

/// A file twice: as it is, to be compared, and as it is shown.
struct Lines {
    text: String,
    shown: String,
}

impl Lines {
    fn of(file: &[u8]) -> Self {
        let text = String::from_utf8_lossy(file).into_owned();
        let shown = masked(&text);
        Self { text, shown }
    }

    fn as_they_are(&self) -> Vec<&str> {
        self.text.split_inclusive('\n').collect()
    }

    fn shown(&self, index: Option<usize>) -> &str {
        let line = index.and_then(|index| self.shown.split_inclusive('\n').nth(index));
        line.unwrap_or_default().trim_end_matches(['\r', '\n'])
    }
}

/// As much of a line as fits, without anything that could begin another one.
fn short(line: &str) -> String {
    let mut short = String::new();
    for (count, c) in line.chars().enumerate() {
        match c {
            _ if count == CHARACTERS_MAX => return format!("{short}…"),
            c if c.is_control() => short.extend(c.escape_debug()),
            c => short.push(c),
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "[databases]\n\
        app = host=a port=1 password=hunter2\n\
        ; remember: hunter3\n\
        b = host=c\n";

    #[test]
    fn a_difference_shows_lines_and_no_secrets() {
        let after = BEFORE
            .replace("host=a", "host=b")
            .replace("hunter3", "hunter4")
            .trim_end()
            .to_owned();
        assert_eq!(
            unified(BEFORE.as_bytes(), after.as_bytes(), ("x now", "x then")),
            "--- x now\n+++ x then\n@@ -1,4 +1,4 @@\n [databases]\n\
             -app = host=a port=1 password=…\n-; …\n-b = host=c\n\
             +app = host=b port=1 password=…\n+; …\n+b = host=c\n\\ No newline at end of file\n"
        );
        assert_eq!(unified(b"x", b"x", ("a", "b")), "");
    }

    #[test]
    fn changes_are_told_in_one_line_and_not_without_end() {
        let line = |header: &str, body: &str| format!("{header}{body}");
        let header = ";repoint v1 generation=1.1 active=1 writer=1 sha256=x\n";
        let before = line(header, BEFORE);
        let after = line("", &BEFORE.replace("hunter2", "hunter4"));
        assert_eq!(
            changes(before.as_bytes(), after.as_bytes()),
            "removed `app = host=a port=1 password=…`, added `app = host=a port=1 password=…`"
        );
        assert_eq!(
            changes(b"[databases]\na = host='b'\tport=1", b""),
            "removed `[databases]`, removed `a = host='b'\\tport=1`"
        );
        let many = "a = b\n".repeat(20) + &"x".repeat(200);
        let told = changes(b"", many.as_bytes());
        assert!(told.ends_with(", and 15 lines more"), "{told}");
        assert!(!told.contains('\n'));
        assert_eq!(changes(before.as_bytes(), before.as_bytes()), "");
    }
}
