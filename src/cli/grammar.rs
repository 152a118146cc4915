//! repmgr takes options before its command (`repmgr -h node1 -U repmgr cluster show`), clap only
//! behind it: they are moved there.

use std::ffi::OsString;

/// Options that stand before any command here, too.
const OURS: [&str; 6] = ["-f", "--config-file", "-?", "--help", "-V", "--version"];
/// Options whose value is a word of its own, unless it is glued on.
const WITH_VALUE: [&str; 12] = [
    "-f",
    "--config-file",
    "-h",
    "--host",
    "-p",
    "--port",
    "-U",
    "--username",
    "-d",
    "--dbname",
    "-L",
    "--log-level",
];

/// The words of the command line, the program's name included, with repmgr's leading options last.
pub(super) fn options_last(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter().peekable();
    let mut line: Vec<OsString> = words.next().into_iter().collect();
    let mut moved = Vec::new();
    while let Some(option) = words.next_if(|word| word.as_encoded_bytes().starts_with(b"-")) {
        let text = option.to_string_lossy().into_owned();
        let ours = OURS.iter().any(|name| is(&text, name));
        let to = match ours {
            true => &mut line,
            false => &mut moved,
        };
        to.push(option);
        if WITH_VALUE.contains(&text.as_str()) {
            to.extend(words.next());
        }
    }
    line.extend(words);
    line.extend(moved);
    line
}

/// Whether a word is this option: alone, or with its value glued on.
fn is(word: &str, option: &str) -> bool {
    match option.starts_with("--") {
        true => word
            .strip_prefix(option)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('=')),
        false => word.starts_with(option),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_stand_before_the_command_come_behind_it() {
        let table = [
            ("cluster show --csv", "cluster show --csv"),
            ("-f /x.conf cluster show", "-f /x.conf cluster show"),
            (
                "-h n1 -U repmgr -d db cluster show",
                "cluster show -h n1 -U repmgr -d db",
            ),
            (
                "-hn1 --dbname=db -f/x -t cluster event --limit 3",
                "-f/x cluster event --limit 3 -hn1 --dbname=db -t",
            ),
            ("--help", "--help"),
            ("-h", "-h"),
            ("", ""),
        ];
        for (given, expected) in table {
            let words = |text: &str| -> Vec<OsString> {
                let all = ["repoint"].into_iter().chain(text.split_whitespace());
                all.map(OsString::from).collect()
            };
            assert_eq!(options_last(words(given)), words(expected), "{given}");
        }
    }
}
