use super::*;
use crate::render::ini::parse_to_the_end;

fn wanted(entries: &[(&str, &str, &str, &str)]) -> Wanted {
    let values = |host: &str, port: &str, dbname: &str| {
        let values = [("host", host), ("port", port), ("dbname", dbname)];
        values
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec()
    };
    entries
        .iter()
        .map(|(name, host, port, dbname)| ((*name).to_owned(), values(host, port, dbname)))
        .collect()
}

fn app() -> Wanted {
    wanted(&[("app", "10.0.0.1", "5432", "app")])
}

fn edited(text: &str, wanted: &Wanted) -> String {
    let edited = edit(text.as_bytes(), wanted).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    String::from_utf8(edited).unwrap()
}

const NEW: &str = "app = host='10.0.0.1' port='5432' dbname='app'";

#[test]
fn only_the_values_of_our_keys_change_in_a_line_of_ours() {
    for (before, after) in [
        ("app = host=b", "app = host='10.0.0.1'"),
        ("app = host=b port=5432", "app = host='10.0.0.1' port=5432"),
        ("app=host='b'", "app=host='10.0.0.1'"),
        (
            "\t app\t=\thost = b  port=1   dbname=app \t",
            "\t app\t=\thost = '10.0.0.1'  port='5432'   dbname=app \t",
        ),
        (
            "app = pool_size=7 host=b user=u password='it''s; x' application_name=é",
            "app = pool_size=7 host='10.0.0.1' user=u password='it''s; x' application_name=é",
        ),
        (
            "app = dbname=other host=b",
            "app = dbname='app' host='10.0.0.1'",
        ),
        ("app = pool_size=7", "app = pool_size=7 host='10.0.0.1'"),
        ("app =", "app = host='10.0.0.1'"),
        ("app = ", "app = host='10.0.0.1'"),
        ("app = host=b host=c", "app = host=b host='10.0.0.1'"),
        ("'app' = host=b", "'app' = host='10.0.0.1'"),
        (
            "app = host='b'\tport=5432",
            "app = host='10.0.0.1'\tport=5432",
        ),
    ] {
        let text = |line: &str| format!("[databases]\r\n{line}\r\nother = host=b\r\n");
        assert_eq!(edited(&text(before), &app()), text(after), "{before:?}");
        // The same below its section, in one line with it, and as the last line without an end.
        let text = |line: &str| format!("[databases] {}", line.trim_start());
        assert_eq!(edited(&text(before), &app()), text(after), "{before:?}");
    }
}

#[test]
fn a_line_that_means_the_same_already_is_not_changed() {
    for line in [
        "app = host=10.0.0.1",
        "app = host='10.0.0.1'  port = 5432",
        "app = dbname=app port='5432' host=b host=10.0.0.1 pool_size=3",
    ] {
        let text = format!("[databases]\n{line}");
        assert_eq!(edited(&text, &app()), text);
    }
}

#[test]
fn an_entry_that_is_not_there_is_added_below_the_last_of_the_last_section() {
    for (before, after) in [
        ("", "[databases]\nNEW\n"),
        ("\n", "\n[databases]\nNEW\n"),
        ("; mine", "; mine\n[databases]\nNEW"),
        ("; mine\r\n", "; mine\r\n[databases]\r\nNEW\r\n"),
        ("[databases]", "[databases]\nNEW"),
        ("[databases]\n", "[databases]\nNEW\n"),
        ("[databases]\na=host=x", "[databases]\na=host=x\nNEW"),
        (
            "[databases]\na=host=x\n\n; ----\n[pgbouncer]\nverbose=1\n",
            "[databases]\na=host=x\nNEW\n\n; ----\n[pgbouncer]\nverbose=1\n",
        ),
        (
            "[databases]\na=host=x\n[users]\n[databases]\n; none\n",
            "[databases]\na=host=x\n[users]\n[databases]\nNEW\n; none\n",
        ),
        (
            "[databases]\r\na=host=x\r\n%include /more\r\nb=host=x\r\n",
            "[databases]\r\na=host=x\r\n%include /more\r\nb=host=x\r\nNEW\r\n",
        ),
        // What is included may end the section.
        (
            "[databases]\na=host=x\n%include /more\n",
            "[databases]\na=host=x\nNEW\n%include /more\n",
        ),
        (
            "[pgbouncer]\nverbose=1\n",
            "[pgbouncer]\nverbose=1\n[databases]\nNEW\n",
        ),
        (
            "[users]\napp = pool_mode=session\n",
            "[users]\napp = pool_mode=session\n[databases]\nNEW\n",
        ),
        (
            "[databases] [users]\n",
            "[databases] [users]\n[databases]\nNEW\n",
        ),
        (
            "[databases]\n; app = host=b\n",
            "[databases]\nNEW\n; app = host=b\n",
        ),
    ] {
        let after = after.replace("NEW", NEW);
        assert_eq!(edited(before, &app()), after, "{before:?}");
    }
}

#[test]
fn an_entry_that_is_there_twice_is_changed_in_both_places() {
    let before = "[databases]\napp = host=b\n[pgbouncer]\n[databases]\napp = host=c\n";
    let after = before
        .replace("host=b", "host='10.0.0.1'")
        .replace("host=c", "host='10.0.0.1'");
    assert_eq!(edited(before, &app()), after);
}

#[test]
fn a_configured_user_and_options_are_set_and_others_stay() {
    let mut wanted = app();
    let more = [("user", "u"), ("pool_size", "9")];
    let more = more.map(|(key, value)| (key.to_owned(), value.to_owned()));
    wanted.get_mut("app").unwrap().extend(more);
    assert_eq!(
        edited(
            "[databases]\napp = pool_size=3 host=b max_db_connections=4",
            &wanted
        ),
        "[databases]\napp = pool_size='9' host='10.0.0.1' max_db_connections=4 user='u'"
    );
    let same = "[databases]\napp = pool_size=9 user=u host=10.0.0.1";
    assert_eq!(edited(same, &wanted), same);
}

#[test]
fn bytes_that_are_not_utf_8_survive() {
    let mut before =
        b"; f\xfcr\n[databases]\napp = host=b password='\xfc'\nb = host=\xfc\n".to_vec();
    let after = edit(&before, &app()).unwrap();
    let at = before
        .windows(6)
        .position(|part| part == b"host=b")
        .unwrap();
    before.splice(at..at + 6, b"host='10.0.0.1'".iter().copied());
    assert_eq!(after, before);
    // What we write ourselves is UTF-8.
    let wanted = wanted(&[("app", "h", "1", "bücher")]);
    let after = edit(b"[databases]\napp = host=h port=1", &wanted).unwrap();
    assert_eq!(
        after,
        "[databases]\napp = host=h port=1 dbname='bücher'".as_bytes()
    );
    assert_eq!(edit(&after, &wanted).unwrap(), after);
}

#[test]
fn a_file_that_cannot_be_read_names_line_and_cure() {
    for (text, message) in [
        (
            "[databases]\nnonsense\n",
            "line 2: not `key = value`; keys are made of A-Z a-z 0-9 _ . - *; correct the line",
        ),
        (
            "\n[databases\n",
            "line 2: `[` without `]`; correct the line",
        ),
        (
            "app = host=b\n",
            "line 1: `app` stands before any [section]; write `[databases]` on a line above it; \
             correct the line",
        ),
        (
            "[databases]\n\napp = host=b ; ours\n",
            "line 3: database entry `app`: no `key=` at byte 7 of the connection string; a comment \
             needs a line of its own; correct the line",
        ),
        (
            "[databases]\napp = host='b\n",
            "line 2: database entry `app`: unterminated quote at byte 5 of the connection string; \
             correct the line",
        ),
        (
            "[pgbouncer]\n%include\n",
            "line 2: `%include` without a space and a file name; correct the line",
        ),
    ] {
        let error = edit(text.as_bytes(), &app()).unwrap_err();
        assert_eq!(error.to_string(), message, "{text:?}");
    }
    // What stands in an entry of somebody else is not ours to judge.
    edited("[databases]\nother = host=b ; theirs\n", &app());
    let error = edit(b"", &wanted(&[("app", "a\nb", "1", "c")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        r"entry `app`: `host`: control character `\n` at byte 1"
    );
}

/// Lines that files are put together from: ours, others, and what only looks like ours.
const PIECES: &[&str] = &[
    "\n",
    "\r\n",
    "; app = host=b\n",
    "# [databases]\r\n",
    "[databases]\n",
    "[databases]\r\n",
    "[pgbouncer]\nlisten_port = 6432\n",
    "[users]\napp = pool_mode=session\n",
    "[databases]\nother = host=b dbname='app'\n",
    "[databases]\napp = host=b port=1 pool_size=3\n",
    "[databases]\n  app=host = 'b'  password='it''s host=x' \n",
    "[databases]\napp = host=10.0.0.1\n",
    "[databases]\nb2b = port='7' host='c' dbname=\"x\"\n",
    "[databases]\n'my db' = host=b\n",
    "[databases] app = dbname=q",
    "[pgbouncer]\n%include /more.ini\n",
    "[databases]\n%include /more.ini\nafter = host=b",
];

#[test]
fn whatever_the_file_only_our_lines_change_and_they_mean_what_they_should() {
    let wanted = wanted(&[
        ("app", "10.0.0.1", "5432", "app"),
        ("b2b", "x y", "6", "it's"),
    ]);
    let mut files = 0;
    for a in PIECES {
        for b in PIECES {
            for c in PIECES {
                let before = [*a, *b, *c].concat();
                // A piece without a line break swallows the next one.
                if edit(before.as_bytes(), &wanted).is_err() {
                    continue;
                }
                files += 1;
                check_one(&before, &wanted);
            }
        }
    }
    assert!(files > 3_000, "{files}");
}

fn check_one(before: &str, wanted: &Wanted) {
    let after = edited(before, wanted);
    assert_eq!(others(before), others(&after), "{before:?} {after:?}");
    let (ini, _) = parse_to_the_end(&after);
    for (name, values) in wanted {
        let entry = ini.databases()[name.as_str()];
        for (key, value) in values {
            let default = match key.as_str() {
                "port" => Some("5432"),
                "dbname" => Some(name.as_str()),
                _ => None,
            };
            assert_eq!(
                entry.get(key).or(default),
                Some(value.as_str()),
                "{after:?}"
            );
        }
    }
    assert_eq!(edited(&after, wanted), after, "{before:?}");
}

/// Every line that is not of an entry of ours, without the section that may have been added.
fn others(text: &str) -> String {
    let mut databases = false;
    let mut lines = Vec::new();
    for whole in text.split_inclusive('\n') {
        let line = line::read(whole).unwrap();
        databases = line
            .sections
            .last()
            .map_or(databases, |name| *name == "databases");
        let ours = match &line.rest {
            Rest::Setting(setting) => databases && ["app", "b2b"].contains(&setting.key),
            Rest::Nothing | Rest::Comment | Rest::Include(_) => false,
        };
        if !ours {
            lines.push(whole);
        }
    }
    let added = lines
        .last()
        .is_some_and(|line| line.trim_end() == "[databases]");
    if added {
        lines.pop();
    }
    // The line break that an added line needed belongs to it.
    lines.concat().trim_end_matches(['\r', '\n']).to_owned()
}
