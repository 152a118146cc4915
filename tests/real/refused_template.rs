//! Templates that give what PgBouncer would not take: found when the daemon starts, or taken back.

use std::path::Path;
use std::time::Duration;

use crate::fixture::{Cluster, Settings};
use crate::scene::wait_for_events;
use crate::served::{assert_stays, leftovers, wait_until_serves};

const DEADLINE: Duration = Duration::from_secs(20);

/// Whether an included file is there is known to PgBouncer alone; it refuses the file at this line.
const REFUSED: &str = "%include /nowhere/at/all.ini
[databases]
{% for database in databases -%}
{{ database.name }} = {{ database.connection }}
{% endfor -%}
";

#[test]
fn a_file_that_pgbouncer_refuses_is_taken_back_and_everything_stays_as_it_was() {
    let cluster = Cluster::builder().poolers(2).start();
    let (pooler, other) = (cluster.pooler(1), cluster.pooler(2));
    let (node1, node2) = (cluster.node1(), cluster.node2());
    let before = format!(
        "[databases]\n; by hand\napp = host='127.0.0.1' port='{}' dbname='bdrtest'\n\
         still = host='127.0.0.1' port='{}' dbname='bdrtest'\n",
        node2.port(),
        node1.port()
    );
    pooler.write_file(&before);
    pooler.admin("RELOAD");

    let template = cluster.directory().join("refused.ini");
    cluster.home().write(&template, REFUSED);
    let file = cluster.write_config(1, &Settings::pausing(), |toml| {
        let entry = "name = \"app\"\nprobe_user = \"probe\"\n";
        let still = format!("{entry}\n[[pgbouncer.database]]\nname = \"still\"\n");
        *toml = toml.replacen(entry, &still, 1);
        let place = "name = \"pgb1\"\n";
        let line = format!("{place}template = \"{}\"\n", template.display());
        *toml = toml.replacen(place, &line, 1);
    });
    let daemon = cluster.daemon_with_file(1, &file, |_| ());
    daemon.wait_for_log("monitoring node \"node2\"", DEADLINE);
    node2.kill9();

    wait_until_serves(other, node1, DEADLINE);
    let mut mark = 0;
    for _ in 0..4 {
        daemon.wait_for_log_after(mark, "failed, previous file restored", DEADLINE);
        mark = daemon.mark();
        assert_eq!(pooler.file_text(), before);
        assert_eq!(pooler.served_port("app"), node2.port());
        assert_eq!(pooler.served_port("still"), node1.port());
    }
    assert!(
        pooler.log().contains("/nowhere/at/all.ini"),
        "{}",
        pooler.log()
    );
    let details = &wait_for_events(node1, "repoint_redirect", 1)[0]["details"];
    assert!(details.starts_with("1 of 2 PgBouncers"), "{details}");
    let pgb1 = "pgb1: failed, previous file restored: after RELOAD, PgBouncer at";
    assert!(details.contains(pgb1), "{details}");

    assert!(daemon.terminate().success());
    assert!(!pooler.paused("app") && !pooler.paused("still"));
    assert_eq!(pooler.config("server_login_retry"), "15");
    assert_eq!(pooler.file_text(), before);
    assert_eq!(leftovers(pooler), Vec::<String>::new());
    let through = pooler
        .conninfo("probe")
        .replace("dbname=app", "dbname=still");
    let mut client = postgres::Client::connect(&through, postgres::NoTls).expect("still serves");
    client.simple_query("select 1").expect("it answers");
}

/// PgBouncer would have taken the entries above the line that it refuses, and would not have
/// started again with such a file.
#[test]
fn a_mode_that_pgbouncer_refuses_is_found_at_the_start() {
    let cluster = Cluster::builder().poolers(1).start();
    let (pooler, before) = (cluster.pooler(1), cluster.pooler(1).file_text());
    let template = cluster.directory().join("refused.ini");
    let entry = "{{ databases[0].name }} = {{ databases[0].connection }}";
    let text = format!("[databases]\n{entry}\nodd = host=127.0.0.1 pool_mode=bogus\n");
    cluster.home().write(&template, &text);
    let settings = Settings {
        pgbouncer_lines: format!("template = \"{}\"", template.display()),
        ..Settings::pausing()
    };
    let file = cluster.write_config(1, &settings, |_| ());
    let output = cluster.repoint(&["-f", &file.display().to_string(), "daemon"]);
    assert_refused(&output, &["line 3", "pool_mode"]);
    assert_eq!(pooler.file_text(), before);
}

#[test]
fn a_template_that_cannot_be_right_keeps_the_daemon_from_starting() {
    let cluster = Cluster::builder().poolers(1).start();
    let entry = "{{ databases[0].name }} = {{ databases[0].connection }}";
    let cases: [(&str, String, &[&str]); 6] = [
        (
            "a key that PgBouncer does not know",
            format!("[databases]\n{entry} connect_timeout=2\n"),
            &["`pgb1`", "line 2", "`connect_timeout`"],
        ),
        (
            "a variable that is not there",
            format!("[databases]\n; {{{{ nobody }}}}\n{entry}\n"),
            &["`pgb1`", "nobody", ":2:"],
        ),
        (
            "a syntax error",
            "[databases]\n{% for database in databases %}\n".to_owned(),
            &["`pgb1`", ":3:"],
        ),
        (
            "an entry that is missing",
            "[databases]\n".to_owned(),
            &["`pgb1`", "entry `app` is missing"],
        ),
        (
            "an entry that leads elsewhere",
            "[databases]\napp = host=127.0.0.1 port=1 dbname=bdrtest\n".to_owned(),
            &["`pgb1`", "line 2", "`port` is `1`"],
        ),
        (
            "a trailing comment",
            format!("[databases]\n{entry} ; ours\n"),
            &["`pgb1`", "line 2", "a comment needs a line of its own"],
        ),
    ];
    let template = cluster.directory().join("template.ini");
    let settings = Settings {
        pgbouncer_lines: format!("template = \"{}\"", template.display()),
        ..Settings::pausing()
    };
    let file = cluster.write_config(1, &settings, |_| ());
    for (what, text, words) in cases {
        cluster.home().write(&template, &text);
        let output = cluster.repoint(&["-f", &file.display().to_string(), "daemon"]);
        println!("{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert_refused(&output, words);
    }
    std::fs::remove_file(&template).expect("it is there");
    let output = cluster.repoint(&["-f", &file.display().to_string(), "daemon"]);
    assert_refused(&output, &[&template.display().to_string(), "No such file"]);
    untouched(&cluster, &file);
}

#[track_caller]
fn assert_refused(output: &std::process::Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    assert!(!text.contains("repoint starts"), "{text}");
}

fn untouched(cluster: &Cluster, file: &Path) {
    assert!(file.exists());
    let pooler = cluster.pooler(1);
    assert!(leftovers(pooler).is_empty());
    assert_stays(Duration::from_millis(100), "not paused", || {
        !pooler.paused("app")
    });
}
