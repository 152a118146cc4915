//! The daemon's log: formats, levels, and the file.

use std::path::PathBuf;

use crate::Place;
use crate::daemon::{Running, configure, wait_until};

const PASSWORD: &str = "correct-horse";

fn text(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A daemon whose log is a file; returns when it has decided that nothing can be done.
#[track_caller]
fn logging(place: &Place, lines: &str) -> (Running, PathBuf) {
    let path = place.path("repoint.log");
    configure(place, &format!("log_file = {path:?}\n{lines}"));
    let daemon = Running::start(place, &[]);
    wait_for(&daemon, &path, "no other node is available");
    (daemon, path)
}

#[track_caller]
fn wait_for(daemon: &Running, path: &PathBuf, words: &str) {
    let instead = || format!("{}\nstandard error: {}", text(path), daemon.said());
    wait_until(words, || text(path).contains(words), instead);
}

/// `[YYYY-MM-DD HH:MM:SS] [LEVEL] text`, with the digits made zeros.
fn shape(line: &str) -> String {
    let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
    let stamp = line.get(..21).unwrap_or_default();
    stamp.chars().map(digit).collect()
}

#[test]
fn the_format_of_repmgr_is_that_of_its_page() {
    let place = Place::new();
    let (daemon, path) = logging(&place, "log_format = \"repmgr\"");
    assert_eq!(daemon.terminate(), (Some(0), String::new()));
    let log = text(&path);
    for line in log.lines() {
        assert_eq!(shape(line), "[0000-00-00 00:00:00]", "{line}");
    }
    let said: Vec<&str> = log.lines().map(|line| &line[22..]).collect();
    let version = env!("CARGO_PKG_VERSION");
    let first = format!(
        "[INFO] repoint starts (version={version}, config=repoint.toml, node=1, pgbouncers=0)"
    );
    assert_eq!(said[0], first);
    assert_eq!(
        said.last(),
        Some(&"[INFO] repoint ends; nothing is left paused by it")
    );
    let error = "[ERROR] node \"node1\" (ID: 1) is down, and no other node is available; \
                 nothing is changed until one is";
    assert!(said.contains(&error), "{log}");
    let warning = "[WARNING] unable to reconnect to node 1";
    assert!(said.iter().any(|line| line.starts_with(warning)), "{log}");
}

#[test]
fn the_time_of_repmgrs_format_is_local() {
    let place = Place::new();
    let path = place.path("repoint.log");
    configure(
        &place,
        &format!("log_file = {path:?}\nlog_format = \"repmgr\""),
    );
    // 14 hours ahead of UTC all year round, so that the date or the hour tells.
    let zone = std::path::Path::new("Pacific/Kiritimati");
    let daemon = Running::with_environment(&place, &[], &[("TZ", zone)]);
    wait_for(&daemon, &path, "repoint starts");
    let now = jiff::Timestamp::now()
        .in_tz("Pacific/Kiritimati")
        .expect("a zone");
    let log = text(&path);
    let near = [-1, 0].map(|minutes| {
        let then = now
            .checked_add(jiff::Span::new().minutes(minutes))
            .expect("a time");
        then.strftime("[%Y-%m-%d %H:%M").to_string()
    });
    assert!(
        near.iter().any(|near| log.starts_with(near)),
        "{near:?}: {log}"
    );
}

#[test]
fn the_format_json_is_an_object_a_line() {
    let place = Place::new();
    let (daemon, path) = logging(&place, "log_format = \"json\"");
    assert_eq!(daemon.terminate(), (Some(0), String::new()));
    let log = text(&path);
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let first = &lines[0];
    assert_eq!(first["message"], "repoint starts");
    assert_eq!(first["level"], "INFO");
    assert_eq!(first["fields"]["pgbouncers"], 0);
    let stamp = first["timestamp"].as_str().expect("a text");
    stamp.parse::<jiff::Timestamp>().expect(stamp);
    assert!(lines.iter().any(|line| line["level"] == "ERROR"), "{log}");
}

#[test]
fn no_format_shows_a_password_at_any_level() {
    for format in ["human", "repmgr", "json"] {
        let place = Place::new();
        let (daemon, path) = logging(
            &place,
            &format!("log_format = \"{format}\"\nlog_level = \"debug\""),
        );
        daemon.hang_up();
        wait_for(&daemon, &path, "bringing what is under way to its end");
        let (_, said) = daemon.terminate();
        let log = text(&path);
        assert!(log.lines().count() > 5, "{log}");
        assert!(log.contains("password=********"), "{log}");
        assert!(
            !log.contains(PASSWORD) && !said.contains(PASSWORD),
            "{format}: {log}"
        );
    }
}

#[test]
fn the_level_of_the_configuration_counts_unless_the_environment_or_the_command_line_says_other() {
    let place = Place::new();
    configure(&place, "log_level = \"warning\"");
    let levels = |arguments: &[&str], environment: &[(&str, &std::path::Path)]| {
        let daemon = Running::with_environment(&place, arguments, environment);
        daemon.wait_until_said("node 2 after 0 attempts");
        let (_, log) = daemon.terminate();
        ["DEBUG", " INFO", " WARN"].map(|level| log.contains(level))
    };
    let rust_log = [("RUST_LOG", std::path::Path::new("repoint=info"))];
    assert_eq!(levels(&[], &[]), [false, false, true]);
    assert_eq!(levels(&[], &rust_log), [false, true, true]);
    assert_eq!(levels(&["-v"], &rust_log), [true, true, true]);
    assert_eq!(levels(&["-L", "WARNING"], &rust_log), [false, false, true]);
}

#[test]
fn a_log_file_that_cannot_be_opened_is_told_at_the_start() {
    let place = Place::new();
    configure(&place, "log_file = \"/no/such/directory/log\"");
    place.run(&["daemon"]).fails(
        "repoint: open the log file `/no/such/directory/log`: \
         No such file or directory (os error 2)\n",
    );
}

#[test]
fn sighup_opens_the_log_file_again_whatever_the_configuration_holds() {
    let place = Place::new();
    let (daemon, path) = logging(&place, "");
    let rotate = |to: &str| std::fs::rename(&path, place.path(to)).expect("it is there");
    rotate("repoint.log.1");
    daemon.hang_up();
    wait_for(&daemon, &path, "repoint starts");
    rotate("repoint.log.2");
    place.write("repoint.toml", "node_id = ");
    daemon.hang_up();
    wait_for(&daemon, &path, "the configuration is not taken");
    rotate("repoint.log.3");
    std::fs::remove_file(place.path("repoint.toml")).expect("it is there");
    daemon.hang_up();
    wait_for(&daemon, &path, "the configuration is not taken");
    assert_eq!(daemon.terminate(), (Some(0), String::new()));
    assert!(text(&path).contains("repoint ends"));
    assert!(!text(&place.path("repoint.log.3")).contains("repoint ends"));
}

#[test]
fn sighup_changes_format_level_and_file() {
    let place = Place::new();
    let (daemon, old) = logging(&place, "log_format = \"json\"\nlog_level = \"error\"");
    let new = place.path("new.log");
    configure(
        &place,
        &format!("log_file = {new:?}\nlog_format = \"repmgr\""),
    );
    daemon.hang_up();
    wait_for(&daemon, &new, "[INFO] repoint starts");
    let log = text(&old);
    assert!(
        log.lines().all(|line| line.contains("\"level\":\"ERROR\"")),
        "{log}"
    );
    configure(&place, "");
    daemon.hang_up();
    daemon.wait_until_said(" INFO repoint starts");
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn a_disk_that_is_full_loses_lines_and_nothing_else() {
    let place = Place::new();
    configure(&place, "log_file = \"/dev/full\"");
    let pid_file = place.path("repoint.pid");
    let mut daemon = Running::start(&place, &["-p", &pid_file.display().to_string()]);
    wait_until("started", || pid_file.exists(), || daemon.said());
    let sockets = place.path("run").join(daemon.pid().to_string());
    wait_until("started", || sockets.exists(), || daemon.said());
    daemon.assert_runs();
    let path = place.path("repoint.log");
    configure(&place, &format!("log_file = {path:?}"));
    daemon.hang_up();
    wait_for(
        &daemon,
        &path,
        "lines of this log could not be written lines=",
    );
    assert_eq!(daemon.terminate(), (Some(0), String::new()));
}

#[test]
fn a_reader_of_standard_error_that_reads_no_more_stops_nothing() {
    let place = Place::new();
    let [old, new] = ["old.pid", "new.pid"].map(|name| place.path(name));
    configure(&place, &format!("pid_file = {old:?}"));
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    fill(&writer);
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_repoint"))
        .arg("daemon")
        .current_dir(place.path(""))
        .env_clear()
        .stderr(writer)
        .spawn()
        .expect("it starts");
    let daemon = Running::of(child);
    let silent = || "it says nothing".to_owned();
    let sockets = place.path("run").join(daemon.pid().to_string());
    wait_until("started", || sockets.exists(), silent);
    configure(&place, &format!("pid_file = {new:?}"));
    daemon.hang_up();
    wait_until("taken", || new.exists() && !old.exists(), silent);
    assert_eq!(daemon.terminate(), (Some(0), String::new()));
}

/// Writes until the pipe takes no more.
fn fill(mut pipe: &std::io::PipeWriter) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use std::io::Write as _;
    let flags = fcntl_getfl(pipe).expect("its flags");
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK).expect("it is set");
    while pipe.write(&[b'x'; 512]).is_ok() {}
    fcntl_setfl(pipe, flags).expect("it is set");
}
