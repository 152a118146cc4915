//! A file that may be written, in a directory that may not: `in_place`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use repoint::edge::remote::RemoteError;

use crate::fixture::Host;
use crate::host_verbs::{File, Verbs};

const IN_PLACE: &str = "in_place = true";

/// Two disk pages behind the entry.
fn long() -> String {
    ";0123456789abcdef\n".repeat(500)
}

fn set_mode(path: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the mode can be changed");
}

/// Where the user of the session keeps what belongs to the file.
fn kept(state: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(state.join("repoint")).expect("it was made");
    entries.next().expect("one file").expect("one").path()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("it is there");
    let names = entries.map(|entry| entry.expect("one").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("text")).collect();
    names.sort();
    names
}

#[test]
fn the_file_itself_is_written_and_everything_else_is_kept_at_home() {
    let host = Host::start();
    set_mode(&host.directory(), 0o555);
    let inode = || std::fs::metadata(host.file()).expect("it is there").ino();
    let before = inode();
    let verbs = Verbs::open(&host, IN_PLACE);
    assert!(verbs.inspect().writable);
    // Longer than what was there, and then shorter.
    let (long, short) = (File::new(1, &long()), File::new(2, ""));
    verbs.stage(&long).expect("it is staged");
    let first = verbs.inspect().hash;
    verbs.activate(&long, &first).expect("it is written");
    assert_eq!(verbs.inspect().content.as_ref(), Some(&long.content));
    assert!(verbs.inspect().operation.is_some());
    verbs.settle().expect("nothing is owed");
    verbs.exchange(&short).expect("it is written");
    assert_eq!(verbs.inspect().content, Some(short.content.clone()));
    verbs.rollback(&short).expect("it is written back");
    assert_eq!(verbs.inspect().content, Some(long.content.clone()));

    assert_eq!(names(&host.directory()), ["databases.ini"]);
    assert_eq!(inode(), before);
    let kept = kept(&host.home().path("state"));
    assert_eq!(names(&kept), ["databases.ini.prev", "lock"]);
    let previous = std::fs::read(kept.join("databases.ini.prev")).expect("it is kept");
    assert_eq!(previous, long.content);
    for directory in [kept.as_path(), kept.parent().expect("repoint")] {
        let mode = std::fs::metadata(directory).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn without_xdg_state_home_it_is_kept_below_the_home_directory() {
    let host = Host::start();
    set_mode(&host.directory(), 0o555);
    let home = host.home().directory().display();
    host.sshd().reconfigure(&format!(
        "ForceCommand unset XDG_STATE_HOME; HOME={home}; eval \"$SSH_ORIGINAL_COMMAND\""
    ));
    let verbs = Verbs::open(&host, IN_PLACE);
    verbs.exchange(&File::new(1, "")).expect("it is written");
    let kept = kept(&host.home().path(".local/state"));
    assert_eq!(names(&kept), ["databases.ini.prev", "lock"]);
}

#[test]
fn what_somebody_else_did_is_seen_there_too() {
    let host = Host::start();
    set_mode(&host.directory(), 0o555);
    let verbs = Verbs::open(&host, IN_PLACE);
    let (older, newer) = (File::new(1, ""), File::new(2, ""));
    let first = verbs.inspect().hash;
    verbs.stage(&older).expect("it is staged");
    host.home().write(&host.file(), "edited");
    let edited = verbs.activate(&older, &first);
    assert!(matches!(edited, Err(RemoteError::Changed(_))), "{edited:?}");
    verbs.exchange(&newer).expect("it is written");
    verbs.stage(&older).expect("it is staged");
    let superseded = verbs.activate(&older, &newer.hash);
    assert!(
        matches!(superseded, Err(RemoteError::Superseded(_))),
        "{superseded:?}"
    );
    verbs.settle().expect("nothing is owed");
    let gone = verbs.activate(&File::new(3, ""), &newer.hash);
    assert!(matches!(gone, Err(RemoteError::NotStaged(_))), "{gone:?}");
    assert_eq!(verbs.inspect().content, Some(newer.content));
}

#[test]
fn a_directory_that_may_be_written_is_used_whatever_is_allowed() {
    let host = Host::start();
    let verbs = Verbs::open(&host, IN_PLACE);
    verbs.exchange(&File::new(1, "")).expect("it is exchanged");
    assert!(host.directory().join("databases.ini.prev").exists());
    assert!(!host.home().path("state").exists());
}

#[test]
fn without_permission_and_for_a_file_that_may_not_be_written_it_is_refused() {
    let host = Host::start();
    set_mode(&host.directory(), 0o555);
    let refused = |verbs: &Verbs| {
        assert!(!verbs.inspect().writable);
        let error = verbs.stage(&File::new(1, "")).expect_err("it is refused");
        let said = error.to_string();
        assert!(said.contains("cannot write in "), "{said}");
        let cures = ["directory of its own", "`sudo`", "`in_place`"];
        assert!(cures.iter().all(|cure| said.contains(cure)), "{said}");
        assert_eq!(verbs.inspect().content, Some(Host::FIRST.into()));
    };
    refused(&Verbs::open(&host, ""));
    assert!(!host.home().path("state").exists());
    set_mode(&host.file(), 0o444);
    refused(&Verbs::open(&host, IN_PLACE));
}

/// The disk becomes full between the new file's arrival and its being written.
#[test]
fn what_was_there_is_written_back_when_the_new_content_finds_no_room() {
    let host = Host::start();
    host.disk().shrink();
    let file = File::new(1, &long());
    let verbs = Verbs::open(&host, IN_PLACE);
    set_mode(&host.directory(), 0o555);
    let first = verbs.inspect().hash;
    verbs.stage(&file).expect("it is staged elsewhere");
    let words = host.disk().fill_here_only();
    let verbs = Verbs::open(&host, IN_PLACE);
    let error = verbs.activate(&file, &first).expect_err("there is no room");
    let said = error.to_string();
    assert!(said.contains(words), "{said}");
    assert!(said.contains("what it was is written back"), "{said}");
    assert_eq!(verbs.inspect().content, Some(Host::FIRST.into()));
    verbs.settle().expect("nothing is owed");
    set_mode(&host.directory(), 0o755);
    host.disk().empty();
    set_mode(&host.directory(), 0o555);
    let verbs = Verbs::open(&host, IN_PLACE);
    verbs.exchange(&file).expect("there is room");
    assert_eq!(verbs.inspect().content, Some(file.content));
}
