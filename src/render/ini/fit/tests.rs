use super::*;

/// A whole file, as it is on the host.
const WHOLE: &str = "[pgbouncer]\nlisten_port = 6432\nadmin_users = admin, other\n\
    auth_type = trust\n[databases]\napp = host=b port=5432\n";
const OLD: Option<Version> = Some((1, 18, 0));

/// What can be varied; the rest is as it would be with [`WHOLE`].
struct Case<'a> {
    present: &'a str,
    new: &'a str,
    origin: Origin,
    version: Option<Version>,
    entries: &'a [(&'a str, Option<&'a str>)],
    settings: &'a [(&'a str, &'a str)],
    console: (&'a str, bool),
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            present: WHOLE,
            new: WHOLE,
            origin: Origin::Rendered,
            version: OLD,
            entries: &[("app", None), ("pgbouncer", Some("pgbouncer"))],
            settings: &[("auth_type", "trust"), ("admin_users", "admin, other")],
            console: ("admin", false),
        }
    }
}

impl Case<'_> {
    /// `Ok`: the notes; `Err`: why not.
    fn judge(&self) -> Result<Vec<String>, Vec<String>> {
        let new = self.new.replace("host=b", "host=10.0.0.1");
        let address = ServerAddress {
            host: "10.0.0.1".to_owned(),
            port: 5432,
            dbname: "app".to_owned(),
        };
        let expected = BTreeMap::from([("app".to_owned(), address)]);
        let settings = self.settings.iter();
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let there = There {
            version: self.version,
            present: Some(self.present),
            entries: self.entries.iter().copied().collect(),
            settings: Some(&settings.collect()),
            consoles: &[ConsoleUser {
                name: self.console.0.to_owned(),
                socket: self.console.1,
            }],
        };
        fit(&new, self.origin, &expected, &there)
            .map_err(|findings| findings.iter().map(Finding::to_string).collect())
    }
}

#[track_caller]
fn refused(case: &Case<'_>, reason: &str) {
    assert_eq!(case.judge(), Err(vec![reason.to_owned()]));
}

#[track_caller]
fn noted(case: &Case<'_>, notes: &[&str]) {
    let notes = notes.iter().map(|note| (*note).to_owned()).collect();
    assert_eq!(case.judge(), Ok(notes));
}

#[test]
fn a_file_that_says_what_it_should_goes_through_without_a_word() {
    noted(&Case::default(), &[]);
    let origin = Origin::Edited;
    noted(
        &Case {
            origin,
            ..Case::default()
        },
        &[],
    );
}

#[test]
fn a_line_that_is_wrong_is_refused_where_it_is_new_and_told_where_it_was_there() {
    let wrong = format!("{WHOLE}b = host=x connect_timeout=2\n[users]\nu = pool_size=3\n");
    let keys = "line 7: database entry `b`: PgBouncer does not know `connect_timeout`; remove it";
    let users = "line 9: [users] `u`: `pool_size` needs PgBouncer 1.23.0 or newer; remove it";
    let case = Case {
        new: &wrong,
        ..Case::default()
    };
    assert_eq!(case.judge(), Err(vec![keys.to_owned(), users.to_owned()]));
    // It was further up, and the lines of our entries differ.
    let present = format!("; ours\n{wrong}");
    let case = Case {
        present: &present,
        new: &wrong,
        origin: Origin::Edited,
        ..Case::default()
    };
    let told = |finding: &str| format!("not of repoint's making: {finding}");
    noted(&case, &[&told(keys), &told(users)]);
}

#[test]
fn not_every_line_that_was_there_is_told() {
    let many: String = (1..=5).map(|n| format!("b{n} = host=x x=1\n")).collect();
    let whole = format!("{WHOLE}{many}");
    let case = Case {
        present: &whole,
        new: &whole,
        ..Case::default()
    };
    let notes = case.judge().unwrap();
    assert_eq!(notes.len(), 4, "{notes:?}");
    assert_eq!(notes[3], "and 2 more of that kind");
}

/// Even where somebody else wrote it: PgBouncer has not read it yet, or it would not run like this.
#[test]
fn a_line_that_would_reset_the_settings_below_it_is_refused_whoever_wrote_it() {
    let resets = "; a RELOAD would put every setting below it back to its default";
    for (line, finding) in [
        (
            "unheard_of = 1",
            "PgBouncer does not know the setting `unheard_of`; remove it",
        ),
        (
            "peer_id = 1",
            "setting `peer_id` needs PgBouncer 1.19.0 or newer; remove it",
        ),
        (
            "pool_mode = bogus",
            "setting `pool_mode` must be one of session, transaction, statement; correct it",
        ),
    ] {
        let text = WHOLE.replace("listen_port = 6432", line);
        for origin in [Origin::Edited, Origin::Rendered] {
            let case = Case {
                present: &text,
                new: &text,
                origin,
                ..Case::default()
            };
            refused(&case, &format!("line 2: {finding}{resets}"));
        }
    }
}

#[test]
fn what_pgbouncer_itself_lists_or_a_newer_one_may_know_is_not_refused() {
    let text = WHOLE.replace("listen_port = 6432", "unheard_of = 1");
    let case = Case {
        new: &text,
        settings: &[("auth_type", "trust"), ("unheard_of", "1")],
        ..Case::default()
    };
    noted(&case, &[]);
    let case = Case {
        new: &text,
        version: Some((1, 27, 0)),
        ..Case::default()
    };
    noted(
        &case,
        &[
            "not of repoint's making: line 2: PgBouncer does not know the setting `unheard_of`; \
           remove it",
        ],
    );
    // A RELOAD skips it; a restart does not.
    let text = WHOLE.replace("listen_port = 6432", "so_reuseport = true");
    let finding = "line 2: setting `so_reuseport` must be a whole number (1 and 0 for yes and no); \
                   correct it";
    let case = Case {
        new: &text,
        ..Case::default()
    };
    refused(&case, finding);
    let case = Case {
        present: &text,
        ..case
    };
    noted(&case, &[&format!("not of repoint's making: {finding}")]);
}

#[test]
fn a_template_must_not_lose_a_database() {
    let with_b = format!("{WHOLE}b = host=x\n");
    let case = |origin| Case {
        present: &with_b,
        origin,
        ..Case::default()
    };
    let cure = "add it to the template or the configuration, or remove it there and RELOAD";
    refused(
        &case(Origin::Rendered),
        &format!("database entry `b` would be lost (the file on the host has it); {cure}"),
    );
    noted(
        &case(Origin::RenderedOverEdits),
        &["the template does not give `b`, so the RELOAD removes it"],
    );
    // A whole file has all of PgBouncer's; an include file, or one that includes others, has not.
    let entries = &[("app", None), ("b", None)];
    let (including, any) = (
        format!("{WHOLE}%include /more.ini\n"),
        format!("{WHOLE}* = host=x\n"),
    );
    let served = |new| Case {
        new,
        entries,
        ..Case::default()
    };
    refused(
        &served(WHOLE),
        &format!(
            "database entry `b` would be lost (PgBouncer has it, but not from the file on the \
             host); {cure}"
        ),
    );
    noted(&served("[databases]\napp = host=b\n"), &[]);
    noted(&served(&including), &[]);
    noted(&served(&any), &[]);
    noted(
        &Case {
            origin: Origin::Edited,
            ..served(WHOLE)
        },
        &["`b` is not in the file any more, so the RELOAD removes it"],
    );
}

#[test]
fn a_user_that_a_reload_cannot_add_or_remove() {
    let with_user = WHOLE.replace("port=5432", "port=5432 user=u");
    let crash = "line 6: database entry `app`: `user` is new to PgBouncer 1.18.0, which may crash \
                 when a RELOAD adds it (before 1.23.1); restart PgBouncer with it, or leave `user` \
                 out";
    let adds = Case {
        new: &with_user,
        origin: Origin::Edited,
        ..Case::default()
    };
    refused(&adds, crash);
    noted(
        &Case {
            present: &with_user,
            ..adds
        },
        &[&format!("not of repoint's making: {crash}")],
    );
    for (version, entries) in [
        (Some((1, 23, 1)), [("app", None)]),
        (OLD, [("app", Some("u"))]),
        (OLD, [("other", None)]),
        (None, [("app", None)]),
    ] {
        let case = Case {
            version,
            new: &format!("{with_user}other = host=x\n"),
            entries: &entries,
            ..Case::default()
        };
        noted(&case, &[]);
    }
    let removes = Case {
        present: &with_user,
        entries: &[("app", Some("u"))],
        ..Case::default()
    };
    noted(
        &removes,
        &["`app` has no `user` in the file; PgBouncer keeps forcing `u` until it is restarted"],
    );
}

#[test]
fn a_rendered_file_must_not_lock_us_out_of_the_console() {
    let out = "`admin`, as whom repoint uses the console, is not in `admin_users`; add it";
    let without = WHOLE.replace("admin, other", "administrator");
    let none = WHOLE.replace("admin_users = admin, other\n", "");
    let including = format!("{none}%include /more.ini\n");
    let case = |new, origin| Case {
        new,
        origin,
        ..Case::default()
    };
    refused(&case(&without, Origin::Rendered), &format!("line 3: {out}"));
    refused(
        &case(&without, Origin::RenderedOverEdits),
        &format!("line 3: {out}"),
    );
    refused(&case(&none, Origin::Rendered), out);
    noted(
        &case(&without, Origin::Edited),
        &[&format!("not of repoint's making: line 3: {out}")],
    );
    let own = Case {
        console: ("pgbouncer", true),
        ..case(&none, Origin::Rendered)
    };
    noted(&own, &[]);
    refused(
        &Case {
            console: ("pgbouncer", false),
            ..own
        },
        &out.replace("admin`", "pgbouncer`"),
    );
    // It may be in a file that is included, or in the one that includes this one.
    noted(&case(&including, Origin::Rendered), &[]);
    noted(&case("[databases]\napp = host=b\n", Origin::Rendered), &[]);
}

#[test]
fn a_rendered_file_must_not_change_how_we_log_in() {
    let changed = WHOLE.replace("= trust", "= md5");
    let default = WHOLE.replace("auth_type = trust\n", "");
    let case = |new, now: &'static [(&'static str, &'static str)]| Case {
        new,
        settings: now,
        ..Case::default()
    };
    let trust = &[("auth_type", "trust")];
    let change = "`auth_type` would change from `trust` to `md5`, and repoint might not get into \
                  the console any more; make that change by hand and RELOAD";
    refused(&case(&changed, trust), &format!("line 4: {change}"));
    refused(&case(&default, trust), change);
    noted(&case(&changed, &[("auth_type", "md5")]), &[]);
    noted(&case(WHOLE, &[("auth_type", "md5")]), &[]);
    let own = Case {
        console: ("pgbouncer", true),
        ..case(&changed, trust)
    };
    noted(&own, &[]);
}

#[test]
fn a_setting_that_is_read_at_the_start_only_is_told() {
    let new = WHOLE.replace("6432", "6433");
    let case = Case {
        new: &new,
        ..Case::default()
    };
    noted(
        &case,
        &["`listen_port` changes in the file, and in PgBouncer when it is restarted"],
    );
}

#[test]
fn an_entry_that_would_point_elsewhere_is_refused_whatever_was_there() {
    let elsewhere = WHOLE.replace("host=b", "host=c");
    for origin in [Origin::Edited, Origin::Rendered] {
        let case = Case {
            present: &elsewhere,
            new: &elsewhere,
            origin,
            ..Case::default()
        };
        refused(
            &case,
            "line 6: database entry `app`: `host` is `c` and should be `10.0.0.1`; correct the \
             template",
        );
    }
}
