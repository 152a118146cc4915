//! `render --full`: the file to begin with, without any server.

use crate::{Place, example, example_with};

#[test]
fn the_example_gives_a_file_for_each_node() {
    let place = Place::with_configuration(&example());
    place.run(&["render", "--full"]).is(
        0,
        "\
;repoint v1 generation=0.0 active=1 writer=1 \
sha256=d478d526ce2a99bebb13036e01bdb1b436992522eeb646d95172bb8cacf5b98e
[databases]
app = host='10.0.0.11' port='5432' dbname='bdrtest' user='app' \
pool_mode='transaction' pool_size='20'
",
        "",
    );
    place.run(&["render", "--full", "--node", "node2"]).is(
        0,
        "\
;repoint v1 generation=0.0 active=2 writer=1 \
sha256=26a4a653874053c5272ab88b370652571ea8d2cfdbb9669848c2a9a868b529f2
[databases]
app = host='10.0.0.12' port='5432' dbname='bdrtest' user='app' \
pool_mode='transaction' pool_size='20'
",
        "",
    );
    assert_eq!(place.files(), ["repoint.toml"]);
}

#[test]
fn the_template_pgbouncer_ini_gives_a_whole_file() {
    let settings = "\
auth_file = \"/etc/pgbouncer/userlist.txt\"
listen_port = 6432
so_reuseport = true
admin_users = \"repoint\"
";
    let text = example_with(&[
        ("template", "template = \"pgbouncer.ini\""),
        ("listen_port", settings),
    ]);
    Place::with_configuration(&text)
        .run(&["render", "--full"])
        .is(
            0,
            "\
;repoint v1 generation=0.0 active=1 writer=1 \
sha256=6eae2a8e911f3ee083914e2a1c8218ff3789a10487d15d287dcba62abdc051ed
[pgbouncer]
admin_users = repoint
auth_file = /etc/pgbouncer/userlist.txt
listen_port = 6432
so_reuseport = 1

[databases]
app = host='10.0.0.11' port='5432' dbname='bdrtest' user='app' \
pool_mode='transaction' pool_size='20'
",
            "",
        );
}

#[test]
fn several_files_are_told_apart_by_their_places() {
    let mut text = example();
    text.push_str(
        "
[[pgbouncer]]
name = \"pgb0\"
local = true
console = \"host=127.0.0.1 user=repoint dbname=pgbouncer\"
file = \"/etc/pgbouncer/local.ini\"

[[pgbouncer.database]]
name = \"reports\"
",
    );
    let place = Place::with_configuration(&text);
    let ran = place.run(&["render", "--full"]);
    let headings: Vec<&str> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("==>"))
        .collect();
    assert_eq!(
        headings,
        [
            "==> /etc/pgbouncer/local.ini <==",
            "==> repoint@10.0.0.21:/etc/pgbouncer/repoint/databases.ini <=="
        ]
    );
    let one = place.run(&["render", "--full", "--pgbouncer", "pgb0"]);
    assert!(one.stdout.starts_with(";repoint v1 "), "{}", one.stdout);
    assert!(
        one.stdout
            .ends_with("[databases]\nreports = host='10.0.0.11' port='5432' dbname='bdrtest'\n"),
        "{}",
        one.stdout
    );
}

/// Each PgBouncer begins at the node that it prefers, unless another one is told.
#[test]
fn the_first_file_leads_home() {
    let text = example_with(&[("home = ", "home = 2")]);
    let place = Place::with_configuration(&text);
    let host = |arguments: &[&str]| {
        let ran = place.run(&[&["render", "--full"], arguments].concat());
        let entry = ran.stdout.lines().last().unwrap_or_default().to_owned();
        let host = entry.split('\'').nth(1);
        host.unwrap_or_default().to_owned()
    };
    assert_eq!(host(&[]), "10.0.0.12");
    assert_eq!(host(&["--node", "node1"]), "10.0.0.11");
}

#[test]
fn an_unknown_name_is_refused_with_those_that_exist() {
    let place = Place::with_configuration(&example());
    for full in [&["render", "--full"][..], &["render"]] {
        let with = |option, name| place.run(&[full, &[option, name]].concat());
        with("--node", "node3")
            .fails("repoint: no node is called \"node3\"; there are \"node1\" and \"node2\"\n");
        with("--pgbouncer", "pgb9")
            .fails("repoint: no PgBouncer is called \"pgb9\"; there is \"pgb1\"\n");
    }
}
