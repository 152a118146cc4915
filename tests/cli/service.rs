//! `repoint service`, and `repoint daemon` with its words, before they connect.

use crate::Place;

#[test]
fn help_shows_an_example_and_the_exit_status() {
    let place = Place::new();
    for (command, words) in [
        (
            "pause",
            "Example: repoint -f /etc/repoint/repoint.toml service pause --node-id 2",
        ),
        (
            "unpause",
            "Example: repoint -h db1 -U repmgr -d bdrtest service unpause",
        ),
        (
            "status",
            "Example: repoint -h db1 -U repmgr -d bdrtest service status",
        ),
    ] {
        for group in ["service", "daemon"] {
            let ran = place.run(&[group, command, "--help"]);
            assert!(ran.stdout.contains(words), "{}", ran.stdout);
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        }
    }
}

#[test]
fn without_a_configuration_or_a_connection_nothing_is_paused() {
    let expected = "ERROR: no configuration: none of ./repoint.toml, /etc/repoint/repoint.toml, \
                    ./repmgr.conf and /etc/repmgr.conf is there; name one with -f\n";
    for group in ["service", "daemon"] {
        Place::new().run(&[group, "pause"]).is(1, "", expected);
    }
    let nobody = ["-h", "127.0.0.1", "-p", "1", "-U", "nobody", "-d", "none"];
    for command in ["pause", "unpause", "status"] {
        let ran = Place::new().run(&[&["service", command], &nobody[..]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (6, ""));
        let begin = "ERROR: unable to connect to the database\nDETAIL: ";
        assert!(ran.stderr.starts_with(begin), "{}", ran.stderr);
    }
    let both = ["service", "pause", "--node-id", "1", "--node-name", "a"];
    assert_eq!(Place::new().run(&both).code, 1);
}
