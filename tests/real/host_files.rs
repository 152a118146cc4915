//! What becomes of the file on a PgBouncer's host: whole at every moment, with what it had of
//! owner, group, mode and name, and its previous content beside it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use repoint::edge::remote::{RemoteError, Switch};

use crate::fixture::Host;
use crate::host_verbs::{File, LEASE, TOKEN, Verbs};

const NAME: &str = "databases.ini";

/// Everything in the directory of the managed file, but for the lock.
fn names(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.directory()).expect("it is there");
    let names = entries.map(|entry| entry.expect("one").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("text")).collect();
    names.retain(|name| name != ".databases.ini.repoint-lock");
    names.sort();
    names
}

fn set_mode(path: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the mode can be changed");
}

#[track_caller]
fn reason(result: Result<(), RemoteError>) -> String {
    match result {
        Err(error @ RemoteError::Failed { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_file_is_byte_for_byte_what_was_sent_and_the_old_one_is_kept() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    // Whatever could be taken for a command, an end or a line.
    let more = ";\n\nrepoint-0 0\nt ping 0 0\n$(touch x)`touch y` '\"\\\n\u{fe}";
    let file = File::new(1, more);
    verbs.exchange(&file).expect("it is exchanged");
    let found = verbs.inspect();
    assert_eq!(found.content.as_deref(), Some(file.content.as_slice()));
    assert_eq!(found.hash, file.hash);
    assert_eq!(found.operation, None);
    assert!(found.writable);
    let previous = host.directory().join("databases.ini.prev");
    let previous = std::fs::read_to_string(previous).expect("it is kept");
    assert_eq!(previous, Host::FIRST);
    assert_eq!(names(&host), [NAME, "databases.ini.prev"]);

    let large = File::new(2, &";0123456789abcdef\n".repeat(40_000));
    verbs.exchange(&large).expect("it is exchanged");
    assert_eq!(verbs.inspect().content, Some(large.content));
    let empty = File {
        content: Vec::new(),
        hash: repoint::render::header::hash(b""),
        ..File::new(3, "")
    };
    verbs.exchange(&empty).expect("it is exchanged");
    assert_eq!(verbs.inspect().content, Some(Vec::new()));
}

#[test]
fn a_file_that_was_not_there_is_made_and_its_rollback_removes_it() {
    let host = Host::start();
    std::fs::remove_file(host.file()).expect("it was there");
    let verbs = Verbs::open(&host, "");
    let file = File::new(1, "");
    assert_eq!(verbs.inspect().hash, "absent");
    verbs.stage(&file).expect("it is staged");
    verbs.activate(&file, "absent").expect("it is put in place");
    assert_eq!(verbs.inspect().hash, file.hash);
    verbs.rollback(&file).expect("it is taken back");
    verbs.settle().expect("nothing is owed");
    assert_eq!(verbs.inspect().content, None);
    assert_eq!(names(&host), [""; 0]);
}

#[test]
fn mode_owner_and_group_stay_as_they_are_when_it_is_put_in_place() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    for (number, mode) in [(1, 0o600), (2, 0o640), (3, 0o644), (4, 0o4664)] {
        let file = File::new(number, "");
        let before = verbs.inspect().hash;
        verbs.stage(&file).expect("it is staged");
        // Changed since, as by an operator who found that PgBouncer could not read it.
        set_mode(&host.file(), mode);
        let owned = |path: &Path| {
            let found = std::fs::metadata(path).expect("it is there");
            (found.uid(), found.gid(), found.mode() & 0o7777)
        };
        let expected = owned(&host.file());
        verbs.activate(&file, &before).expect("it is put in place");
        assert_eq!(owned(&host.file()), expected);
        verbs.rollback(&file).expect("it is taken back");
        assert_eq!(owned(&host.file()), expected);
        assert_eq!(verbs.inspect().hash, before);
        verbs.settle().expect("nothing is owed");
    }
}

/// Only root can make a file of somebody else's. Without root, a link leads to one that everybody
/// has.
#[test]
fn an_owner_that_we_cannot_give_it_is_said_before_anything_is_changed() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let file = File::new(1, "");
    if rustix::process::geteuid().is_root() {
        const DAEMON: u32 = 1;
        chown(host.file(), None, Some(DAEMON)).expect("root may");
        let said = reason(verbs.stage(&file));
        assert!(said.contains("Operation not permitted"), "{said}");
        assert!(said.contains("the owner and mode of"), "{said}");
        assert_eq!(verbs.inspect().content, Some(Host::FIRST.into()));
        assert_eq!(std::fs::metadata(host.file()).expect("one").gid(), DAEMON);
    } else {
        std::fs::remove_file(host.file()).expect("it was there");
        symlink("/etc/passwd", host.file()).expect("a link");
        let said = reason(verbs.stage(&file));
        assert!(said.contains("cannot write in /etc/ as "), "{said}");
    }
    assert_eq!(names(&host), [NAME]);
}

#[test]
fn a_symbolic_link_stays_one_and_is_followed_where_it_leads_at_that_moment() {
    let host = Host::start();
    let [first, second] = ["first", "second"].map(|name| host.home().path("host").join(name));
    for directory in [&first, &second] {
        host.home().create_directory(directory);
        host.home().write(&directory.join("real.ini"), Host::FIRST);
    }
    let link = |directory: &Path| {
        let _not_there = std::fs::remove_file(host.file());
        symlink(directory.join("real.ini"), host.file()).expect("a link");
    };
    // A plain file when the host is reached, and a link later.
    let verbs = Verbs::open(&host, "");
    link(&first);
    let file = File::new(1, "");
    verbs.exchange(&file).expect("it is exchanged");
    link(&second);
    assert_eq!(verbs.inspect().content, Some(Host::FIRST.into()));
    let file = File::new(2, "");
    verbs.exchange(&file).expect("it is exchanged");
    assert!(host.file().is_symlink());
    assert_eq!(verbs.inspect().path, second.join("real.ini"));
    for (directory, number) in [(first, 1), (second, 2)] {
        let text = std::fs::read(directory.join("real.ini")).expect("it is there");
        assert_eq!(text, File::new(number, "").content);
        assert!(directory.join("real.ini.prev").exists());
    }
    assert_eq!(names(&host), [NAME]);
}

#[test]
fn a_newer_decision_an_edit_and_a_staged_file_that_is_gone_are_told_apart() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let (older, newer) = (File::new(1, ""), File::new(2, ""));
    let first = verbs.inspect().hash;
    verbs.stage(&older).expect("it is staged");
    let gone = verbs.activate(&newer, &first);
    assert!(matches!(gone, Err(RemoteError::NotStaged(_))), "{gone:?}");
    // The end of any operation removes what was staged before it.
    verbs.settle().expect("nothing is owed");
    let gone = verbs.activate(&older, &first);
    assert!(matches!(gone, Err(RemoteError::NotStaged(_))), "{gone:?}");
    let beside = format!(".databases.ini.repoint-staged-1-{}", older.hash);
    verbs.stage(&older).expect("it is staged");
    host.home().write(&host.directory().join(&beside), "not it");
    let damaged = verbs.activate(&older, &first);
    assert!(
        matches!(damaged, Err(RemoteError::NotStaged(_))),
        "{damaged:?}"
    );
    assert_eq!(verbs.inspect().content, Some(Host::FIRST.into()));
    assert_eq!(verbs.inspect().operation, None);

    host.home().write(&host.file(), "edited");
    verbs.stage(&older).expect("it is staged");
    let edited = verbs.activate(&older, &first);
    assert!(matches!(edited, Err(RemoteError::Changed(_))), "{edited:?}");

    verbs.exchange(&newer).expect("it is exchanged");
    verbs.stage(&older).expect("it is staged");
    let superseded = verbs.activate(&older, &newer.hash);
    assert!(
        matches!(superseded, Err(RemoteError::Superseded(_))),
        "{superseded:?}"
    );
    assert_eq!(verbs.inspect().content, Some(newer.content));
}

#[test]
fn a_directory_that_cannot_be_written_names_the_user_and_what_to_do() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    set_mode(&host.directory(), 0o555);
    assert!(!verbs.inspect().writable);
    // More than a pipe holds: none of it may be taken for what comes next.
    let large = File::new(1, &"t ping 0 0\n".repeat(40_000));
    let said = reason(verbs.stage(&large));
    let (directory, user) = (host.directory().display().to_string(), host.home().user());
    let expected = format!(
        "stage on `host`: cannot write in {directory}/ as {user}: let that user write there, best \
         by giving the file a directory of its own; or set `sudo`, or `in_place`, in its \
         [[pgbouncer]]"
    );
    assert_eq!(said, expected);
    assert_eq!(names(&host), [NAME]);
    set_mode(&host.directory(), 0o755);
    verbs.exchange(&File::new(1, "")).expect("it is exchanged");
}

#[test]
fn a_full_disk_changes_nothing_and_says_so() {
    let host = Host::start();
    host.disk().shrink();
    let more = ";0123456789abcdef\n".repeat(1000);
    let (staged, other) = (File::new(1, ""), File::new(2, &more));
    let verbs = Verbs::open(&host, "");
    let first = verbs.inspect().hash;
    verbs.stage(&staged).expect("there is room");
    let words = host.disk().fill();
    let before = names(&host);
    let verbs = Verbs::open(&host, "");
    let said = reason(verbs.record("{}"));
    assert!(said.contains(".databases.ini.repoint-operation"), "{said}");
    let said = reason(verbs.activate(&staged, &first));
    assert!(said.contains(".databases.ini.repoint-operation"), "{said}");
    assert_eq!(names(&host), before);
    let said = reason(verbs.stage(&other));
    assert!(said.contains(words), "{said}");
    assert!(said.contains(&other.hash), "{said}");
    // Nothing but what the same writer had staged before is gone.
    let kept = before.into_iter().filter(|name| !name.contains("staged"));
    assert_eq!(names(&host), kept.collect::<Vec<_>>());
    assert_eq!(verbs.inspect().content, Some(Host::FIRST.into()));
    host.disk().empty();
    let verbs = Verbs::open(&host, "");
    verbs.exchange(&other).expect("it is exchanged");
}

#[test]
fn what_is_sent_cannot_break_a_line_and_costs_no_session() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let said = reason(verbs.record("{}\nt ping 0 0"));
    assert_eq!(
        said,
        "record on `host`: a control character in what is sent"
    );
    let debt = r#"{"paused":["  a\\b  "],"x":"$(touch z) \u000a é"}  "#;
    verbs.record(debt).expect("it is on record");
    let operation = verbs.inspect().operation.expect("it is on record");
    assert_eq!(operation.debt, debt.trim_end());
    assert!(!operation.expired);
    verbs.settle().expect("nothing is owed");
    assert_eq!(names(&host), [NAME]);
}

/// As on Red Hat's systems.
#[test]
fn a_host_whose_sh_is_bash_is_served_in_the_same_way() {
    let host = Host::start();
    let bin = host.home().path("bin");
    host.home().create_directory(&bin);
    symlink("/bin/bash", bin.join("sh")).expect("a link");
    let path = std::env::var("PATH").unwrap_or_default();
    host.sshd().set_path(&format!("{}:{path}", bin.display()));
    let verbs = Verbs::open(&host, "");
    let (first, file) = (verbs.inspect().hash, File::new(1, ""));
    verbs.record(r#"{"a":"\\ "}"#).expect("it is on record");
    verbs.stage(&file).expect("it is staged");
    verbs.activate(&file, &first).expect("it is put in place");
    verbs.update().expect("it is on record");
    assert_eq!(verbs.inspect().content.as_ref(), Some(&file.content));
    verbs.rollback(&file).expect("it is taken back");
    verbs.settle().expect("nothing is owed");
    assert_eq!(verbs.inspect().content, Some(Host::FIRST.into()));
    assert_eq!(verbs.inspect().operation, None);
    assert_eq!(names(&host), [NAME, "databases.ini.prev"]);
}

#[test]
fn this_machine_is_served_in_the_same_way() {
    let host = Host::start();
    let verbs = Verbs::try_open(&host, &host.local_pgbouncer("")).expect("a shell");
    assert!(verbs.alive());
    let file = File::new(1, "");
    verbs.exchange(&file).expect("it is exchanged");
    assert_eq!(verbs.inspect().content, Some(file.content));
    let owner = |path: &Path| std::fs::metadata(path).expect("it is there").uid();
    assert_eq!(owner(&host.file()), owner(&host.directory()));
}

/// What the script counts on: the bytes that come after the content are still there for it.
#[test]
fn head_takes_no_more_from_a_pipe_than_it_is_told() {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "printf 'abcdef\\nrest\\n' | { head -c 3; read -r x; echo \" $x\"; cat; }",
    ]);
    let output = shell.output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "abc def\nrest\n");
}

/// What a loss of power can leave of a record.
#[test]
fn an_empty_record_is_none() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let record = host.directory().join(".databases.ini.repoint-operation");
    let empty = || std::fs::write(&record, "").expect("it can be written");
    let (old, new) = (File::new(1, ""), File::new(2, ""));
    verbs.exchange(&old).expect("it is exchanged");

    empty();
    let (content, hash) = (&new.content, &new.hash);
    let stamp = verbs.open.stamp(new.generation, &old.hash, content, hash);
    let stamped = verbs.runtime.block_on(stamp);
    stamped.expect("nothing is on record");
    assert_eq!(verbs.inspect().hash, new.hash);

    empty();
    let (debt, none) = ("{}", Switch::default());
    let record_alone = verbs.open.record_alone(TOKEN, LEASE, debt, &none);
    let recorded = verbs.runtime.block_on(record_alone);
    assert!(recorded.expect("an answer"), "nothing was on record");
    let found = verbs.inspect().operation.expect("it is on record");
    assert_eq!(found.token, TOKEN);
    let record_alone = verbs.open.record_alone("2-2", LEASE, debt, &none);
    let recorded = verbs.runtime.block_on(record_alone);
    assert!(!recorded.expect("an answer"), "something was on record");
}

/// An agent that sees no node may disable an entry just when the other one, which sees one, moves
/// it: what it has put on record is not forgotten by that.
#[test]
fn an_operation_that_was_recorded_since_is_not_replaced() {
    let host = Host::start();
    let verbs = Verbs::open(&host, "");
    let (first, file, none) = (verbs.inspect().hash, File::new(1, ""), Switch::default());
    verbs.stage(&file).expect("it is staged");
    let (theirs, debt) = ("2-2-2-2", r#"{"disabled":["app"]}"#);
    let record = verbs.open.record_alone(theirs, LEASE, debt, &none);
    assert!(verbs.runtime.block_on(record).expect("an answer"));

    let said = verbs.record("{}").map_err(|error| error.to_string());
    assert_eq!(
        said,
        Err("operation 2-2-2-2 is on record, not none".to_owned())
    );
    for read in [None, Some("2-1-1-1")] {
        let refused = verbs.activate_for(read, &file, &first);
        assert!(
            matches!(refused, Err(RemoteError::Occupied(_))),
            "{refused:?}"
        );
    }
    let found = verbs.inspect();
    assert_eq!(found.content, Some(Host::FIRST.into()));
    let operation = found.operation.expect("it is still on record");
    assert_eq!(
        (operation.token.as_str(), operation.debt.as_str()),
        (theirs, debt)
    );

    verbs
        .activate_for(Some(theirs), &file, &first)
        .expect("it was read");
    let found = verbs.inspect();
    assert_eq!(found.content.as_ref(), Some(&file.content));
    assert_eq!(found.operation.expect("it is on record").token, TOKEN);
    verbs.settle().expect("nothing is owed");
    // One that has ended since is in nobody's way.
    let (next, before) = (File::new(2, ""), found.hash);
    verbs.stage(&next).expect("it is staged");
    verbs
        .activate_for(Some(theirs), &next, &before)
        .expect("nothing is on record");
}
