//! The syntax of repmgr 5, beside a real repmgr: what it calls a syntax error is one here, at the
//! same line and token.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use repoint::config::repmgr_conf::{self, Files};

use crate::fixture::{Home, process};

const DEADLINE: Duration = Duration::from_secs(30);

/// Nobody listens on port 1, so repmgr ends when it has read the file.
const NODE: &str = "\
node_id=1
node_name='node1'
conninfo='host=127.0.0.1 port=1 dbname=x user=y connect_timeout=2'
data_directory='/tmp'
";

const LINES: &[&str] = &[
    "location=a",
    "location a",
    "location = a",
    "\tlocation\t=\ta\t",
    "location=a # b",
    "location='a'#b",
    "# location=a b",
    "location",
    "location=",
    "location= # a",
    "=a",
    "5=a",
    "'location'=a",
    "location==a",
    "location=a b",
    "location=a,b",
    "location=a%b",
    "location=\"a\"",
    "location=a'b'",
    "location='a' 'b'",
    "location='a''b'",
    "location='a''",
    "location=''''",
    "location='it\\'s'",
    "location='a\\'",
    "location='a\\",
    "location='a",
    "location='a\nb'",
    "location=a\nb",
    "location=a-b",
    "location=a.b",
    "location=a.b.c",
    "location=dc.1",
    "location=a:b/c",
    "location=/a",
    "location=-a",
    "location=+",
    "location=+5",
    "location=-5",
    "location=5s",
    "location=5 s",
    "location=0x1F",
    "location=0x",
    "location=0x1g",
    "location=1_2",
    "location=1a2",
    "location=1.2",
    "location=1.2.3",
    "location=10.0.0.1",
    "location=5.",
    "location=.5",
    "location=.",
    "location=1e5",
    "location=1.e5",
    "location=1.5e",
    "location=1.5e+",
    "location=1.5e-3",
    "location=1.5x",
    "location=5e3x",
    "location=é",
    "location=é.é",
    "a.b=c",
    "location=a;",
    "[location]",
    "location=a\r",
];

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn names(&self, _directory: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn syntax_errors(text: &str) -> Vec<String> {
    let found = text.match_indices("syntax error in file");
    let line = |(at, _): (usize, &str)| text[at..].lines().next().map(str::to_owned);
    found.filter_map(line).collect()
}

#[test]
fn what_repmgr_calls_a_syntax_error_is_one_here() {
    let home = Home::create();
    let path: PathBuf = home.path("repmgr.conf");
    // As repmgr 4's dialect there is always more wrong than this.
    let never4 = "include_if_exists '/nowhere'\n".repeat(5);
    let mut differences = Vec::new();
    let mut refused = 0;
    for line in LINES {
        let text = format!("{NODE}{line}\n");
        home.write(&path, &text);
        let mut repmgr = home.command(Path::new("repmgr"));
        repmgr.arg("-f").arg(&path).args(["cluster", "show"]);
        let output = process::run(&mut repmgr, "", DEADLINE);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains("port 1 ") || told.contains("syntax error"),
            "{line}: {told}"
        );
        let theirs = syntax_errors(&told);
        let ours = repmgr_conf::read(&path, format!("{text}{never4}").as_bytes(), &Disk);
        let ours = ours.err().map(|problems| problems.to_string());
        let ours = syntax_errors(&ours.unwrap_or_default());
        refused += usize::from(!theirs.is_empty());
        if ours != theirs {
            differences.push(format!("{line}\n  repmgr {theirs:?}\n  ours   {ours:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(refused > 20, "only {refused} were refused");
}
