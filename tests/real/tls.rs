//! TLS to a node, beside `psql`: whether a connection comes about is libpq's decision in every
//! case, and ours must be the same. The authorities and certificates are made here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fixture::{Cluster, process, wait_until};
use crate::psql::Pair;

const DEADLINE: Duration = Duration::from_secs(30);

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// The files of authorities, servers and clients, in a directory of the cluster.
struct Certificates<'c> {
    cluster: &'c Cluster,
    directory: PathBuf,
}

impl<'c> Certificates<'c> {
    fn make(cluster: &'c Cluster) -> Self {
        let directory = cluster.home().path("tls");
        cluster.home().create_directory(&directory);
        let made = Self { cluster, directory };
        for authority in ["right", "wrong"] {
            let subject = format!("/CN={authority}");
            let key = format!("{authority}.key");
            let out = format!("{authority}.crt");
            made.openssl(&[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                &subject,
                "-keyout",
                &key,
                "-out",
                &out,
            ]);
        }
        made.sign(
            "server",
            "right",
            "node1.test",
            "DNS:node1.test,DNS:*.wild.test,IP:127.0.0.1",
        );
        made.sign("named", "right", "127.0.0.1", "email:a@b.test");
        made.sign("client", "right", "repmgr", "email:a@b.test");
        made.sign("stranger", "wrong", "repmgr", "email:a@b.test");
        made.write(
            "ca.conf",
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index\ncrlnumber=number\ndefault_md=sha256\n\
             default_crl_days=2\n",
        );
        made.write("index", "");
        made.write("number", "01\n");
        let ca = [
            "ca",
            "-config",
            "ca.conf",
            "-keyfile",
            "right.key",
            "-cert",
            "right.crt",
        ];
        made.openssl(&[&ca[..], &["-gencrl", "-out", "clean.crl"]].concat());
        made.openssl(&[&ca[..], &["-revoke", "server.crt"]].concat());
        made.openssl(&[&ca[..], &["-gencrl", "-out", "revoked.crl"]].concat());
        for list in ["clean", "revoked"] {
            let directory = made.directory.join(format!("{list}.d"));
            made.cluster.home().create_directory(&directory);
            made.copy(
                &format!("{list}.crl"),
                &format!("{list}.d/{list}.crl"),
                0o600,
            );
            made.openssl(&["rehash", &format!("{list}.d")]);
        }
        made.openssl(&[
            "ec",
            "-in",
            "client.key",
            "-aes128",
            "-passout",
            "pass:sesame",
            "-out",
            "locked.key",
        ]);
        made.openssl(&[
            "ec",
            "-in",
            "client.key",
            "-outform",
            "DER",
            "-out",
            "der.key",
        ]);
        made.copy("client.key", "open.key", 0o644);
        made.write("garbage.crt", "-----BEGIN CERTIFICATE-----\nrubbish\n");
        for key in ["locked.key", "der.key"] {
            made.copy(key, key, 0o600);
        }
        made
    }

    /// `name.key` and `name.crt`, signed by an authority.
    fn sign(&self, name: &str, authority: &str, common_name: &str, alternatives: &str) {
        let file = |extension: &str| format!("{name}.{extension}");
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            &format!("/CN={common_name}"),
            "-keyout",
            &file("key"),
            "-out",
            &file("csr"),
        ]);
        self.write(&file("ext"), &format!("subjectAltName={alternatives}\n"));
        self.openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &file("csr"),
            "-CA",
            &format!("{authority}.crt"),
            "-CAkey",
            &format!("{authority}.key"),
            "-CAcreateserial",
            "-extfile",
            &file("ext"),
            "-out",
            &file("crt"),
        ]);
        self.copy(&file("key"), &file("key"), 0o600);
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = self.cluster.home().command(Path::new("openssl"));
        command.args(arguments).current_dir(&self.directory);
        process::run_well(&mut command, "", DEADLINE);
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        self.cluster.home().write(&self.directory.join(name), text);
    }

    /// Copies a file, or only gives it this mode.
    fn copy(&self, from: &str, to: &str, mode: u32) {
        let mut command = self.cluster.home().command(Path::new("install"));
        let temporary = format!("{to}.new");
        command.arg(format!("-m{mode:o}")).args([from, &temporary]);
        process::run_well(command.current_dir(&self.directory), "", DEADLINE);
        let moved = std::fs::rename(self.directory.join(&temporary), self.directory.join(to));
        moved.expect("a file that is there");
    }

    /// A home directory with these files of ours in `~/.postgresql`.
    fn home(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let home = self.directory.join(name);
        self.cluster.home().create_directory(&home);
        self.cluster
            .home()
            .create_directory(&home.join(".postgresql"));
        for (from, to) in files {
            self.copy(from, &format!("{name}/.postgresql/{to}"), 0o600);
        }
        home
    }

    /// Has node 1 show a certificate to who connects.
    fn serve(&self, certificate: &str) {
        let node = self.cluster.node1();
        let set = |name: &str, file: &str| {
            node.rows(&format!("alter system set {name} = '{}'", self.path(file)));
        };
        set("ssl_cert_file", &format!("{certificate}.crt"));
        set("ssl_key_file", &format!("{certificate}.key"));
        set("ssl_ca_file", "right.crt");
        node.rows("alter system set ssl = on");
        self.reload();
        let file = format!("{certificate}.crt");
        wait_until(DEADLINE, "the new certificate", || {
            node.query_one_text("show ssl_cert_file").ends_with(&file)
                && node.query_one_text("show ssl") == "on"
        });
    }

    fn reload(&self) {
        let node = self.cluster.node1();
        let before = node.query_one_text("select pg_conf_load_time()");
        node.rows("select pg_reload_conf()");
        wait_until(DEADLINE, "the configuration", || {
            node.query_one_text("select pg_conf_load_time()") != before
        });
    }
}

fn base(cluster: &Cluster, host: &str) -> String {
    let port = cluster.node1().port();
    let host = match host {
        "" => "hostaddr=127.0.0.1".to_owned(),
        "127.0.0.1" => "host=127.0.0.1".to_owned(),
        host => format!("host={host} hostaddr=127.0.0.1"),
    };
    format!("{host} port={port} dbname=bdrtest connect_timeout=20")
}

#[test]
fn the_server_is_verified_as_libpq_does_it() {
    let cluster = Cluster::builder().poolers(0).start();
    let certificates = Certificates::make(&cluster);
    let file = |name: &str| certificates.path(name);
    let mut pair = Pair::new(&cluster, certificates.home("empty", &[]));
    certificates.serve("server");
    let roots = [
        file("right.crt"),
        file("wrong.crt"),
        file("absent.crt"),
        file("garbage.crt"),
    ];
    let lists = [
        String::new(),
        format!(" sslcrl={}", file("clean.crl")),
        format!(" sslcrl={}", file("revoked.crl")),
        format!(" sslcrl={}", file("absent.crl")),
        format!(" sslcrldir={}", file("clean.d")),
        format!(" sslcrldir={}", file("revoked.d")),
    ];
    for mode in MODES {
        let with = |host: &str, rest: &str| {
            let base = base(&cluster, host);
            format!("{base} user=repmgr sslmode={mode} {rest}")
        };
        for root in &roots {
            pair.compare(&with("node1.test", &format!("sslrootcert={root}")));
            pair.compare(&with("other.test", &format!("sslrootcert={root}")));
        }
        let right = format!("sslrootcert={}", roots[0]);
        for list in &lists {
            pair.compare(&with("node1.test", &format!("{right}{list}")));
        }
        for host in [
            "",
            "127.0.0.1",
            "NODE1.test",
            "a.wild.test",
            "a.b.wild.test",
        ] {
            pair.compare(&with(host, &right));
        }
        pair.compare(&with("node1.test", ""));
        let versions = "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.3";
        pair.compare(&with("node1.test", versions));
        let old = "ssl_min_protocol_version=TLSv1 ssl_max_protocol_version=TLSv1.1";
        pair.compare(&with("node1.test", old));
    }
    // A common name counts only where no alternative name of its kind is.
    certificates.serve("named");
    for host in ["127.0.0.1", "node1.test", ""] {
        let base = base(&cluster, host);
        let right = &roots[0];
        pair.compare(&format!(
            "{base} user=repmgr sslmode=verify-full sslrootcert={right}"
        ));
    }
    pair.agree(90, 30);
}

#[test]
fn the_files_of_the_home_directory_count_as_for_libpq() {
    let cluster = Cluster::builder().poolers(0).start();
    let certificates = Certificates::make(&cluster);
    certificates.serve("server");
    for (name, files) in [
        ("nothing", &[][..]),
        ("right", &[("right.crt", "root.crt")]),
        ("wrong", &[("wrong.crt", "root.crt")]),
        (
            "revoked",
            &[("right.crt", "root.crt"), ("revoked.crl", "root.crl")],
        ),
        ("list-alone", &[("revoked.crl", "root.crl")]),
    ] {
        let mut pair = Pair::new(&cluster, certificates.home(name, files));
        for mode in MODES {
            let base = base(&cluster, "node1.test");
            pair.compare(&format!("{base} user=repmgr sslmode={mode}"));
            let clean = certificates.path("clean.d");
            pair.compare(&format!(
                "{base} user=repmgr sslmode={mode} sslcrldir={clean}"
            ));
        }
        pair.agree(2, 0);
    }
}

#[test]
fn a_certificate_of_ours_is_shown_as_libpq_shows_it() {
    let cluster = Cluster::builder().poolers(0).start();
    let certificates = Certificates::make(&cluster);
    let hba = cluster.node1().data_directory().join("pg_hba.conf");
    let trust = std::fs::read_to_string(&hba).expect("initdb has written it");
    let all = "hostssl postgres all 127.0.0.1/32 trust clientcert=verify-full\n\
               hostnossl postgres all 127.0.0.1/32 reject\n";
    cluster.home().write(&hba, &format!("{all}{trust}"));
    certificates.serve("server");
    let file = |name: &str| certificates.path(name);
    let homes = [
        certificates.home("none", &[]),
        certificates.home(
            "own",
            &[
                ("client.crt", "postgresql.crt"),
                ("client.key", "postgresql.key"),
            ],
        ),
        certificates.home("no-key", &[("client.crt", "postgresql.crt")]),
    ];
    let own = format!("sslcert={}", file("client.crt"));
    let with_key = |key: &str| format!("{own} sslkey={}", file(key));
    let given = [
        String::new(),
        own.clone(),
        with_key("client.key"),
        with_key("open.key"),
        with_key("absent.key"),
        with_key("stranger.key"),
        with_key("der.key"),
        with_key("locked.key"),
        format!("{} sslpassword=sesame", with_key("locked.key")),
        format!("{} sslpassword=mustard", with_key("locked.key")),
        format!(
            "sslcert={} sslkey={}",
            file("stranger.crt"),
            file("stranger.key")
        ),
        format!("sslcert={}", file("absent.crt")),
        format!("sslcert={}", file("garbage.crt")),
    ];
    for home in homes {
        let mut pair = Pair::new(&cluster, home);
        for mode in ["disable", "prefer", "require", "verify-full"] {
            for given in &given {
                let base = base(&cluster, "node1.test").replace("bdrtest", "postgres");
                let root = file("right.crt");
                let reason = pair.compare(&format!(
                    "{base} user=repmgr sslmode={mode} sslrootcert={root} {given}"
                ));
                assert!(!reason.contains("mustard"), "{reason}");
            }
        }
        pair.agree(2, 10);
    }
}

#[test]
fn a_refusal_says_what_is_wrong() {
    let cluster = Cluster::builder().poolers(0).start();
    let certificates = Certificates::make(&cluster);
    certificates.serve("server");
    let mut pair = Pair::new(&cluster, certificates.home("empty", &[]));
    let file = |name: &str| certificates.path(name);
    let right = format!("sslrootcert={}", file("right.crt"));
    let absent = file("absent.crt");
    for (host, rest, expected) in [
        (
            "node1.test",
            format!("sslmode=verify-ca sslrootcert={}", file("wrong.crt")),
            "the server's certificate is not trusted: self-signed certificate".to_owned(),
        ),
        (
            "other.test",
            format!("sslmode=verify-full {right}"),
            "the server's certificate does not match host name `other.test`".to_owned(),
        ),
        (
            "node1.test",
            format!("sslmode=verify-ca {right} sslcrl={}", file("revoked.crl")),
            "the server's certificate is not trusted: certificate revoked".to_owned(),
        ),
        (
            "node1.test",
            format!("sslmode=verify-ca sslrootcert={absent}"),
            format!("root certificate file `{absent}` does not exist; "),
        ),
        (
            "node1.test",
            format!(
                "sslmode=require sslcert={} sslkey={}",
                file("client.crt"),
                file("open.key")
            ),
            format!(
                "private key file `{}` has group or world access; ",
                file("open.key")
            ),
        ),
        (
            "node1.test",
            format!(
                "sslmode=require sslcert={} sslkey={absent}",
                file("client.crt")
            ),
            format!("certificate present, but not private key `{absent}`: No such file"),
        ),
        (
            "node1.test",
            format!("sslmode=require sslrootcert={}", file("garbage.crt")),
            format!("root certificate file `{}`: ", file("garbage.crt")),
        ),
        (
            "",
            format!("sslmode=verify-full {right}"),
            "sslmode verify-full needs a host name: add `host`".to_owned(),
        ),
    ] {
        let base = base(&cluster, host);
        let reason = pair.compare(&format!("{base} user=repmgr {rest}"));
        assert!(reason.contains(&expected), "{rest}:\n{reason}");
    }
    // With TLS 1.3 the server's answer may come too late to be read, so several times.
    let stranger = format!(
        "{} user=repmgr sslmode=require sslcert={} sslkey={}",
        base(&cluster, "node1.test"),
        file("stranger.crt"),
        file("stranger.key")
    );
    for _ in 0..20 {
        let reason = pair.compare(&stranger);
        let alert = reason.contains("sslmode=require: tlsv1 alert unknown ca");
        // A server that closes for this lives: it is not refused as by a dead one.
        let closed = reason.contains("sslmode=require: closed after our certificate was shown");
        assert!(alert || closed, "{reason}");
    }
    pair.agree(0, 28);
}

#[test]
fn a_server_with_or_without_tls_is_reached_as_libpq_reaches_it() {
    let cluster = Cluster::builder().poolers(0).start();
    let certificates = Certificates::make(&cluster);
    let hba = cluster.node1().data_directory().join("pg_hba.conf");
    let trust = std::fs::read_to_string(&hba).expect("initdb has written it");
    let by_user = "hostnossl all app 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 reject\n\
                   hostssl all probe 127.0.0.1/32 trust\nhost all probe 127.0.0.1/32 reject\n";
    cluster.home().write(&hba, &format!("{by_user}{trust}"));
    let mut pair = Pair::new(&cluster, certificates.home("empty", &[]));
    for tls in [false, true] {
        if tls {
            certificates.serve("server");
        } else {
            certificates.reload();
        }
        for mode in MODES {
            for user in ["repmgr", "app", "probe"] {
                let base = base(&cluster, "node1.test");
                pair.compare(&format!("{base} user={user} sslmode={mode}"));
            }
        }
    }
    pair.agree(12, 12);
}
