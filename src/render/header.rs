//! The one comment line of ours that a managed file begins with.
//!
//! It tells which decision the file belongs to, who wrote it, and whether someone has edited it
//! since. Put there by `repoint`, never by a template. The host's script reads the generation from
//! it (`edge/host.sh`); both must agree on the form.

use sha2::Digest as _;

use crate::config::NodeId;
use crate::generation::Generation;

const BEGIN: &str = ";repoint v1 ";

/// What the line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The decision that the file belongs to.
    pub generation: Generation,
    /// The node that traffic goes to.
    pub active: NodeId,
    /// The node whose agent, or whose `notify`, wrote it.
    pub writer: NodeId,
    /// SHA-256 of all that follows the line.
    pub hash: String,
}

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole file: the line, then `body`.
#[must_use]
pub fn with_header(
    generation: Generation,
    active: NodeId,
    writer: NodeId,
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = body.as_ref();
    let hash = hash(body);
    let line =
        format!("{BEGIN}generation={generation} active={active} writer={writer} sha256={hash}\n");
    [line.as_bytes(), body].concat()
}

/// Reads the line, and whether what follows is what it was written for. `None`: not a file of ours,
/// or of a format that this version does not know. A line that is not the first any more still
/// tells whose file it was: somebody wrote something above it.
#[must_use]
pub fn read(file: &[u8]) -> Option<(Header, bool)> {
    let mut above = 0;
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let header = line.strip_suffix(b"\n").and_then(parse);
        let below = above + line.len();
        if let Some(header) = header {
            let untouched = above == 0 && header.hash == hash(&file[below..]);
            return Some((header, untouched));
        }
        above = below;
    }
    None
}

/// What is not ours: the file without the line, wherever it is.
#[must_use]
pub fn body(file: &[u8]) -> Vec<u8> {
    let lines = file.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| !is_ours(line))
        .collect::<Vec<_>>()
        .concat()
}

/// Whether it is a line of ours, of this format or of another one.
#[must_use]
pub fn is_ours(line: &[u8]) -> bool {
    const ANY_FORMAT: &[u8] = b";repoint v";
    let generation = b" generation=";
    line.starts_with(ANY_FORMAT)
        && line
            .windows(generation.len())
            .any(|part| part == generation)
}

fn parse(line: &[u8]) -> Option<Header> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix(BEGIN)?;
    let value = |key: &str| {
        line.split(' ')
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    let node = |key: &str| value(key)?.parse().ok().map(NodeId);
    Some(Header {
        generation: Generation::parse(value("generation")?)?,
        active: node("active")?,
        writer: node("writer")?,
        hash: value("sha256")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATION: Generation = Generation {
        number: 7,
        node_id: NodeId(1),
    };

    #[test]
    fn the_line_is_a_comment_that_tells_generation_node_writer_and_hash() {
        let file = with_header(GENERATION, NodeId(1), NodeId(2), "[databases]\n");
        let text = String::from_utf8(file.clone()).unwrap();
        assert_eq!(
            text,
            ";repoint v1 generation=7.1 active=1 writer=2 \
             sha256=fe4a9fc4c7f0a5ebd3f4d4d9fd4a1cbc42b0b6d6bd0a9b76d5e0ba1b3c1bd7e0\n[databases]\n"
                .replace(
                    "fe4a9fc4c7f0a5ebd3f4d4d9fd4a1cbc42b0b6d6bd0a9b76d5e0ba1b3c1bd7e0",
                    &hash(b"[databases]\n")
                )
        );
        let (header, untouched) = read(&file).unwrap();
        assert_eq!(
            (header.generation, header.active, header.writer),
            (GENERATION, NodeId(1), NodeId(2))
        );
        assert!(untouched);
    }

    #[test]
    fn an_edit_below_the_line_is_noticed() {
        let mut file = with_header(GENERATION, NodeId(1), NodeId(1), "[databases]\n");
        file.extend(b"; edited\n");
        assert!(!read(&file).unwrap().1);
    }

    #[test]
    fn a_line_with_something_above_it_is_still_found_and_is_no_part_of_the_body() {
        let ours = with_header(GENERATION, NodeId(1), NodeId(1), "[databases]\n");
        let file = [b"; \xfc above\n".as_slice(), &ours, b"; below"].concat();
        let (header, untouched) = read(&file).unwrap();
        assert_eq!((header.generation, untouched), (GENERATION, false));
        assert_eq!(body(&file), b"; \xfc above\n[databases]\n; below");
        assert_eq!(body(b";repoint v1 of mine\n"), b";repoint v1 of mine\n");
        assert_eq!(body(b";repoint v2 generation=1.1 x=y\r\nz"), b"z");
    }

    #[test]
    fn a_file_without_the_line_or_of_another_format_is_not_ours() {
        for text in [
            "",
            "[databases]\n",
            "; repoint v1 generation=1.1\n",
            ";repoint v2 generation=1.1\n",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
