//! Password file, service file and environment, beside `psql`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::fixture::Cluster;
use crate::psql::Pair;

const PASSWORD: &str = "correct-horse";

struct Scene {
    cluster: Cluster,
    port: u16,
}

impl Scene {
    /// The user `app` needs its password over TCP.
    fn new() -> Self {
        let cluster = Cluster::builder().poolers(0).start();
        let node = cluster.node1();
        let hba = node.data_directory().join("pg_hba.conf");
        let trust = std::fs::read_to_string(&hba).expect("initdb has written it");
        let line = "host all app 127.0.0.1/32 scram-sha-256\n";
        cluster.home().write(&hba, &format!("{line}{trust}"));
        node.rows(&format!("alter role app password '{PASSWORD}'"));
        node.rows("select pg_reload_conf()");
        let port = node.port();
        Self { cluster, port }
    }

    /// A home directory with a file of this mode in it.
    fn home(&self, name: &str, file: &str, text: &str, mode: u32) -> PathBuf {
        let home = self.cluster.home().path(name);
        self.cluster.home().create_directory(&home);
        let path = home.join(file);
        self.cluster.home().write(&path, text);
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("our own file");
        home
    }
}

#[test]
fn the_password_file_is_read_as_libpq_reads_it() {
    let scene = Scene::new();
    let port = scene.port;
    let base = format!("host=127.0.0.1 port={port} dbname=bdrtest user=app connect_timeout=20");
    for (index, (text, mode, connects)) in [
        (
            format!("127.0.0.1:{port}:bdrtest:app:{PASSWORD}\n"),
            0o600,
            true,
        ),
        (format!("#\n*:*:*:*:{PASSWORD}"), 0o400, true),
        (format!("*:*:*:*:{PASSWORD}"), 0o640, false),
        (format!("*:*:*:*:{PASSWORD}"), 0o604, false),
        (
            format!("*:*:other:*:{PASSWORD}\n*:*:*:*:wrong\n"),
            0o600,
            false,
        ),
        (String::new(), 0o600, false),
    ]
    .into_iter()
    .enumerate()
    {
        let home = scene.home(&format!("pgpass{index}"), ".pgpass", &text, mode);
        let mut pair = Pair::new(&scene.cluster, home);
        let reason = pair.compare(&base);
        assert_eq!(reason.is_empty(), connects, "{reason}");
        pair.compare(&format!("{base} password={PASSWORD}"));
        pair.compare(&format!("{base} password=wrong"));
        pair.agree(1, 1);
    }
    let named = scene.home("named", "other", &format!("*:*:*:*:{PASSWORD}"), 0o600);
    let named = named.join("other").display().to_string();
    let empty = scene.home("empty", "nothing", "", 0o600);
    let mut pair = Pair::new(&scene.cluster, empty);
    pair.compare(&format!("{base} passfile={named}"));
    pair.compare(&format!("{base} passfile=/absent"));
    pair.environment(&[("PGPASSFILE", &named)]);
    pair.compare(&base);
    pair.environment(&[("PGPASSWORD", PASSWORD)]);
    pair.compare(&base);
    pair.compare(&format!("{base} password=''"));
    pair.agree(3, 1);
}

#[test]
fn each_host_of_a_list_has_its_own_password() {
    let scene = Scene::new();
    let port = scene.port;
    let text = format!("127.0.0.2:*:*:*:wrong\nnode1.test:{port}:*:*:{PASSWORD}\n");
    let home = scene.home("hosts", ".pgpass", &text, 0o600);
    let mut pair = Pair::new(&scene.cluster, home);
    // Nobody listens on port 1.
    let hosts = format!("host=127.0.0.2,node1.test hostaddr=127.0.0.2,127.0.0.1 port=1,{port}");
    let reason = pair.compare(&format!(
        "{hosts} dbname=bdrtest user=app connect_timeout=20"
    ));
    assert_eq!(reason, "");
    pair.agree(1, 0);
}

#[test]
fn services_and_variables_are_read_as_libpq_reads_them() {
    let scene = Scene::new();
    let port = scene.port;
    let node = format!("host=127.0.0.1\nport={port}\ndbname=bdrtest\n");
    let text = format!(
        "# ours\n[node]\n{node}user=repmgr\n\n[secret]\n{node}user=app\npassword={PASSWORD}\n\
         [nested]\nservice=node\n[unknown]\nhast=x\n"
    );
    let home = scene.home("services", ".pg_service.conf", &text, 0o600);
    let named = home.join(".pg_service.conf").display().to_string();
    let limit = "connect_timeout=20";
    let mut pair = Pair::new(&scene.cluster, home.clone());
    for service in ["node", "secret", "nested", "unknown", "absent"] {
        pair.compare(&format!("service={service} {limit}"));
    }
    pair.compare(&format!("service=node port=1 {limit}"));
    pair.environment(&[("PGSERVICE", "secret"), ("PGHOST", "192.0.2.1")]);
    pair.compare(limit);
    let empty = scene.home("elsewhere", "pg_service.conf", &text, 0o600);
    let system = empty.display().to_string();
    let mut other = Pair::new(&scene.cluster, empty);
    for variables in [
        &[("PGSERVICEFILE", named.as_str())][..],
        &[("PGSERVICEFILE", "/absent")],
        &[("PGSYSCONFDIR", &system)],
        &[("PGSYSCONFDIR", "/absent")],
    ] {
        other.environment(variables);
        other.compare(&format!("service=node {limit}"));
    }
    let port = port.to_string();
    let all = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &port),
        ("PGDATABASE", "bdrtest"),
    ];
    for further in [
        &[("PGUSER", "repmgr")][..],
        &[("PGUSER", "app"), ("PGPASSWORD", PASSWORD)],
        &[("PGUSER", "app"), ("PGPASSWORD", "wrong")],
        &[("PGUSER", "repmgr"), ("PGSSLMODE", "require")],
        &[("PGUSER", "repmgr"), ("PGSSLMODE", "nonsense")],
        &[("PGUSER", "repmgr"), ("PGREQUIRESSL", "1")],
        &[("PGUSER", "repmgr"), ("PGCONNECT_TIMEOUT", "2s")],
        &[("PGUSER", "nobody-has-this")],
    ] {
        other.environment(&[&all[..], further].concat());
        other.compare("application_name=test");
    }
    pair.agree(3, 3);
    other.agree(4, 6);
}

#[test]
fn values_that_libpq_refuses_are_refused() {
    let scene = Scene::new();
    let node = scene.cluster.node1();
    let home = scene.home("plain", "nothing", "", 0o600);
    let mut pair = Pair::new(&scene.cluster, home);
    let port = scene.port;
    let base = format!("host=127.0.0.1 port={port} dbname=bdrtest user=repmgr");
    for rest in [
        "connect_timeout=20",
        "tcp_user_timeout=5000",
        "tcp_user_timeout=5s",
        "keepalives=0",
        "keepalives=off",
        "keepalives_idle=60 keepalives_interval=10 keepalives_count=3",
        "keepalives_idle=1m",
        "sslmode=nonsense",
        "sslmode=''",
        "ssl_min_protocol_version=TLSv9",
        "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
        "port=0",
        "port=65536",
        "port=x",
        "host=127.0.0.1,127.0.0.2 port=1,2,3",
        "hostaddr=127.0.0.1,127.0.0.1",
        "options='-c search_path=public'",
        "options='-c nonsense=1'",
        "channel_binding=require",
        "channel_binding=disable",
        "channel_binding=nonsense",
        "gssencmode=disable",
        "dbname=absent",
        "user=absent",
    ] {
        pair.compare(&format!("{base} {rest}"));
    }
    for attributes in [
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ] {
        pair.compare(&format!("{base} target_session_attrs={attributes}"));
        let read_only = "options='-c default_transaction_read_only=on'";
        pair.compare(&format!(
            "{base} target_session_attrs={attributes} {read_only}"
        ));
    }
    pair.compare(&format!("{base} target_session_attrs=nonsense"));
    let socket = node.socket_dir().display().to_string();
    let user = scene.cluster.home().user();
    let base = format!("host={socket} port={port} dbname=bdrtest user=repmgr");
    for rest in [
        "",
        "sslmode=require",
        "sslmode=verify-full",
        "requirepeer=root",
    ] {
        pair.compare(&format!("{base} {rest}"));
    }
    pair.compare(&format!("{base} requirepeer={user}"));
    pair.agree(8, 12);
}
