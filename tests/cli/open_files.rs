//! The limit of open files that a daemon runs with.

use std::process::{Command, Stdio};

use crate::Place;
use crate::daemon::{Running, configure};

/// What the daemon counts for itself and one PgBouncer with one console.
const NEEDED: &str = "80";

const PGBOUNCER: &str = r#"
[[pgbouncer]]
name = "pgb1"
local = true
console = "host=127.0.0.1 port=1 user=a"
file = "/nowhere/databases.ini"
[[pgbouncer.database]]
name = "app"
"#;

/// A daemon with one PgBouncer, started by a shell that has set its limits.
fn start(place: &Place, limits: &str) -> Running {
    configure(place, "");
    let file = place.path("repoint.toml");
    let text = std::fs::read_to_string(&file).expect("it was just written");
    std::fs::write(&file, text + PGBOUNCER).expect("it can be written");
    let child = Command::new("sh")
        .args([
            "-c",
            &format!("{limits}; exec \"$0\" -f repoint.toml daemon"),
        ])
        .arg(env!("CARGO_BIN_EXE_repoint"))
        .current_dir(place.path(""))
        .env_clear()
        .env("RUST_LOG", "repoint=debug")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    Running::of(child)
}

/// Soft and hard limit, as the kernel has them.
fn limits(daemon: &Running) -> Vec<String> {
    let path = format!("/proc/{}/limits", daemon.pid());
    let text = std::fs::read_to_string(path).expect("the daemon runs");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let numbers = line.expect("the kernel has this limit").split_whitespace();
    numbers.take(2).map(str::to_owned).collect()
}

#[test]
fn a_soft_limit_that_is_too_low_is_raised_as_far_as_needed() {
    let place = Place::new();
    let daemon = start(&place, "ulimit -Sn 48; ulimit -Hn 4000");
    daemon.wait_until_said("limit of open files needed=80 before=Some(48) now=Some(80)");
    assert_eq!(limits(&daemon), [NEEDED, "4000"]);
    assert!(!daemon.said().contains("too low"), "{}", daemon.said());
}

#[test]
fn a_hard_limit_that_is_too_low_is_a_warning_and_no_obstacle() {
    let place = Place::new();
    let daemon = start(&place, "ulimit -Sn 48; ulimit -Hn 60");
    daemon.wait_until_said(
        "the limit of open files is too low for all PgBouncers at once: raise its hard limit \
         (systemd: LimitNOFILE) needed=80 limit=60 pgbouncers=1",
    );
    assert_eq!(limits(&daemon), ["60", "60"]);
    daemon.wait_until_said("starting continuous BDR node monitoring");
}
