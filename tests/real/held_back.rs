//! Holds a redirect back where it replaces the file: the pause is on record and in force by then,
//! and would be over some milliseconds later.

use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::fixture::{Cluster, Pooler};

/// A stand-in for `flock`. Once an operation is on record, whoever wants the lock of the managed
/// file waits for the gate first, and no longer than for the lock itself.
const STANDIN: &str = r#"#!/bin/sh
own=${0%/*}
if [ -e "$own/../conf/.databases.ini.repoint-operation" ]; then
    "$own/flock.real" -s -w "$2" "$own/gate" true || exit
fi
exec "$own/flock.real" "$@"
"#;

/// As if somebody took the lock of the managed file as soon as an operation is on record, until it
/// is dropped. To be called before an agent opens its session; and nothing may be on record yet.
pub(crate) fn hold_back(cluster: &Cluster, pooler: &Pooler) -> File {
    let bin = pooler.socket_dir().join("bin");
    if !bin.join("gate").exists() {
        // A host that has programs of its own keeps them.
        let is_new = !bin.exists();
        cluster.home().create_directory(&bin);
        let flock = bin.join("flock");
        let _there_is_none = std::fs::remove_file(&flock);
        cluster.home().write(&flock, STANDIN);
        let mode = Permissions::from_mode(0o755);
        std::fs::set_permissions(&flock, mode).expect("the mode can be changed");
        symlink("/usr/bin/flock", bin.join("flock.real")).expect("a link");
        cluster.home().write(&bin.join("gate"), "");
        if is_new {
            let path = std::env::var("PATH").unwrap_or_default();
            pooler.sshd().set_path(&format!("{}:{path}", bin.display()));
        }
    }
    let gate = File::open(bin.join("gate")).expect("it is there");
    gate.lock().expect("a lock can be had");
    gate
}
