//! How a PgBouncer's host sees the two nodes, with real sshds: what it reaches, what it does not,
//! and what it cannot tell. Node 1 is the one to leave, node 2 the target.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use repoint::conninfo::Conninfo;
use repoint::core::vote::{Sight, Sights, Vote};
use repoint::edge::remote::{LOOK_LIMIT, RemoteHost, Site, Turns};
use tokio::runtime::Runtime;

use crate::fixture::{Cluster, Node, Settings, process, wait_until};
use crate::host_verbs::runtime;

const DEADLINE: Duration = Duration::from_secs(20);

/// What follows a look's own time: an answered query again, and the ends of forwards.
const MORE: Duration = Duration::from_secs(2);

const REACHED: Sight = Sight::Reached { read_only: false };

const FORBIDDEN: &str = "sshd there forbids forwarding to a node (AllowTcpForwarding, PermitOpen): \
                         allow it, or name a `witness_command`";

/// The host of the first PgBouncer, with the nodes as the configuration has them.
struct Witness {
    runtime: Runtime,
    open: RemoteHost,
    sockets: PathBuf,
}

impl Witness {
    fn open(cluster: &Cluster) -> Self {
        Self::open_with(cluster, |_| ())
    }

    /// With further `lines` in its `[[pgbouncer]]`.
    fn commanded(cluster: &Cluster, command: &Path) -> Self {
        let line = format!("\nwitness_command = \"{}\"\nfile = ", command.display());
        Self::open_with(cluster, |toml| *toml = toml.replace("\nfile = ", &line))
    }

    /// After `edit` has had a look at the configuration.
    fn open_with(cluster: &Cluster, edit: impl FnOnce(&mut String)) -> Self {
        let file = cluster.write_config(1, &Settings::default(), edit);
        let text = std::fs::read_to_string(&file).expect("it was just written");
        let config = repoint::config::file::parse(&file, &text);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let sockets = cluster.home().path("s");
        cluster.home().create_directory(&sockets);
        let runtime = runtime();
        let pgbouncer = &config.pgbouncers["pgb1"];
        let open = runtime.block_on(RemoteHost::open(
            &Site::of_pgbouncer(pgbouncer),
            &sockets,
            &Turns::default(),
        ));
        Self {
            runtime,
            open: open.unwrap_or_else(|error| panic!("{error}")),
            sockets,
        }
    }

    fn see(&self, failed: &str, next: &str) -> Sights {
        let (failed, next) = (conninfo(failed), conninfo(next));
        let look = self.open.see(&failed, &next, LOOK_LIMIT);
        self.runtime.block_on(look)
    }

    fn see_nodes(&self, cluster: &Cluster) -> Sights {
        self.see(&cluster.node1().conninfo(), &cluster.node2().conninfo())
    }

    /// All files of the session on this machine.
    fn files(&self) -> BTreeSet<PathBuf> {
        let mut pending = vec![self.sockets.clone()];
        let mut files = BTreeSet::new();
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(directory).expect("it is there") {
                let path = entry.expect("it can be read").path();
                match path.is_dir() {
                    true => pending.push(path),
                    false => _ = files.insert(path),
                }
            }
        }
        files
    }

    /// What OpenSSH's master has open.
    fn descriptors(&self) -> usize {
        let needle = self.sockets.display().to_string();
        let is_master = |pid: &u32| {
            process::name(*pid) == "ssh" && process::command_line(*pid).contains(&needle)
        };
        let masters: Vec<u32> = process::all_pids().filter(is_master).collect();
        let [master] = masters[..] else {
            panic!("one master, not {masters:?}");
        };
        let descriptors = std::fs::read_dir(format!("/proc/{master}/fd"));
        descriptors.expect("it runs").count()
    }
}

fn conninfo(text: &str) -> Conninfo {
    Conninfo::parse(text).expect("a connection string")
}

fn one_pooler() -> Cluster {
    Cluster::builder().poolers(1).start()
}

fn unknown(reason: &str) -> Sight {
    let reason = reason.to_owned();
    Sight::Unknown { reason }
}

#[track_caller]
fn assert_not_reached(sight: &Sight, words: &str) {
    let Sight::NotReached { reason } = sight else {
        panic!("{sight:?}");
    };
    assert!(reason.contains(words), "{reason}");
}

#[track_caller]
fn assert_tells_nothing(sights: &Sights) {
    let vote = sights.vote();
    assert!(matches!(vote, Vote::Unknown { .. }), "{sights:?}: {vote:?}");
}

fn wait_for_read_only(node: &Node) {
    node.rows("alter system set default_transaction_read_only = on");
    node.rows("select pg_reload_conf()");
    wait_until(DEADLINE, "a node that takes no writes", || {
        node.query_one_text("show transaction_read_only") == "on"
    });
}

#[test]
fn a_witness_that_reaches_the_node_to_leave_is_against_the_move() {
    let cluster = one_pooler();
    let against = Vote::Against {
        reason: "it reaches the node to leave".to_owned(),
    };
    let local = |toml: &mut String| {
        let lines = format!("ssh_config = \"{}\"\n", cluster.ssh_config().display());
        *toml = toml
            .replace(&lines, "")
            .replace("ssh = \"pgb1\"", "local = true");
    };
    for witness in [Witness::open(&cluster), Witness::open_with(&cluster, local)] {
        // What kind of server is wanted does not change what is seen.
        let [node1, node2] = [cluster.node1().conninfo(), cluster.node2().conninfo()];
        let wanted = format!("{node1} target_session_attrs=standby");
        let sights = witness.see(&wanted, &node2);
        assert_eq!((&sights.failed, &sights.next), (&REACHED, &REACHED));
        assert_eq!(sights.vote(), against);
    }
    // So is one that a live server lets in nowhere.
    let witness = Witness::open(&cluster);
    let [node1, node2] = [cluster.node1().conninfo(), cluster.node2().conninfo()];
    let closed = |conninfo: &str| conninfo.replace("dbname=bdrtest", "dbname=nosuch");
    let sights = witness.see(&closed(&node1), &node2);
    let told = "FATAL: database \"nosuch\" does not exist (3D000)";
    assert_eq!(
        sights.vote(),
        Vote::Against {
            reason: format!("the node to leave answers it: {told}")
        }
    );

    cluster.node1().stop_fast();
    let sights = witness.see(&node1, &closed(&node2));
    assert_eq!(
        sights.vote(),
        Vote::Unknown {
            reason: format!("the target lets nobody in: {told}")
        }
    );
}

#[test]
fn a_witness_votes_to_leave_a_stopped_node_for_one_that_takes_writes() {
    let cluster = one_pooler();
    let witness = Witness::open(&cluster);
    cluster.node1().stop_fast();
    let sights = witness.see_nodes(&cluster);
    assert_not_reached(&sights.failed, "refused: ");
    assert_eq!(sights.next, REACHED);
    assert_eq!(sights.vote(), Vote::For);

    // The same host, with nowhere to go.
    wait_for_read_only(cluster.node2());
    let sights = witness.see_nodes(&cluster);
    assert_eq!(sights.next, Sight::Reached { read_only: true });
    assert_eq!(
        sights.vote(),
        Vote::Unknown {
            reason: "the target is read-only".to_owned()
        }
    );
    cluster.node2().stop_fast();
    let sights = witness.see_nodes(&cluster);
    assert_not_reached(&sights.next, "refused: ");
    assert_tells_nothing(&sights);
}

#[test]
fn a_node_that_is_silent_is_not_reached_within_the_limit() {
    let cluster = one_pooler();
    let witness = Witness::open(&cluster);
    cluster.node1().freeze();
    let begun = Instant::now();
    let sights = witness.see_nodes(&cluster);
    let took = begun.elapsed();
    assert_not_reached(&sights.failed, "no answer within 2s");
    assert_eq!(sights.vote(), Vote::For);
    let limit = Duration::from_secs(2);
    assert!(took >= limit && took < limit + MORE, "{took:?}");

    cluster.node1().thaw();
    let sights = witness.see_nodes(&cluster);
    assert_eq!(sights.failed, REACHED, "nothing of before is in the way");
}

#[test]
fn a_host_that_forbids_forwarding_has_no_vote_though_the_node_is_down() {
    let cluster = one_pooler();
    let [node1, node2] = cluster.nodes();
    node1.stop_fast();
    let sshd = cluster.pooler(1).sshd();
    let only_the_target = format!("PermitOpen 127.0.0.1:{}", node2.port());
    for lines in ["AllowTcpForwarding no", "PermitOpen none"] {
        sshd.reconfigure(lines);
        let witness = Witness::open(&cluster);
        let sights = witness.see_nodes(&cluster);
        assert_eq!(sights.failed, unknown(FORBIDDEN), "{lines}");
        assert_eq!(sights.next, unknown(FORBIDDEN), "{lines}");
        assert_tells_nothing(&sights);
    }
    sshd.reconfigure(&only_the_target);
    let witness = Witness::open(&cluster);
    let sights = witness.see_nodes(&cluster);
    assert_eq!(sights.failed, unknown(FORBIDDEN));
    assert_eq!(sights.next, REACHED);
    assert_tells_nothing(&sights);

    // Where OpenSSH does not say so, it looks like two dead nodes.
    sshd.reconfigure("AllowTcpForwarding no");
    let quiet = std::fs::read_to_string(cluster.ssh_config()).expect("the fixture has written it");
    let quiet = format!("LogLevel QUIET\n{quiet}");
    cluster.home().write(cluster.ssh_config(), &quiet);
    let witness = Witness::open(&cluster);
    let sights = witness.see_nodes(&cluster);
    assert_not_reached(&sights.failed, "refused: ");
    assert_not_reached(&sights.next, "refused: ");
    assert_tells_nothing(&sights);
}

#[test]
fn a_session_that_falls_silent_or_ends_gives_no_vote() {
    let cluster = one_pooler();
    let sshd = cluster.pooler(1).sshd();
    let witness = Witness::open(&cluster);
    cluster.node1().freeze();
    // The target has answered, and the node to leave is still being tried.
    let sights = std::thread::scope(|scope| {
        scope.spawn(|| {
            let logged_in = "select count(*) from pg_stat_activity \
                             where application_name = 'repoint' and query like '%read_only%' \
                             and state = 'idle'";
            wait_until(DEADLINE, "an answer of the target", || {
                cluster.node2().query_one_text(logged_in) == "1"
            });
            sshd.freeze();
        });
        witness.see_nodes(&cluster)
    });
    let broke = unknown("the way through this witness broke while it looked");
    assert_eq!((&sights.failed, &sights.next), (&broke, &broke));

    let begun = Instant::now();
    assert_tells_nothing(&witness.see_nodes(&cluster));
    assert!(begun.elapsed() < LOOK_LIMIT + MORE, "{:?}", begun.elapsed());
    sshd.thaw();
    sshd.stop();
    assert_tells_nothing(&witness.see_nodes(&cluster));
}

#[test]
fn tls_is_verified_through_the_witness_as_it_is_without_one() {
    let cluster = one_pooler();
    let node2 = cluster.node2();
    let directory = node2.data_directory();
    let mut openssl = cluster.home().command(Path::new("openssl"));
    openssl.current_dir(&directory).args(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=node2 -keyout server.key \
         -out server.crt -addext subjectAltName=IP:127.0.0.1"
            .split_whitespace(),
    );
    process::run_well(&mut openssl, "", DEADLINE);
    node2.rows("alter system set ssl = on");
    node2.rows("select pg_reload_conf()");
    wait_until(DEADLINE, "TLS", || node2.query_one_text("show ssl") == "on");
    let certificate = directory.join("server.crt").display().to_string();
    let verified = |host: &str| {
        let right = node2.conninfo().replace("host=127.0.0.1", host);
        format!("{right} sslmode=verify-full sslrootcert={certificate}")
    };

    let witness = Witness::open(&cluster);
    cluster.node1().stop_fast();
    let node1 = cluster.node1().conninfo();
    assert_eq!(
        witness.see(&node1, &verified("host=127.0.0.1")).next,
        REACHED
    );
    let sights = witness.see(&node1, &verified("host=localhost"));
    assert!(matches!(sights.next, Sight::Unknown { .. }), "{sights:?}");
    assert_tells_nothing(&sights);
}

/// Writes a script that the servers' user may run.
fn script(cluster: &Cluster, text: &str) -> PathBuf {
    let path = cluster.home().path("sees it");
    cluster.home().write(&path, &format!("#!/bin/sh\n{text}"));
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&path, mode).expect("it was just written");
    path
}

#[test]
fn a_witness_command_is_asked_instead_and_its_exit_status_is_what_it_sees() {
    let cluster = one_pooler();
    cluster
        .pooler(1)
        .sshd()
        .reconfigure("AllowTcpForwarding no");
    let port1 = cluster.node1().port();
    let command = script(
        &cluster,
        &format!("code=$(cat \"${{0%/*}}/code\")\n[ $2 != {port1} ] || exit $code\n"),
    );
    let witness = Witness::commanded(&cluster, &command);
    let name = command.display();
    let code = cluster.home().path("code");
    let see = |text: &str| {
        cluster.home().write(&code, text);
        let sights = witness.see_nodes(&cluster);
        assert_eq!(sights.next, REACHED);
        sights
    };
    assert!(matches!(see("0").vote(), Vote::Against { .. }));
    let sights = see("1");
    assert_not_reached(&sights.failed, &format!("`{name}` does not reach it"));
    assert_eq!(sights.vote(), Vote::For);
    for other in ["2", "124", "255"] {
        let sights = see(other);
        let told = format!("`{name}` ends with exit status {other}");
        assert_eq!(sights.failed, unknown(&told));
        assert_tells_nothing(&sights);
    }

    std::fs::remove_file(&command).expect("it is there");
    let sights = witness.see_nodes(&cluster);
    let told = format!("`{name}` is not there, or `timeout` is not");
    assert_eq!(sights.failed, unknown(&told));
}

#[test]
fn a_witness_command_that_hangs_says_nothing_and_is_ended() {
    let cluster = one_pooler();
    let command = script(&cluster, "exec sleep 600\n");
    let witness = Witness::commanded(&cluster, &command);
    let sleepers = || {
        let belonging = process::belonging_to(cluster.directory()).into_iter();
        belonging
            .filter(|pid| process::command_line(*pid).contains("sleep\x00600"))
            .count()
    };
    let sights = witness.see_nodes(&cluster);
    let told = format!("`{}` says nothing within 2s", command.display());
    assert_eq!(sights.failed, unknown(&told));
    assert_tells_nothing(&sights);
    wait_until(DEADLINE, "no command left", || sleepers() == 0);
}

#[test]
fn what_a_node_is_called_is_an_argument_and_never_a_command() {
    let cluster = one_pooler();
    let command = script(
        &cluster,
        "printf '%s\\n' \"$#\" \"$@\" >>\"${0%/*}/arguments\"\n",
    );
    let witness = Witness::commanded(&cluster, &command);
    let names = [
        "$(touch${IFS}here)",
        "`id`;id|id&id>here",
        "a\\'b\\'\"c\"!*?~#",
        "$2",
    ];
    let mut expected = Vec::new();
    for name in names {
        let sights = witness.see(&format!("host={name} port=5432"), "host=b port=7");
        assert_eq!(sights.failed, REACHED, "{name}");
        let name = name.replace("\\'", "'");
        expected.push(["2".to_owned(), name, "5432".to_owned()]);
        expected.push(["2", "b", "7"].map(str::to_owned));
    }
    let lines = std::fs::read_to_string(cluster.home().path("arguments")).expect("it was run");
    let lines: Vec<&str> = lines.lines().collect();
    let mut found: Vec<Vec<&str>> = lines.chunks(3).map(<[&str]>::to_vec).collect();
    // Both nodes of a look are looked at together.
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);

    let of_a_socket = "the node has no host name or address that others can use";
    for name in ["-rf", "/var/run/postgresql", "'a b'"] {
        let sights = witness.see(&format!("host={name} port=5432"), "host=b port=7");
        assert_eq!(sights.failed, unknown(of_a_socket), "{name}");
    }
}

#[test]
fn fifty_sights_leave_no_socket_and_no_forward_behind() {
    let cluster = one_pooler();
    let witness = Witness::open(&cluster);
    let (files, descriptors) = (witness.files(), witness.descriptors());
    let as_before = |what: &str| {
        wait_until(DEADLINE, format_args!("all as before: {what}"), || {
            // Looks go on while something is waited for.
            assert!(witness.runtime.block_on(witness.open.alive()));
            witness.files() == files && witness.descriptors() == descriptors
        });
    };
    let many = |what: &str| {
        for _ in 0..16 {
            witness.see_nodes(&cluster);
            assert_eq!(witness.files(), files, "{what}");
        }
        as_before(what);
    };
    many("both reached");
    cluster.node1().stop_fast();
    many("one refused");
    cluster.node2().stop_fast();
    many("both refused");

    // And those that nobody waited for to the end.
    cluster.node2().start();
    cluster.node2().freeze();
    let (failed, next) = (cluster.node1().conninfo(), cluster.node2().conninfo());
    let (failed, next) = (conninfo(&failed), conninfo(&next));
    witness.runtime.block_on(async {
        for _ in 0..2 {
            let look = witness.open.see(&failed, &next, LOOK_LIMIT);
            let gave_up = tokio::time::timeout(Duration::from_millis(100), look).await;
            assert!(gave_up.is_err());
        }
    });
    assert_ne!(witness.files(), files, "they are on their way");
    cluster.node2().thaw();
    as_before("abandoned");
}

/// Keeps all that is logged.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.lock() {
            Ok(mut kept) => kept.write(bytes),
            Err(_) => Err(std::io::ErrorKind::Other.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_nodes_password_is_in_no_log_and_in_no_reason() {
    const PASSWORD: &str = "correct-horse";
    let cluster = one_pooler();
    let kept = Kept::default();
    let log = kept.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || log.clone())
        .finish();
    let with_password =
        |node: &Node, more: &str| format!("{} password={PASSWORD} {more}", node.conninfo());
    let mut seen = Vec::new();
    tracing::subscriber::with_default(subscriber, || {
        tracing::trace!("it is kept");
        let witness = Witness::open(&cluster);
        let [node1, node2] = cluster.nodes();
        cluster.node1().freeze();
        for more in ["", "sslmode=require", "sslmode=no", "sslrootcert=/dev/null"] {
            let look = witness.see(&with_password(node1, more), &with_password(node2, more));
            seen.push(format!("{look:?} {:?}", look.vote()));
        }
        for entry in witness.files() {
            seen.push(std::fs::read_to_string(entry).unwrap_or_default());
        }
    });
    let log = String::from_utf8(kept.0.lock().expect("it is let go").clone());
    let log = log.expect("a log is text");
    assert!(log.contains("it is kept"), "{log}");
    seen.extend([log, cluster.pooler(1).sshd().log(), cluster.node2().log()]);
    assert!(!seen.concat().contains(PASSWORD), "{seen:?}");
}
