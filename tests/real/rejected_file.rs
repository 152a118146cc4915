//! Files that must not be pushed: PgBouncer is neither paused nor reloaded, the file stays as it
//! is, and the outcome says what, where, and what to do.

use crate::fixture::{Cluster, Pooler, Settings};
use crate::notify::told;
use crate::served::leftovers;

/// One file that would not do.
struct Case {
    what: &'static str,
    /// Lines of the configuration's `[[pgbouncer]]`, and of its entry.
    lines: String,
    database: &'static str,
    /// The managed file.
    file: String,
    /// What the outcome says.
    reason: &'static str,
}

#[test]
fn an_include_file_that_would_not_do_is_not_pushed() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let good = pooler.file_text();
    let template = cluster.directory().join("template.ini");
    let rendered = format!("template = \"{}\"", template.display());
    let entry = "{{ databases[0].name }} = {{ databases[0].connection }}";
    cluster.node2().kill9();
    for case in include_files(&good, &rendered) {
        let users = "[users]\napp = pool_size=3\n";
        let text = format!("[databases]\n{entry}\n{users}");
        cluster.home().write(&template, &text);
        pooler.write_file(&case.file);
        assert_not_pushed(&cluster, "/conf/databases.ini", &case);
        assert_eq!(pooler.file_text(), case.file, "{}", case.what);
        assert_eq!(leftovers(pooler), Vec::<String>::new(), "{}", case.what);
    }
    // Nothing of all this keeps the good one from being redirected afterwards.
    pooler.write_file(&good);
    let file = cluster.write_config(1, &Settings::default(), |_| ());
    let file = file.display().to_string();
    let (code, stdout, stderr) =
        told(&cluster.repoint(&["-f", &file, "notify", "2", "bdr_failover", "1"]));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(pooler.served_port("app"), cluster.node1().port());
}

fn include_files(good: &str, rendered: &str) -> Vec<Case> {
    let edited = |what, file: String, reason| Case {
        what,
        lines: String::new(),
        database: "",
        file,
        reason,
    };
    let ours = repoint::render::header::with_header(
        repoint::generation::Generation::NONE,
        repoint::config::NodeId(2),
        repoint::config::NodeId(1),
        good,
    );
    let ours = String::from_utf8(ours).expect("it is text");
    vec![
        edited(
            "a line that is no setting",
            format!("{good}nonsense\n"),
            "the file of `pgb1` cannot be edited: line 3: not `key = value`; keys are made of",
        ),
        edited(
            "a section that does not end",
            format!("[databases\n{good}"),
            "cannot be edited: line 1: `[` without `]`; correct the line",
        ),
        edited(
            "a line before any section",
            good.replace("[databases]\n", ""),
            "cannot be edited: line 1: `app` stands before any [section]; write `[databases]` on",
        ),
        edited(
            "bad quoting in an entry of ours",
            good.replace("'bdrtest'", "'bdrtest"),
            "cannot be edited: line 2: database entry `app`: unterminated quote at byte",
        ),
        edited(
            "an empty value in an entry of ours",
            good.replace("'bdrtest'", "''"),
            "cannot be edited: line 2: database entry `app`: empty value at byte",
        ),
        Case {
            what: "a key that this version does not know",
            database: "options = { load_balance_hosts = \"disable\" }",
            ..edited(
                "",
                good.to_owned(),
                "the file of `pgb1` would not do with its entries changed: line 2: database entry \
                 `app`: `load_balance_hosts` needs PgBouncer 1.24.0 or newer; remove it",
            )
        },
        Case {
            what: "a user that a RELOAD would add",
            database: "user = \"app\"",
            ..edited(
                "",
                good.to_owned(),
                "line 2: database entry `app`: `user` is new to PgBouncer 1.18.0, which may crash \
                 when a RELOAD adds it (before 1.23.1); restart PgBouncer with it, or leave",
            )
        },
        Case {
            what: "edits that must not be touched",
            lines: "edits = \"refuse\"".to_owned(),
            ..edited(
                "",
                format!("{ours}; by hand\n"),
                "the file of `pgb1` was edited by hand since repoint wrote it, so it is not \
                 touched; put it back, or keep the edits with `edits = \"merge\"`",
            )
        },
        Case {
            what: "a database that would be lost",
            lines: "template = \"databases.ini\"".to_owned(),
            ..edited(
                "",
                format!("{good}other = host=127.0.0.1\n"),
                "the file rendered for `pgb1` would not do: database entry `other` would be lost \
                 (the file on the host has it); add it to the template or the configuration, or",
            )
        },
        Case {
            what: "a key of a user that this version does not know",
            lines: rendered.to_owned(),
            ..edited(
                "",
                good.to_owned(),
                "the file rendered for `pgb1` would not do: line 4: [users] `app`: `pool_size` \
                 needs PgBouncer 1.23.0 or newer; remove it",
            )
        },
    ]
}

#[test]
fn a_whole_pgbouncer_ini_that_would_not_do_is_not_pushed() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let ini = pooler.socket_dir().join("pgbouncer.ini");
    let before = std::fs::read_to_string(&ini).expect("the fixture has written it");
    cluster.node2().kill9();
    let settings = |more: &str| {
        let (own, port) = (pooler.socket_dir(), pooler.port());
        format!(
            "template = \"pgbouncer.ini\"\n[pgbouncer.settings]\nlisten_addr = \"127.0.0.1\"\n\
             listen_port = {port}\nunix_socket_dir = \"{own}\"\n\
             auth_file = \"{own}/userlist.txt\"\n\
             logfile = \"{own}/pgbouncer.log\"\npidfile = \"{own}/pgbouncer.pid\"\n{more}",
            own = own.display(),
        )
    };
    let admin = "admin_users = \"admin\"\nauth_type = \"trust\"\n";
    for (what, lines, reason) in [
        (
            "nobody who may use the console",
            "auth_type = \"trust\"\n".to_owned(),
            "`admin`, as whom repoint uses the console, is not in `admin_users`; add it",
        ),
        (
            "somebody else who may use the console",
            admin.replace("\"admin\"", "\"stats\""),
            "line 2: `admin`, as whom repoint uses the console, is not in `admin_users`; add it",
        ),
        (
            "another way to log in",
            admin.replace("trust", "md5"),
            "`auth_type` would change from `trust` to `md5`, and repoint might not get into the \
             console any more; make that change by hand and RELOAD",
        ),
        (
            "a setting that this version does not know",
            format!("{admin}peer_id = 1\n"),
            "setting `peer_id` needs PgBouncer 1.19.0 or newer; remove it; a RELOAD would put \
             every setting below it back to its default",
        ),
        (
            "a setting that no version knows",
            format!("{admin}pool_mod = \"session\"\n"),
            "PgBouncer does not know the setting `pool_mod`; remove it",
        ),
        (
            "a database that PgBouncer has",
            admin.to_owned(),
            "database entry `other` would be lost (PgBouncer has it, but not from the file on the \
             host); add it to the template or the configuration, or remove it there and RELOAD",
        ),
    ] {
        // From the file that is included, and that the new one does not include.
        let port = cluster.node2().port();
        let other = format!("other = host=127.0.0.1 port={port} dbname=bdrtest\n");
        let app = format!("[databases]\napp = host=127.0.0.1 port={port} dbname=bdrtest\n");
        pooler.write_file(&(app.clone() + &other));
        pooler.admin("RELOAD");
        if what != "a database that PgBouncer has" {
            pooler.write_file(&app);
            pooler.admin("RELOAD");
        }
        let case = Case {
            what,
            lines: settings(&lines),
            database: "",
            file: before.clone(),
            reason,
        };
        assert_not_pushed(&cluster, "/pgbouncer.ini", &case);
        let after = std::fs::read_to_string(&ini).expect("it is there");
        assert_eq!(after, before, "{what}");
        assert_eq!(pooler.config("auth_type"), "trust", "{what}");
    }
}

/// The operator's own line: a RELOAD would stop at it, in whoever's name.
#[test]
fn a_line_of_an_operator_that_would_reset_all_settings_is_not_reloaded() {
    let cluster = Cluster::builder().poolers(1).start();
    let pooler = cluster.pooler(1);
    let ini = pooler.socket_dir().join("pgbouncer.ini");
    let text = std::fs::read_to_string(&ini).expect("the fixture has written it");
    let include = format!("%include {}\n", pooler.file().display());
    let file = text.replace("[pgbouncer]\n", "[pgbouncer]\nunheard_of = 1\n");
    let file = file.replace(&include, &pooler.file_text());
    cluster.home().write(&ini, &file);
    cluster.node2().kill9();
    let case = Case {
        what: "a setting that the operator wrote, and did not load",
        lines: String::new(),
        database: "",
        file: file.clone(),
        reason: "line 2: PgBouncer does not know the setting `unheard_of`; remove it; a RELOAD \
                 would put every setting below it back to its default",
    };
    assert_not_pushed(&cluster, "/pgbouncer.ini", &case);
    assert_eq!(std::fs::read_to_string(&ini).expect("it is there"), file);
    assert_eq!(pooler.config("admin_users"), "admin");
}

/// Has the failure of node 2 acted upon, with everything else as it should be.
#[track_caller]
fn assert_not_pushed(cluster: &Cluster, place: &str, case: &Case) {
    let pooler = cluster.pooler(1);
    let settings = Settings {
        pgbouncer_lines: case.lines.clone(),
        database_lines: case.database.to_owned(),
        ..Settings::default()
    };
    let file = cluster.write_config(1, &settings, |toml| {
        *toml = toml.replace("/conf/databases.ini", place);
    });
    let file = file.display().to_string();
    let before = touched(pooler);
    let notify = |seconds: &str| {
        let notify = ["-f", &file, "notify", "2", "bdr_failover", "1"];
        told(&cluster.repoint(&[notify.as_slice(), &["--timeout", seconds]].concat()))
    };
    // It goes on trying to the end of its time; on a busy machine that has to be longer.
    let mut answers = ["3", "10", "25"].into_iter().map(notify);
    let answer = answers.find(|(_, stdout, _)| !stdout.contains("not in time"));
    let (code, stdout, stderr) = answer.expect("an outcome in time");
    assert_eq!(code, 1, "{}: {stdout}{stderr}", case.what);
    let begin = "pgb1: NOT redirected: failed, nothing changed: ";
    assert!(stdout.starts_with(begin), "{}: {stdout}", case.what);
    assert!(stdout.contains(case.reason), "{}: {stdout}", case.what);
    assert_eq!(touched(pooler), before, "{}", case.what);
    assert!(!pooler.paused("app"), "{}", case.what);
    let port = cluster.node2().port();
    assert_eq!(pooler.served_port("app"), port, "{}", case.what);
    // The dry run says the same.
    let (code, stdout, _) = told(&cluster.repoint(&["-f", &file, "render"]));
    assert_eq!(code, 1, "{}", case.what);
    let begin = "\n  nothing would be done: ";
    assert!(
        stdout.contains(begin) && stdout.contains(case.reason),
        "{}: {stdout}",
        case.what
    );
}

/// How often PgBouncer was told to do something.
fn touched(pooler: &Pooler) -> [usize; 2] {
    let log = pooler.log();
    ["RELOAD", "PAUSE"].map(|command| log.matches(command).count())
}
