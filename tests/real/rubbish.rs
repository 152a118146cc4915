//! What a probe says of servers that are none, or are no more: stand-ins that accept a connection
//! and then close it, keep silent, talk rubbish, or stop in the middle of an answer.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use repoint::conninfo::Conninfo;
use repoint::core::node::{Fault, Probe};
use repoint::edge::postgres::probe;

/// AuthenticationOk, and then the beginning of a message that announces more than follows.
const CUT_OFF: &[u8] = b"R\0\0\0\x08\0\0\0\0T\0\0\0\x40\0";
/// AuthenticationOk and ReadyForQuery: a login that works.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
/// A message of two gigabytes, or so it says.
const HUGE: &[u8] = b"R\x7f\xff\xff\xff\0\0\0\0";
/// A message whose length is less than that of its own length field.
const TOO_SHORT: &[u8] = b"R\0\0\0\0\0\0\0\0";

/// What a stand-in does with a connection.
#[derive(Clone, Copy)]
enum Server {
    Closes,
    Resets,
    KeepsSilent,
    /// Says this when it is spoken to, and closes.
    Says(&'static [u8]),
    /// Says this when it is spoken to, and then nothing more.
    SaysAndWaits(&'static [u8]),
}

impl Server {
    /// Serves whoever connects, for as long as the test runs.
    fn start(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                kept.extend(self.serve(stream));
            }
        });
        port
    }

    /// The connection, if it is to stay open.
    fn serve(self, mut stream: TcpStream) -> Option<TcpStream> {
        let mut startup = [0; 1024];
        match self {
            Self::Closes => None,
            Self::Resets => {
                // Closed with something unread in it: the kernel sends a reset.
                let _ = stream.peek(&mut startup);
                None
            }
            Self::KeepsSilent => Some(stream),
            Self::Says(answer) => {
                let _ = stream.read(&mut startup);
                let _ = stream.write_all(answer);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                // Nothing is left unread, so that it is an orderly end.
                let _ = stream.read_to_end(&mut Vec::new());
                None
            }
            Self::SaysAndWaits(answer) => {
                let _ = stream.read(&mut startup);
                let _ = stream.write_all(answer);
                Some(stream)
            }
        }
    }
}

fn probe_of(server: Server) -> (Probe, Duration) {
    probe_with(server, "connect_timeout=2")
}

fn probe_with(server: Server, more: &str) -> (Probe, Duration) {
    let port = server.start();
    let conninfo = format!(
        "host=127.0.0.1 port={port} dbname=d user=u password=s3cret sslmode=disable {more}"
    );
    let conninfo = Conninfo::parse(&conninfo).expect("a conninfo");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let begun = Instant::now();
    let found = runtime.block_on(probe(&conninfo, &mut None));
    (found, begun.elapsed())
}

#[test]
fn a_server_that_closes_hangs_or_talks_rubbish_is_down_and_says_why() {
    use Fault::{Blackhole, Crash};
    use Server::{Closes, KeepsSilent, Resets, Says, SaysAndWaits};
    let table = [
        ("closes at once", Closes, Crash),
        ("resets", Resets, Crash),
        ("keeps silent", KeepsSilent, Blackhole),
        ("stops in the middle of the login", Says(CUT_OFF), Crash),
        (
            "hangs in the middle of the login",
            SaysAndWaits(CUT_OFF),
            Blackhole,
        ),
        ("closes after the login", Says(WELCOME), Crash),
        ("hangs after the login", SaysAndWaits(WELCOME), Blackhole),
        ("announces two gigabytes", SaysAndWaits(HUGE), Blackhole),
        ("announces two gigabytes and closes", Says(HUGE), Crash),
    ];
    for (what, server, expected) in table {
        let (found, took) = probe_of(server);
        let Probe::Failed { fault, reason } = &found else {
            panic!("{what}: {found:?}");
        };
        assert_eq!(*fault, expected, "{what}: {reason}");
        assert!(
            !reason.is_empty() && !reason.contains("s3cret"),
            "{what}: {reason}"
        );
        assert!(took < Duration::from_secs(10), "{what} took {took:?}");
    }
}

#[test]
fn fault_11_a_silent_server_is_given_two_seconds_by_a_conninfo_without_connect_timeout() {
    let (found, took) = probe_with(Server::KeepsSilent, "");
    let silent = matches!(
        &found,
        Probe::Failed {
            fault: Fault::Blackhole,
            ..
        }
    );
    assert!(silent, "{found:?}");
    let bounds = Duration::from_millis(1900)..Duration::from_secs(6);
    assert!(bounds.contains(&took), "{took:?}");
}

#[test]
fn something_else_on_the_port_of_a_node_is_named_as_such() {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-x\r\n",
        TOO_SHORT,
    ];
    for answer in answers {
        let (found, _) = probe_of(Server::Says(answer));
        let text = format!("{found:?}");
        assert!(matches!(found, Probe::Failed { .. }), "{text}");
        assert!(
            text.contains("what answers is no PostgreSQL server"),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
    }
}
