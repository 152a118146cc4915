//! A file that belongs to somebody else, reached through `sudo -n`.

use std::os::unix::fs::MetadataExt;

use repoint::edge::remote::RemoteError;

use crate::fixture::{Host, Sudo};
use crate::host_verbs::{File, Verbs};

fn line(user: &str) -> String {
    format!("sudo = \"{user}\"")
}

#[test]
fn the_file_of_another_user_is_replaced_and_stays_his() {
    let host = Host::start();
    let sudo = Sudo::allowing(&host);
    let verbs = Verbs::open(&host, &line(sudo.user()));
    let owned = || {
        let found = std::fs::metadata(host.file()).expect("it is there");
        (found.uid(), found.gid(), found.mode())
    };
    let before = owned();
    let (first, second) = (File::new(1, ""), File::new(2, ""));
    for file in [&first, &second] {
        verbs.exchange(file).expect("it is exchanged");
        assert_eq!(verbs.inspect().content.as_ref(), Some(&file.content));
        assert_eq!(owned(), before);
    }
    verbs.rollback(&second).expect("it is taken back");
    assert_eq!(verbs.inspect().content, Some(first.content));
    assert_eq!(owned(), before);
    assert!(verbs.alive());
}

#[test]
fn a_sudo_that_refuses_is_named_with_its_own_words_and_the_rule_that_is_missing() {
    let host = Host::start();
    let user = Sudo::refusing(&host);
    let refused = Verbs::try_open(&host, &host.pgbouncer(&line(&user)));
    let Err(error @ RemoteError::Sudo { .. }) = refused.map(drop) else {
        panic!("{}", host.sshd().log());
    };
    let expected = format!(
        "`host` does not let us run sh as `{user}` (sudo: a password is required); allow it with \
         a line in /etc/sudoers.d: `NAME ALL=({user}) NOPASSWD: /usr/bin/sh`, where NAME is the \
         user of the session"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_host_without_sudo_is_named() {
    let host = Host::start();
    host.sshd().set_path("/nonexistent");
    let refused = Verbs::try_open(&host, &host.pgbouncer(&line("root")));
    let error = refused.map(drop).expect_err("there is none").to_string();
    assert!(
        error.starts_with("`host` does not let us run sh as `root` ("),
        "{error}"
    );
    assert!(error.contains("not found"), "{error}");
}

/// Root may become anybody by sudo's own rules; others may at least be refused.
#[test]
fn this_machine_goes_through_sudo_as_well() {
    let host = Host::start();
    let user = host.home().user();
    let opened = Verbs::try_open(&host, &host.local_pgbouncer(&line(user)));
    match opened {
        Ok(verbs) => {
            let file = File::new(1, "");
            verbs.exchange(&file).expect("it is exchanged");
            let found = std::fs::metadata(host.directory().join("databases.ini.prev"));
            let directory = std::fs::metadata(host.directory()).expect("it is there");
            assert_eq!(found.expect("it is kept").uid(), directory.uid());
            let lock = host.directory().join(".databases.ini.repoint-lock");
            let lock = std::fs::metadata(lock).expect("it was made").uid();
            assert_eq!(lock, directory.uid());
        }
        Err(error) => {
            assert!(!rustix::process::geteuid().is_root(), "{error}");
            assert!(matches!(error, RemoteError::Sudo { .. }), "{error}");
        }
    }
}
