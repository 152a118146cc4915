//! PostgreSQL servers: connecting as libpq would, and asking whether one is alive.
//!
//! Everything is under one deadline for the whole attempt: a server that accepts and stays silent
//! is as dead as one that refuses. `tokio-postgres` speaks the protocol; sockets and TLS are set up
//! here and in `tls`, because its own reading of a connection string differs from libpq's
//! (time-outs, `sslmode`). What a failure means for a node is `core::node`'s.

use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::time::Duration;

use postgres_openssl::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::chain;
use super::libpq_files::{complete, name_of, with_password};
use crate::conninfo::{Address, Conninfo, SslMode};
use crate::core::node::{Fault, Probe};

mod error;
mod login;
mod tls;

pub use error::PostgresError;
use error::{classify, classify_io};
pub use login::is_read_only;

/// How long one attempt may take when the connection string has no `connect_timeout`; repmgr's
/// default too.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Debian's place of unix sockets, which libpq there uses when no host is given.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";

/// An open session, and the server's version as it reports it at login.
#[derive(Debug)]
pub struct Session {
    /// Send queries with this.
    pub client: Client,
    /// `server_version` of the login, such as `15.18` or `1.18.0/bouncer`.
    pub server_version: String,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ends the socket at once, whatever is still unanswered on it.
        self.driver.abort();
    }
}

impl Session {
    /// Whether the connection is known to be closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The version as libpq gives it: 90624, 150018. 0 for what is no PostgreSQL.
    #[must_use]
    pub fn version_num(&self) -> u32 {
        let digits = |c: char| !c.is_ascii_digit() && c != '.';
        let end = self.server_version.find(digits);
        let number = &self.server_version[..end.unwrap_or(self.server_version.len())];
        let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0_u32);
        let (first, second, third) = (next(), next(), next());
        match first {
            0..10 => first * 10_000 + second * 100 + third,
            10.. => first * 10_000 + second,
        }
    }

    /// Runs one command of the simple protocol and gives its rows, by column name; NULL is left
    /// out.
    ///
    /// # Errors
    /// [`PostgresError`]; after [`PostgresError::Silent`] the session is useless, because answers
    /// are queued behind the one that did not come.
    pub async fn simple(&self, command: &str, limit: Duration) -> Result<Vec<Row>, PostgresError> {
        let answer = timeout(limit, self.client.simple_query(command)).await;
        let messages = answer
            .map_err(|_| PostgresError::Silent(limit))?
            .map_err(classify)?;
        messages.iter().filter_map(row).collect()
    }
}

/// A row of the simple protocol: text by column name.
pub type Row = std::collections::BTreeMap<String, String>;

fn row(message: &SimpleQueryMessage) -> Option<Result<Row, PostgresError>> {
    let SimpleQueryMessage::Row(row) = message else {
        return None;
    };
    let cell = |(index, column): (usize, &tokio_postgres::SimpleColumn)| {
        // `get` would panic at bytes that are no UTF-8.
        let value = row.try_get(index).transpose()?;
        let value = value.map_err(|_| PostgresError::Unusable("an answer is no text".to_owned()));
        Some(value.map(|value| (column.name().to_owned(), value.to_owned())))
    };
    Some(row.columns().iter().enumerate().filter_map(cell).collect())
}

/// The time that one attempt may take: the connection string's own `connect_timeout`, or the
/// default.
#[must_use]
pub fn attempt_limit(conninfo: &Conninfo) -> Duration {
    conninfo
        .connect_timeout()
        .ok()
        .flatten()
        .unwrap_or(CONNECT_TIMEOUT)
}

/// Connects, trying each address of the connection string in turn, all within `limit`.
///
/// # Errors
/// The error of the last address, or [`PostgresError::Silent`].
pub async fn connect(conninfo: &Conninfo, limit: Duration) -> Result<Session, PostgresError> {
    let conninfo = complete(conninfo).map_err(PostgresError::Unusable)?;
    let attempt = async {
        let addresses = conninfo
            .addresses()
            .map_err(|e| PostgresError::Unusable(chain(&e)))?;
        let mut last = PostgresError::Unusable("no address".to_owned());
        for address in &addresses {
            let conninfo = with_password(&conninfo, address);
            let connected = connect_to(&conninfo, address).await;
            let accepted = match connected {
                Ok(session) => login::accept(&session, &conninfo, limit)
                    .await
                    .map(|()| session),
                Err(error) => Err(error),
            };
            match accepted {
                Ok(session) => return Ok(session),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    timeout(limit, attempt)
        .await
        .map_err(|_| PostgresError::Silent(limit))?
}

/// Connects through the unix socket `path`, whatever host the connection string names.
///
/// # Errors
/// As [`connect`].
pub async fn connect_unix(
    conninfo: &Conninfo,
    path: &Path,
    limit: Duration,
) -> Result<Session, PostgresError> {
    let conninfo = complete(conninfo).map_err(PostgresError::Unusable)?;
    let attempt = async {
        let addresses = conninfo
            .addresses()
            .map_err(|e| PostgresError::Unusable(chain(&e)))?;
        let address = addresses.first();
        let conninfo = address.map_or(conninfo.clone(), |a| with_password(&conninfo, a));
        let stream = UnixStream::connect(path)
            .await
            .map_err(|e| classify_io(&e))?;
        start(stream, &conninfo, None, &Name::default()).await
    };
    timeout(limit, attempt)
        .await
        .map_err(|_| PostgresError::Silent(limit))?
}

/// Connects through the unix socket `path`, behind which the TCP port of `address` is: TLS, names
/// and passwords are as for the address. `conninfo` is complete; the caller has the deadline.
///
/// # Errors
/// As [`connect`], but for [`PostgresError::Silent`].
pub(super) async fn connect_forwarded(
    conninfo: &Conninfo,
    address: &Address,
    path: &Path,
) -> Result<Session, PostgresError> {
    let conninfo = with_password(conninfo, address);
    let open = || async {
        // The socket is on this machine: that it fails says nothing about the server.
        let stream = UnixStream::connect(path).await;
        stream.map_err(|error| PostgresError::Unusable(format!("a forwarded socket: {error}")))
    };
    negotiate(&conninfo, address, open).await
}

/// Asks a node for a sign of life: a new login unless `session` still works, and a trivial query.
///
/// The query is `pg_postmaster_start_time()`, which also tells the node from any other: a query
/// through PgBouncer that gives the same microsecond has landed on it.
pub async fn probe(conninfo: &Conninfo, session: &mut Option<Session>) -> Probe {
    let limit = attempt_limit(conninfo);
    let attempt = async {
        if let Some(open) = session.as_ref().filter(|session| !session.is_closed())
            && let Ok(identity) = identity(open, limit / 2).await
        {
            return Ok(identity);
        }
        // The old session may have been ended alone; only a new login tells of the node. It needs
        // its part of the time, hence the half above.
        *session = None;
        let opened = connect(conninfo, limit).await?;
        let identity = identity(&opened, limit).await?;
        *session = Some(opened);
        Ok(identity)
    };
    let answer = timeout(limit, attempt)
        .await
        .unwrap_or(Err(PostgresError::Silent(limit)));
    match answer {
        Ok(identity) => Probe::Healthy { identity },
        Err(error) => {
            *session = None;
            judge(&error)
        }
    }
}

/// The query that tells nodes apart, the same for direct sessions and those through PgBouncer.
///
/// # Errors
/// As [`Session::simple`].
pub async fn identity(session: &Session, limit: Duration) -> Result<String, PostgresError> {
    let query = "SELECT to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', \
                 'YYYY-MM-DD HH24:MI:SS.US') AS started";
    let rows = session.simple(query, limit).await?;
    let started = rows
        .into_iter()
        .next()
        .and_then(|mut row| row.remove("started"));
    started.ok_or_else(|| PostgresError::Unusable("the server told no start time".to_owned()))
}

/// What a failed attempt says of the node.
fn judge(error: &PostgresError) -> Probe {
    let reason = error.to_string();
    match error {
        // Whoever is sent there gets no further than to a closed door.
        PostgresError::Refused(_) | PostgresError::Foreign(_) => Probe::Failed {
            fault: Fault::Crash,
            reason,
        },
        PostgresError::Silent(_) | PostgresError::Unreachable(_) => Probe::Failed {
            fault: Fault::Blackhole,
            reason,
        },
        // Everything else is said by a live server that does not want *us*: wrong password, no
        // database, too many connections. Sending its clients away for that would turn a mistake
        // into an outage.
        PostgresError::Answered { .. } if error.is_out_of_service() => Probe::Failed {
            fault: Fault::Crash,
            reason,
        },
        PostgresError::Answered { .. } | PostgresError::Unusable(_) => Probe::Refusing { reason },
    }
}

async fn connect_to(conninfo: &Conninfo, address: &Address) -> Result<Session, PostgresError> {
    let host = address
        .hostaddr
        .as_deref()
        .or(address.host.as_deref())
        .unwrap_or(SOCKET_DIRECTORY);
    if host.starts_with('/') {
        let path = Path::new(host).join(format!(".s.PGSQL.{}", address.port));
        let stream = UnixStream::connect(path)
            .await
            .map_err(|e| classify_io(&e))?;
        require_peer(conninfo, &stream)?;
        return start(stream, conninfo, None, &Name::default()).await;
    }
    negotiate(conninfo, address, || tcp(conninfo, host, address.port)).await
}

/// Logs in over TCP, with TLS as `sslmode` says; `open` opens one stream to the server each time.
async fn negotiate<S, F>(
    conninfo: &Conninfo,
    address: &Address,
    open: impl Fn() -> F,
) -> Result<Session, PostgresError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug + 'static,
    F: Future<Output = Result<S, PostgresError>>,
{
    let name = &Name::of(address);
    let mode = conninfo
        .sslmode()
        .map_err(|e| PostgresError::Unusable(chain(&e)))?;
    let first = (mode != SslMode::Disable && mode != SslMode::Allow).then_some(mode);
    let error = match start(open().await?, conninfo, first, name).await {
        Ok(session) => return Ok(session),
        Err(error) => error,
    };
    // libpq: `prefer` tries again without TLS, `allow` with it, if that is what was refused.
    let second = match mode {
        SslMode::Prefer => None,
        SslMode::Allow => Some(SslMode::Require),
        SslMode::Disable | SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            return Err(error);
        }
    };
    if matches!(error, PostgresError::Refused(_) | PostgresError::Silent(_)) {
        return Err(error);
    }
    start(open().await?, conninfo, second, name)
        .await
        .map_err(|_| error)
}

/// The names of a server for TLS.
#[derive(Default)]
struct Name {
    /// What the connection string calls it; empty if it only has an address. This is verified.
    asked: String,
    /// The same, or the address. This is told to the server.
    told: String,
}

impl Name {
    fn of(address: &Address) -> Self {
        let (host, hostaddr) = (address.host.as_ref(), address.hostaddr.as_ref());
        Self {
            asked: host.cloned().unwrap_or_default(),
            told: host.or(hostaddr).cloned().unwrap_or_default(),
        }
    }
}

/// `requirepeer`: the server must run as this user.
fn require_peer(conninfo: &Conninfo, stream: &UnixStream) -> Result<(), PostgresError> {
    let Some(required) = conninfo.get("requirepeer") else {
        return Ok(());
    };
    let peer = stream.peer_cred().map_err(|error| classify_io(&error))?;
    match name_of(peer.uid()).as_deref() == Some(required) {
        true => Ok(()),
        false => Err(PostgresError::Unusable(
            "the server does not run as the user that `requirepeer` names".to_owned(),
        )),
    }
}

async fn tcp(conninfo: &Conninfo, host: &str, port: u16) -> Result<TcpStream, PostgresError> {
    let stream = match host.parse::<std::net::IpAddr>() {
        Ok(address) => TcpStream::connect((address, port)).await,
        Err(_) => {
            let name = host.to_owned();
            // The resolver blocks, for as long as it likes; the caller's deadline goes on beside
            // it.
            let lookup = move || {
                (name.as_str(), port)
                    .to_socket_addrs()
                    .map(|all| all.collect())
            };
            let found: std::io::Result<Vec<std::net::SocketAddr>> =
                tokio::task::spawn_blocking(lookup)
                    .await
                    .unwrap_or_else(|e| Err(e.into()));
            let found =
                found.map_err(|e| PostgresError::Unreachable(format!("look up `{host}`: {e}")))?;
            TcpStream::connect(found.as_slice()).await
        }
    };
    let stream = stream.map_err(|error| classify_io(&error))?;
    keep_alive(conninfo, &stream).map_err(|error| classify_io(&error))?;
    Ok(stream)
}

/// A peer that vanishes without a word is noticed within seconds, not within the kernel's hours.
fn keep_alive(conninfo: &Conninfo, stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    let seconds = |given: Result<Option<Duration>, _>, usual| {
        given.ok().flatten().unwrap_or(Duration::from_secs(usual))
    };
    if conninfo.keepalives().unwrap_or(true) {
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, seconds(conninfo.keepalives_idle(), 2))?;
        sockopt::set_tcp_keepintvl(stream, seconds(conninfo.keepalives_interval(), 1))?;
        let count = conninfo.keepalives_count().ok().flatten();
        sockopt::set_tcp_keepcnt(stream, count.unwrap_or(3))?;
    }
    let given = conninfo
        .tcp_user_timeout()
        .ok()
        .flatten()
        .unwrap_or(Duration::from_secs(5));
    sockopt::set_tcp_user_timeout(stream, u32::try_from(given.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

async fn start<S>(
    stream: S,
    conninfo: &Conninfo,
    mode: Option<SslMode>,
    name: &Name,
) -> Result<Session, PostgresError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug + 'static,
{
    let mut config = login::configuration(conninfo)?;
    let Some(mode) = mode else {
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(classify)?;
        let version = connection
            .parameter("server_version")
            .unwrap_or_default()
            .to_owned();
        return Ok(session(client, version, connection));
    };
    config.ssl_mode(match mode {
        SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        SslMode::Disable
        | SslMode::Allow
        | SslMode::Require
        | SslMode::VerifyCa
        | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
    });
    let tls = tls::Tls::new(conninfo, mode, &name.asked, &name.told);
    let end = tls.end();
    let connected = config.connect_raw(stream, tls).await;
    let (client, connection) =
        connected.map_err(|error| match (end.refusal(), classify(error)) {
            (Some(refusal), _) => PostgresError::Unusable(refusal),
            (None, PostgresError::Refused(reason)) if end.may_be_refused() => {
                PostgresError::Unusable(format!(
                    "closed after our certificate was shown, is it accepted? {reason}"
                ))
            }
            (None, error) => error,
        })?;
    let version = connection
        .parameter("server_version")
        .unwrap_or_default()
        .to_owned();
    Ok(session::<S, TlsStream<S>>(client, version, connection))
}

fn session<S, T>(
    client: Client,
    server_version: String,
    connection: tokio_postgres::Connection<S, T>,
) -> Session
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = chain(&error), "connection ended");
        }
    });
    Session {
        client,
        server_version,
        driver,
    }
}
