//! Our reading of connection strings beside libpq's own, `PQconninfoParse`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use repoint::conninfo::{Conninfo, ParseError};

use crate::fixture::process;

#[path = "../../src/conninfo/tests/table.rs"]
mod table;

const DEADLINE: Duration = Duration::from_secs(30);

/// Further strings that no unit test needs.
const FURTHER: &[&str] = &[
    "host=a host = b host  =  c",
    "port='5432'user=u",
    r"password='\\\''",
    r"password=\\\'\ x",
    r"dbname=\=",
    "host='a",
    r"host='a\'",
    "host='a''b'",
    "==",
    "host==a",
    "'host'=a",
    "host=a,",
    "host=a b=c",
    "host=a #comment=b",
    "password='a=b c=d' dbname=e",
    "sslmode=verify-full sslrootcert=system",
    "connect_timeout=abc",
    "tcp_user_timeout=5000 keepalives=0",
    "service=x passfile=/y",
    "options='-c search_path=a\\\\,b'",
    "application_name='%s %n'",
    "replication=database",
    "Postgresql://a",
    "postgresql:/a",
    "postgresql//a",
    " postgresql://a",
    "postgres://u:p@h:1,i:2,[::1]:3/d?connect_timeout=2&application_name=x",
    "postgresql://u@h/d?password=p%20q",
    "postgresql://u:%70%40ss@h",
    "postgresql://%5B::1%5D",
    "postgresql://[::1",
    "postgresql://[::1]5",
    "postgresql://h:1:2",
    "postgresql://h?=x",
    "postgresql://h?&port=1",
    "postgresql://h?port",
    "postgresql://h?port=1&",
    "postgresql://h?host=x&host=y",
    "postgresql://h/d#x",
    "postgresql://h/d?sslmode=require&ssl=true",
    "postgresql://h/%",
    "postgresql://h/%2",
    "postgresql://h/%2G",
    "postgresql://h/?ssl=false",
    "postgresql:///?host=/tmp&port=1",
    "postgresql://:5433/d",
    "postgresql://u:p@/d",
    "postgresql://@/",
    "postgresql://?",
    "postgresql://a@b@c/d",
];

/// Compiles the little client of libpq.
fn compiled(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/conninfo.c");
    let program = directory.join("conninfo");
    let flags = |option: &str| {
        let mut command = Command::new("pg_config");
        process::run_well(command.arg(option), "", DEADLINE)
            .trim()
            .to_owned()
    };
    let mut command = Command::new("cc");
    command.arg("-o").arg(&program).arg(source);
    command.arg(format!("-I{}", flags("--includedir")));
    command.arg(format!("-L{}", flags("--libdir"))).arg("-lpq");
    process::run_well(&mut command, "", DEADLINE);
    program
}

/// Keywords and values, or libpq's words.
fn of_libpq(program: &Path, text: &str) -> Result<BTreeMap<String, String>, String> {
    let output = process::run(Command::new(program).arg(text), "", DEADLINE);
    let printed = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => {}
        Some(1) => return Err(printed.trim_end().to_owned()),
        other => panic!("{text:?}: {other:?}"),
    }
    let pair = |pair: &str| {
        let (keyword, value) = pair.split_once('=').unwrap_or((pair, "?"));
        (keyword.to_owned(), value.to_owned())
    };
    Ok(printed.split_terminator('\0').map(pair).collect())
}

fn of_ours(text: &str) -> Result<BTreeMap<String, String>, ParseError> {
    let conninfo = Conninfo::parse(text)?;
    let owned = |(keyword, value): (&str, &str)| (keyword.to_owned(), value.to_owned());
    Ok(conninfo.iter().map(owned).collect())
}

#[test]
fn connection_strings_are_read_as_libpq_reads_them() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = compiled(directory.path());
    let accepted = table::ACCEPTED.iter().map(|(text, _)| *text);
    let refused = table::refused().into_iter().map(|(text, _)| text);
    let texts: Vec<&str> = accepted
        .chain(refused)
        .chain(FURTHER.iter().copied())
        .collect();
    let (mut good, mut bad) = (0, 0);
    let mut differences = Vec::new();
    for text in texts {
        let (theirs, ours) = (of_libpq(&program, text), of_ours(text));
        match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) if theirs == ours => good += 1,
            (Err(_), Err(_)) => bad += 1,
            _ => differences.push(format!("{text:?}:\n  libpq {theirs:?}\n  ours  {ours:?}")),
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(
        good >= 60 && bad >= 30,
        "only {good} good strings and {bad} bad ones"
    );
    // What we refuse and libpq takes, or takes in some versions, is refused on purpose.
    for (text, _) in table::stricter() {
        assert!(of_ours(text).is_err(), "{text:?}");
    }
}
