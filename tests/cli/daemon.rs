//! `repoint daemon` as systemd sees it.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Place;

const DEADLINE: Duration = Duration::from_secs(10);

/// Nobody listens on port 1: both nodes are down, which is no reason not to run.
const CONFIGURATION: &str = r#"
node_id = 1
runtime_directory = "RUN"
[[node]]
node_id = 1
node_name = "node1"
conninfo = "host=127.0.0.1 port=1 dbname=a user=b"
[[node]]
node_id = 2
node_name = "node2"
conninfo = "host=127.0.0.2 port=1 dbname=a user=b"
"#;

fn terminate(mut child: Child) -> (Option<i32>, String) {
    let pid = Pid::from_raw(child.id().try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("it runs");
    let until = Instant::now() + DEADLINE;
    while child.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < until, "it does not end");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let mut log = String::new();
    let stderr = child.stderr.take().expect("a pipe");
    std::io::BufReader::new(stderr)
        .read_to_string(&mut log)
        .expect("text");
    (child.wait().expect("a child").code(), log)
}

#[test]
fn it_tells_systemd_that_it_is_ready_and_that_it_stops() {
    let place = Place::new();
    let run = place.path("run").display().to_string();
    place.write("repoint.toml", &CONFIGURATION.replace("RUN", &run));
    let socket = UnixDatagram::bind(place.path("notify")).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    let child = Command::new(env!("CARGO_BIN_EXE_repoint"))
        .args([
            "-f",
            &place.path("repoint.toml").display().to_string(),
            "daemon",
        ])
        .env("NOTIFY_SOCKET", place.path("notify"))
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let heard = || {
        let mut text = [0; 200];
        let length = socket.recv(&mut text).expect("a message");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    let (code, log) = terminate(child);
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("repoint ends; nothing is left paused by it"),
        "{log}"
    );
    assert!(
        std::fs::read_dir(run)
            .expect("a directory")
            .next()
            .is_none(),
        "sockets are left"
    );
}
