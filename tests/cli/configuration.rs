//! A configuration that will not do is refused whole, before anything starts.

use crate::{Place, example_with};

/// Every command that reads it.
const COMMANDS: [&[&str]; 3] = [
    &["daemon"],
    &["notify", "2", "bdr_failover", "1"],
    &["render"],
];

#[test]
fn all_problems_are_told_at_once_with_line_and_key() {
    let text = example_with(&[
        ("reconnect_attempts", "reconnect_attempts = \"six\""),
        ("monitor_interval", "monitor_interval = \"5 parsecs\""),
        (
            "event_notifications",
            "event_notifications = \"bdr_failovr\"",
        ),
        ("node_name = \"node2\"", "node_name = 7"),
        ("ssh = ", "pasue = false"),
        ("runtime_directory", "runtime_directory = \"run\""),
    ]);
    let expected = "\
repoint: `repoint.toml` is not usable, nothing was done; 7 problems:
repoint.toml:10: monitor_interval: `parsecs` is no unit; the units are `ms`, `s`, `m` and `h` \
(a duration from 10ms to 1h is expected)
repoint.toml:11: reconnect_attempts: expected an integer, found a string
repoint.toml:27: event_notifications: `bdr_failovr` is no event type; did you mean `bdr_failover`?
repoint.toml:45: runtime_directory: `run` is relative; write a path that begins with `/`
repoint.toml:56: node[2].node_name: expected a string, found an integer
repoint.toml:59: pgbouncer[pgb1].ssh: missing; write `ssh = \"user@host\"` or `local = true`
repoint.toml:61: pgbouncer[pgb1].pasue: unknown key; did you mean `pause`? (the keys here are \
`name`, `ssh`, `ssh_config`, `local`, `witness_command`, `console`, `file`, `template`, `edits`, \
`sudo`, `in_place`, `pause`, `early_pause`, `without_node`, `home`, `settings`, `database`)
";
    for command in COMMANDS {
        let place = Place::with_configuration(&text);
        place.run(command).fails(expected);
        assert_eq!(
            place.files(),
            ["repoint.toml"],
            "{command:?} made something"
        );
    }
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line_and_without_its_words() {
    let place = Place::with_configuration("node_id = 1\n[[node]]\nconninfo = \"password=secret\n");
    let expected = "\
repoint: `repoint.toml` is not usable, nothing was done; 1 problem:
repoint.toml:3: not valid TOML: invalid basic string, expected `\"`
";
    place.run(&["daemon"]).fails(expected);
}

#[test]
fn without_a_file_the_places_that_were_tried_are_named() {
    for command in COMMANDS {
        Place::new().run(command).fails(
            "repoint: no configuration: none of ./repoint.toml, /etc/repoint/repoint.toml, \
             ./repmgr.conf and /etc/repmgr.conf is there; name one with -f\n",
        );
    }
}

#[test]
fn the_file_of_the_working_directory_is_found() {
    let place = Place::with_configuration(&crate::example());
    let ran = place.run(&["render", "--full"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    // One that is named wins over it.
    let ran = place.run(&["-f", "other.toml", "render", "--full"]);
    ran.fails(
        "repoint: read the configuration `other.toml`: No such file or directory (os error 2)\n",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let place = Place::new();
    std::fs::create_dir(place.path("directory.toml")).expect("a directory");
    std::fs::write(place.path("latin1.toml"), b"# M\xfcnchen\n").expect("a file");
    for command in COMMANDS {
        let mut arguments = vec!["-f", "directory.toml"];
        arguments.extend(command);
        place.run(&arguments).fails(
            "repoint: read the configuration `directory.toml`: Is a directory (os error 21)\n",
        );
        arguments[1] = "latin1.toml";
        place.run(&arguments).fails(
            "repoint: read the configuration `latin1.toml`: stream did not contain valid UTF-8\n",
        );
    }
}

#[test]
fn a_conninfo_that_pgbouncer_cannot_be_given_is_refused() {
    let head = "repoint: `repoint.toml` is not usable, nothing was done";
    for (conninfo, message) in [
        (
            "host=10.0.0.11,10.0.0.13 dbname=bdrtest user=repmgr",
            ": conninfo of node 1: `host` lists 2 items; a node is one server, so give one",
        ),
        (
            "dbname=bdrtest user=repmgr",
            "; 1 problem:\n\
             repoint.toml:52: node[1].conninfo: no `host` or `hostaddr`; PgBouncer needs one",
        ),
    ] {
        let line = format!("conninfo = \"{conninfo}\"");
        let place = Place::with_configuration(&example_with(&[("conninfo", &line)]));
        for command in COMMANDS {
            place.run(command).fails(&format!("{head}{message}\n"));
        }
    }
}

#[test]
fn a_template_that_will_not_do_is_refused() {
    let place = Place::new();
    let template = place.path("own.ini").display().to_string();
    let line = format!("template = \"{template}\"");
    place.write("repoint.toml", &example_with(&[("template", &line)]));
    let head = "repoint: `repoint.toml` is not usable, nothing was done: ";
    place.run(&["daemon"]).fails(&format!(
        "{head}template `{template}`: No such file or directory (os error 2)\n"
    ));
    place.write(
        "own.ini",
        "[databases]\napp = host=10.0.0.1 dbname=bdrtest\n",
    );
    let ran = place.run(&["daemon"]);
    assert!(
        ran.stderr.contains(
            "line 2: database entry `app`: `host` is `10.0.0.1` and should be `10.0.0.11`; \
             correct the template"
        ),
        "{}",
        ran.stderr
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    place.write("own.ini", "[databases]\n{{ databse }}\n");
    let ran = place.run(&["daemon"]);
    assert!(
        ran.stderr
            .starts_with(&format!("{head}template of `pgb1`: ")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("`databse` is not defined"),
        "{}",
        ran.stderr
    );
}
