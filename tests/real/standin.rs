//! A stand-in for a server: listens on a port of its own and behaves badly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// Lives as long as the test process: its thread waits for connections.
pub(crate) struct Standin {
    port: u16,
}

impl Standin {
    /// Accepts, and never says a word.
    pub(crate) fn silent() -> Self {
        let mut kept = Vec::new();
        Self::start(move |stream| kept.push(stream))
    }

    /// Accepts, and hangs up when it is spoken to.
    pub(crate) fn closing() -> Self {
        Self::start(|mut stream| {
            let _spoken_to = stream.read(&mut [0; 1024]);
        })
    }

    /// Says the same to everybody, and hangs up.
    pub(crate) fn saying(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream| {
            let _spoken_to = stream.read(&mut [0; 1024]);
            let _gone_already = stream.write_all(bytes);
        })
    }

    /// Lets everybody in as PostgreSQL does, and answers each query with one row of one column.
    pub(crate) fn postgres_with_an_answer(value: &'static [u8]) -> Self {
        Self::start(move |stream| {
            let _hung_up = talk(stream, value);
        })
    }

    /// Lets everybody in as PostgreSQL does, and answers no query.
    pub(crate) fn postgres_without_an_answer() -> Self {
        let mut kept = Vec::new();
        Self::start(move |mut stream| {
            let _hung_up = let_in(&mut stream);
            kept.push(stream);
        })
    }

    pub(crate) fn conninfo(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=u dbname=d sslmode=disable connect_timeout=2",
            self.port
        )
    }

    fn start(mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream);
            }
        });
        Self { port }
    }
}

fn let_in(stream: &mut TcpStream) -> std::io::Result<()> {
    let _startup = stream.read(&mut [0; 1024])?;
    stream.write_all(&message(b'R', &[0; 4]))?;
    stream.write_all(&message(b'S', b"server_version\x0015.0\x00"))?;
    stream.write_all(&message(b'Z', b"I"))
}

fn talk(mut stream: TcpStream, value: &[u8]) -> std::io::Result<()> {
    let_in(&mut stream)?;
    loop {
        if stream.read(&mut [0; 4096])? == 0 {
            return Ok(());
        }
        let mut description = b"\x00\x01answer\x00".to_vec();
        description.extend([0; 6]); // no table, no column
        description.extend([0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]); // text
        let mut row = vec![0, 1];
        row.extend((value.len() as u32).to_be_bytes());
        row.extend(value);
        stream.write_all(&message(b'T', &description))?;
        stream.write_all(&message(b'D', &row))?;
        stream.write_all(&message(b'C', b"SELECT 1\x00"))?;
        stream.write_all(&message(b'Z', b"I"))?;
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[kind][..], &length.to_be_bytes(), body].concat()
}
