//! `repoint daemon` as a process: systemd, options, PID file, signals.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Place;

const DEADLINE: Duration = Duration::from_secs(20);

/// Nobody listens on port 1: both nodes are down, which is no reason not to run.
const CONFIGURATION: &str = r#"
node_id = 1
runtime_directory = "RUN"
monitor_interval = "100ms"
reconnect_attempts = 0
[[node]]
node_id = 1
node_name = "node1"
conninfo = "host=127.0.0.1 port=1 dbname=a user=b password=correct-horse"
[[node]]
node_id = 2
node_name = "node2"
conninfo = "host=127.0.0.2 port=1 dbname=a user=b password=correct-horse"
"#;

/// The configuration, with further lines at its top.
pub(crate) fn configure(place: &Place, lines: &str) {
    let run = place.path("run").display().to_string();
    let text = format!("{lines}\n{CONFIGURATION}").replace("RUN", &run);
    place.write("repoint.toml", &text);
}

/// A daemon that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::with_environment(place, arguments, &[])
    }

    pub(crate) fn with_environment(
        place: &Place,
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_repoint"))
            .arg("daemon")
            .args(arguments)
            .current_dir(place.path(""))
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self::of(child)
    }

    /// One that was started already; its standard error is read if it is a pipe of ours.
    pub(crate) fn of(mut child: Child) -> Self {
        let said = Arc::new(Mutex::new(String::new()));
        let reader = child.stderr.take().map(|stderr| {
            let to = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    *to.lock().expect("not poisoned") += &format!("{line}\n");
                }
            })
        });
        Self {
            child,
            said,
            reader,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("not poisoned").clone()
    }

    #[track_caller]
    pub(crate) fn wait_until_said(&self, text: &str) {
        wait_until(text, || self.said().contains(text), || self.said());
    }

    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it runs");
    }

    #[track_caller]
    pub(crate) fn assert_runs(&mut self) {
        let ended = self.child.try_wait().expect("a child");
        assert_eq!(ended, None, "{}", self.said());
    }

    /// SIGTERM, and the exit status with all that it said.
    #[track_caller]
    pub(crate) fn terminate(self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        self.wait()
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(begun.elapsed() < DEADLINE, "not ended: {}", self.said());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let code = self.child.wait().expect("a child").code();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it reads to the end");
        }
        (code, self.said())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool, instead: impl Fn() -> String) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not {what}: {}", instead());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[track_caller]
fn wait_for_text(path: &Path, text: &str) {
    let there = || std::fs::read_to_string(path).unwrap_or_default();
    wait_until(
        &format!("{text:?} in {}", path.display()),
        || there() == text,
        there,
    );
}

#[test]
fn it_tells_systemd_that_it_is_ready_and_that_it_stops() {
    let place = Place::new();
    configure(&place, "");
    let path = place.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    let daemon = Running::with_environment(&place, &[], &[("NOTIFY_SOCKET", &path)]);
    let heard = || {
        let mut text = [0; 200];
        let length = socket.recv(&mut text).expect("a message");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    let (code, log) = daemon.terminate();
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("repoint ends; nothing is left paused by it"),
        "{log}"
    );
    let mut left = std::fs::read_dir(place.path("run")).expect("a directory");
    assert!(left.next().is_none(), "sockets are left");
}

/// The configuration of a host that looks the other node up in `repmgr.nodes`.
fn configure_registered(place: &Place, port: u16, lines: &str) {
    let run = place.path("run").display().to_string();
    place.write(
        "repoint.toml",
        &format!(
            "node_id = 1\nnode_name = \"node1\"\nmonitor_interval = \"50ms\"\n\
             conninfo = \"host=127.0.0.1 port={port} dbname=a user=b connect_timeout=9\"\n\
             runtime_directory = {run:?}\n{lines}\n"
        ),
    );
}

#[test]
fn that_it_waits_is_said_again_as_often_as_its_status() {
    let place = Place::new();
    configure_registered(&place, 1, "log_status_interval = \"100ms\"");
    let daemon = Running::start(&place, &[]);
    let said = || {
        daemon
            .said()
            .matches("the other node is not known yet")
            .count()
    };
    wait_until("said again", || said() > 2, || daemon.said());
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn sigterm_ends_it_at_once_while_a_node_that_says_nothing_is_asked() {
    let place = Place::new();
    // A stand-in for a server that hangs.
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    configure_registered(&place, port, "");
    let daemon = Running::start(&place, &[]);
    let _open = server.accept().expect("it connects");
    let begun = Instant::now();
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0), "{log}");
    // Without the signal, the question would have its five seconds.
    assert!(begun.elapsed() < Duration::from_secs(4), "{log}");
}

#[test]
fn while_the_nodes_are_not_known_it_is_ready_says_that_it_waits_and_ends_at_once() {
    let place = Place::new();
    configure_registered(&place, 1, "");
    let path = place.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    let mut daemon = Running::with_environment(&place, &[], &[("NOTIFY_SOCKET", &path)]);
    let mut text = [0; 500];
    let length = socket.recv(&mut text).expect("a message");
    let heard = String::from_utf8_lossy(&text[..length]).trim().to_owned();
    let waiting = "repmgr.nodes cannot be read on node \"node1\": \
                   refused: Connection refused (os error 111)";
    assert_eq!(heard, format!("READY=1\nSTATUS=waiting: {waiting}"));
    daemon.wait_until_said(waiting);
    daemon.hang_up();
    // A wrong file is told and changes nothing, here too.
    place.write("repoint.toml", "node_id = 0");
    daemon.hang_up();
    daemon.wait_until_said("the configuration is not taken, the old one stays");
    daemon.assert_runs();
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches(waiting).count(), 1, "once: {log}");
}

#[test]
fn what_repmgrds_unit_files_pass_is_taken_or_refused_with_what_to_do() {
    let place = Place::new();
    configure(&place, "");
    place.run(&["daemon", "-d"]).fails(
        "repoint: --daemonize: repoint runs in the foreground; leave the option out, and let \
         systemd or another supervisor keep it running\n",
    );
    for arguments in [["--daemonize=true", "-v"], ["--daemonize", "-v"]] {
        let ran = place.run(&[&["daemon"], &arguments[..]].concat());
        assert!(ran.stderr.contains("in the foreground"), "{ran:?}");
        assert_eq!(ran.code, 1);
    }
    place.run(&["daemon", "-m"]).fails(
        "repoint: --monitoring-history: there is no such history where both nodes take writes; \
         leave the option out\n",
    );
    let ran = place.run(&["daemon", "-L", "LOUD"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("DEBUG, INFO, NOTICE"), "{}", ran.stderr);
    let arguments = [
        "--daemonize=false",
        "--no-pid-file",
        "-L",
        "notice",
        "-f",
        "repoint.toml",
    ];
    let daemon = Running::start(&place, &arguments);
    daemon.wait_until_said("no other node is available");
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("INFO"), "{log}");
}

#[test]
fn the_pid_file_that_would_be_used_is_shown() {
    let place = Place::new();
    configure(&place, "");
    place.run(&["daemon", "-s"]).is(0, "", "");
    configure(&place, "pid_file = \"/run/repoint/of-the-file.pid\"");
    let shown = "/run/repoint/of-the-file.pid\n";
    place.run(&["daemon", "--show-pid-file"]).is(0, shown, "");
    let ran = place.run(&["daemon", "-s", "-p", "/run/named.pid"]);
    ran.is(0, "/run/named.pid\n", "");
    place.run(&["daemon", "-s", "--no-pid-file"]).is(0, "", "");
    assert_eq!(place.files(), ["repoint.toml"]);
}

#[test]
fn a_second_daemon_with_the_same_pid_file_is_refused_with_repmgrs_status() {
    let place = Place::new();
    let pid_file = place.path("repoint.pid");
    configure(&place, &format!("pid_file = {pid_file:?}"));
    let first = Running::start(&place, &[]);
    wait_for_text(&pid_file, &format!("{}\n", first.pid()));
    let (path, pid) = (pid_file.display(), first.pid());
    let expected = format!("repoint: PID file `{path}` is held by a running daemon (PID {pid})\n");
    place.run(&["daemon"]).is(3, "", &expected);
    let (code, log) = first.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!pid_file.exists(), "it is left");
}

#[test]
fn a_pid_file_of_a_daemon_that_was_killed_is_no_obstacle() {
    let place = Place::new();
    configure(&place, "");
    let path = place.path("repoint.pid");
    let named = path.display().to_string();
    let first = Running::start(&place, &["-p", &named]);
    wait_for_text(&path, &format!("{}\n", first.pid()));
    first.signal(Signal::KILL);
    first.wait();
    assert!(path.exists());
    let second = Running::start(&place, &["-p", &named]);
    wait_for_text(&path, &format!("{}\n", second.pid()));
    assert_eq!(second.terminate().0, Some(0));
    assert!(!path.exists());
}

#[test]
fn a_link_in_place_of_the_pid_file_is_refused_and_its_target_is_not_touched() {
    let place = Place::new();
    configure(&place, "");
    place.write("precious", "4711");
    let path = place.path("repoint.pid");
    std::os::unix::fs::symlink(place.path("precious"), &path).expect("a link");
    let named = path.display().to_string();
    let expected =
        format!("repoint: PID file `{named}` is a symbolic link; nothing is overwritten\n");
    place.run(&["daemon", "-p", &named]).is(3, "", &expected);
    let text = std::fs::read_to_string(place.path("precious")).expect("text");
    assert_eq!(text, "4711");
}

#[test]
fn the_pid_file_moves_with_the_configuration() {
    let place = Place::new();
    let [old, new] = ["old.pid", "new.pid"].map(|name| place.path(name));
    configure(&place, &format!("pid_file = {old:?}"));
    let daemon = Running::start(&place, &[]);
    let pid = format!("{}\n", daemon.pid());
    wait_for_text(&old, &pid);
    daemon.wait_until_said("repoint starts");
    configure(&place, "pid_file = \"/no/such/directory/repoint.pid\"");
    daemon.hang_up();
    daemon.wait_until_said("No such file or directory (os error 2); the one before stays");
    wait_for_text(&old, &pid);
    configure(&place, &format!("pid_file = {new:?}"));
    daemon.hang_up();
    wait_for_text(&new, &pid);
    wait_until("gone", || !old.exists(), || daemon.said());
    configure(&place, "");
    daemon.hang_up();
    wait_until("gone", || !new.exists(), || daemon.said());
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn fault_13_no_sighup_ends_it_and_a_right_file_after_wrong_ones_is_taken() {
    let place = Place::new();
    configure(&place, "");
    let mut daemon = Running::start(&place, &[]);
    daemon.wait_until_said("repoint starts");
    type Break = fn(&Place);
    let breaks: [(Break, &str); 4] = [
        (
            |place| place.write("repoint.toml", "node_id = "),
            "not valid TOML",
        ),
        (
            |place| std::fs::remove_file(place.path("repoint.toml")).expect("it is there"),
            "No such file or directory",
        ),
        (
            |place| std::fs::create_dir(place.path("repoint.toml")).expect("a directory"),
            "Is a directory",
        ),
        (
            |place| {
                std::fs::remove_dir(place.path("repoint.toml")).expect("it is there");
                std::fs::write(place.path("repoint.toml"), b"\xff\xfe").expect("a file");
            },
            "valid UTF-8",
        ),
    ];
    for (number, (wrong, why)) in breaks.iter().enumerate() {
        wrong(&place);
        daemon.hang_up();
        daemon.wait_until_said(why);
        let refused = "the configuration is not taken, the old one stays";
        assert_eq!(daemon.said().matches(refused).count(), number + 1);
        daemon.assert_runs();
    }
    assert_eq!(daemon.said().matches("repoint starts").count(), 1);
    // What cannot be had of a right file does not end it, either.
    configure(&place, "log_file = \"/no/such/directory/log\"");
    daemon.hang_up();
    daemon.wait_until_said("the log goes on where it was");
    let started = || daemon.said().matches("repoint starts").count();
    wait_until("taken", || started() == 2, || daemon.said());
    place.write("a-file", "");
    let text = std::fs::read_to_string(place.path("repoint.toml")).expect("text");
    let run = place.path("run").display().to_string();
    let below_a_file = place.path("a-file/run").display().to_string();
    place.write("repoint.toml", &text.replace(&run, &below_a_file));
    daemon.hang_up();
    wait_until("taken", || started() == 3, || daemon.said());
    configure(&place, "");
    daemon.hang_up();
    wait_until("taken", || started() == 4, || daemon.said());
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0), "{log}");
}
