//! What it says of itself.

use crate::Place;

#[test]
fn the_version_is_that_of_the_package() {
    let version = format!("repoint {}\n", env!("CARGO_PKG_VERSION"));
    Place::new().run(&["--version"]).is(0, &version, "");
}

#[test]
fn help_names_every_command() {
    let expected = "\
Keeps PgBouncer pointed at a live PostgreSQL node

Usage: repoint [OPTIONS] <COMMAND>

Commands:
  daemon   Watch both nodes, and redirect the PgBouncers when one fails
  notify   Redirect the PgBouncers because repmgrd says so: name this as its
           event_notification_command
  render   Show what would be done, and do nothing
  status   Show what the PgBouncers' hosts remember of decisions, and how they see both nodes
  bdr      Register this node in repmgr.nodes, or take a node out
  cluster  Show the nodes and what happened to them
  node     Show or check this host's node
  service  Pause the daemons' failover, end the pause, or see how they are
  config   Read a repmgr.conf

Options:
  -f, --config-file <FILE>  The configuration: repoint.toml, or repmgr.conf if the name ends in
                            .conf; without it the first of ./repoint.toml,
                            /etc/repoint/repoint.toml, ./repmgr.conf, /etc/repmgr.conf
  -?, --help                Print help
  -V, --version             Print version
";
    Place::new().run(&["--help"]).is(0, expected, "");
}

#[test]
fn help_of_notify_holds_the_lines_for_repmgr_conf_and_the_exit_status() {
    let ran = Place::new().run(&["notify", "--help"]);
    for line in [
        "event_notification_command='/usr/bin/repoint -f /etc/repoint/repoint.toml notify \
         %n %e %s \"%c\" \"%a\"'",
        "Usage: repoint notify [OPTIONS] <NODE_ID> <EVENT> <SUCCESS> [NEXT_CONNINFO] \
         [NEXT_NODE_NAME]",
        "       repoint notify [OPTIONS] --again",
        "          %n: the node that failed (bdr_failover), or the one that was promoted",
        "          %e: the event; the configuration's act_on names those that are acted on",
        "      --timeout <SECONDS>",
        "      --primary-id [<\"%p\">]",
        "Exit status: 0 when every PgBouncer serves the node or the event is ignored, else 1.",
    ] {
        let found = ran.stdout.lines().any(|found| found == line);
        assert!(found, "no line {line:?} in\n{}", ran.stdout);
    }
    let long = "event_notification_command='/usr/bin/repoint -f /etc/repoint/repoint.toml notify \
                --node-id %n --event %e --success %s --conninfo \"%c\" --node-name \"%a\" \
                --timestamp \"%t\" --details \"%d\" --primary-id \"%p\"'";
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains(long), "{}", ran.stdout);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn help_of_the_other_commands_says_what_they_touch() {
    let place = Place::new();
    let render = place.run(&["render", "--help"]).stdout;
    assert!(
        render.starts_with("Show what would be done, and do nothing.\n"),
        "{render}"
    );
    for option in [
        "--node <NAME>",
        "--pgbouncer <NAME>",
        "--full",
        "--for <FAULT>",
    ] {
        assert!(render.contains(option), "{option} is not in\n{render}");
    }
    let daemon = place.run(&["daemon", "--help"]).stdout;
    for word in ["SIGTERM", "SIGHUP", "RUST_LOG", "leaves nothing paused"] {
        assert!(daemon.contains(word), "{word} is not in\n{daemon}");
    }
}

#[test]
fn help_of_commands_on_nodes_shows_an_example_of_each_way_to_connect() {
    for command in [
        ["cluster", "show"],
        ["cluster", "event"],
        ["cluster", "cleanup"],
        ["node", "check"],
        ["node", "status"],
    ] {
        let words = command.join(" ");
        let ran = Place::new().run(&[command[0], command[1], "--help"]);
        let config = format!("\n  repoint -f /etc/repoint/repoint.toml {words}");
        let options = format!("\n  repoint {words} -h 10.0.0.11 -U repmgr -d bdrtest");
        for example in [config, options] {
            assert!(ran.stdout.contains(&example), "{example}: {}", ran.stdout);
        }
        assert!(
            ran.stdout.contains("Exit status"),
            "{words}: {}",
            ran.stdout
        );
    }
}

#[test]
fn a_wrong_command_line_is_1_as_repmgrs_and_a_missing_argument_is_named() {
    let place = Place::new();
    let ran = place.run(&["notify"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("give EVENT"), "{}", ran.stderr);
    let ran = place.run(&["promote"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("'promote'"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--help"), "{}", ran.stderr);
}
