//! Edits of a managed file by others: noticed, and told once.
//!
//! Keeps the file as it was when it was ours, to say what differs since. Writes nothing; what
//! becomes of the edits is [`super::planning`]'s.

use crate::core::pooler::{Content, FileState};
use crate::render::difference;

/// What is known of the edits of one file.
#[derive(Debug, Default)]
pub struct Edits {
    /// The file as it was last seen as we wrote it, since this process runs.
    ours: Option<Content>,
    /// The edited file that was told of: its hash, and what changed in it, where that is known.
    told: Option<(String, Option<String>)>,
}

impl Edits {
    /// Takes what was read of the file. Gives what to tell when somebody edited it, once for each
    /// edited file.
    pub fn seen(&mut self, file: &FileState) -> Option<String> {
        if file.untouched != Some(false) {
            self.told = None;
            if file.untouched == Some(true) {
                self.ours.clone_from(&file.content);
            }
            return None;
        }
        if self
            .told
            .as_ref()
            .is_some_and(|(hash, _)| *hash == file.hash)
        {
            return None;
        }
        let ours = self.ours.as_ref().zip(file.content.as_ref());
        let what = ours.map(|(before, now)| difference::changes(&before.0, &now.0));
        self.told = Some((file.hash.clone(), what.clone()));
        let unknown = "what changed is not known, because this process has not seen it before";
        Some(what.unwrap_or_else(|| unknown.to_owned()))
    }

    /// What changed in the file, if that is known and it is an edited one.
    #[must_use]
    pub fn of(&self, file: &FileState) -> Option<&str> {
        let told = self.told.as_ref();
        let told = told.filter(|(hash, _)| *hash == file.hash && file.untouched == Some(false));
        told?.1.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeId;
    use crate::generation::Generation;
    use crate::render::header;

    fn file(content: &[u8]) -> FileState {
        let header = header::read(content);
        FileState {
            generation: Generation::NONE,
            active: None,
            hash: header::hash(content),
            untouched: header.map(|(_, untouched)| untouched),
            content: Some(Content(content.into())),
            entries: None,
            operation: None,
        }
    }

    #[test]
    fn an_edit_is_told_once_with_what_changed() {
        let ours = header::with_header(Generation::NONE, NodeId(1), NodeId(1), "[databases]\n");
        let edited = [ours.as_slice(), b"b = host=x password=hunter2\n"].concat();
        let mut edits = Edits::default();
        assert_eq!(edits.seen(&file(b"[databases]\n")), None);
        let unknown = "what changed is not known, because this process has not seen it before";
        assert_eq!(edits.seen(&file(&edited)).as_deref(), Some(unknown));
        assert_eq!(edits.seen(&file(&ours)), None);
        let added = "added `b = host=x password=…`";
        assert_eq!(edits.seen(&file(&edited)).as_deref(), Some(added));
        assert_eq!(edits.seen(&file(&edited)), None);
        assert_eq!(edits.of(&file(&edited)), Some(added));
        let again = [ours.as_slice(), b"; x\n"].concat();
        assert_eq!(edits.of(&file(&again)), None);
        assert_eq!(edits.seen(&file(&again)).as_deref(), Some("added `; …`"));
        assert_eq!(edits.of(&file(&ours)), None);
    }
}
