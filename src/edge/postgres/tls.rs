//! TLS with libpq's meanings: which files count, when a certificate is verified, and against which
//! name. With OpenSSL, as libpq, so that what one accepts the other does.
//!
//! Reads the files of TLS (`root.crt`, `root.crl`, `postgresql.crt`, `postgresql.key` and those
//! that the connection string names). Who calls is [`super`].

use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion,
};
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509Ref, X509StoreContextRef, X509VerifyResult};
use postgres_openssl::{MakeTlsConnector, TlsConnector, TlsStream, set_postgresql_alpn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use crate::conninfo::{Conninfo, SslMode, TlsVersion};
use crate::edge::libpq_files::home;

/// Prepares to connect once the server has agreed to TLS, as libpq does: most PgBouncers do not,
/// and for a connector OpenSSL reads all certificates of the system, which takes milliseconds.
pub(super) struct Tls {
    conninfo: Conninfo,
    mode: SslMode,
    /// The name that was asked for, which is verified; empty: only an address was.
    asked: String,
    /// The name that the server is told.
    told: String,
    end: TlsEnd,
}

/// What only the TLS layer knows of the end of a connection.
#[derive(Clone, Default)]
pub(super) struct TlsEnd {
    /// Why it refused the server: OpenSSL alone only says that it did. Or why it did not begin.
    refusal: Refusal,
    /// Whether the server is shown a certificate of ours.
    shows_certificate: Arc<AtomicBool>,
    /// Whether both sides are through with the handshake.
    shaken: Arc<AtomicBool>,
}

type Refusal = Arc<Mutex<Option<String>>>;

impl<S> TlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug + 'static,
{
    type Stream = TlsStream<S>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let connector = connector::<S>(&self).inspect_err(|error| {
                *lock(&self.end.refusal) = Some(error.clone());
            })?;
            let stream = TlsConnect::<S>::connect(connector, stream).await?;
            self.end.shaken.store(true, Ordering::Relaxed);
            Ok(stream)
        })
    }
}

impl Tls {
    pub(super) fn new(conninfo: &Conninfo, mode: SslMode, asked: &str, told: &str) -> Self {
        Self {
            conninfo: conninfo.clone(),
            mode,
            asked: asked.to_owned(),
            told: told.to_owned(),
            end: TlsEnd::default(),
        }
    }

    /// Is told how it ends.
    pub(super) fn end(&self) -> TlsEnd {
        self.end.clone()
    }
}

impl TlsEnd {
    /// Whether a connection that was closed may have been closed for our certificate: with TLS 1.3
    /// a server looks at it after the client is through, and its reason may be lost on the way.
    pub(super) fn may_be_refused(&self) -> bool {
        self.shows_certificate.load(Ordering::Relaxed) && self.shaken.load(Ordering::Relaxed)
    }

    /// Why the server's certificate was refused, or nothing was begun.
    pub(super) fn refusal(&self) -> Option<String> {
        lock(&self.refusal).clone()
    }
}

fn lock(refusal: &Refusal) -> MutexGuard<'_, Option<String>> {
    refusal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What connects.
///
/// # Errors
/// One line: a file that is not there, not readable or not what it should be.
fn connector<S>(tls: &Tls) -> Result<TlsConnector, String>
where
    MakeTlsConnector: MakeTlsConnect<S, TlsConnect = TlsConnector, Error = ErrorStack>,
{
    let (conninfo, mode) = (&tls.conninfo, tls.mode);
    let mut builder =
        SslConnector::builder(SslMethod::tls_client()).map_err(|error| words(&error))?;
    let (least, greatest) = conninfo.tls_versions().map_err(|error| error.to_string())?;
    builder
        .set_min_proto_version(least.map(version))
        .map_err(|error| words(&error))?;
    builder
        .set_max_proto_version(greatest.map(version))
        .map_err(|error| words(&error))?;
    let verify = trust(&mut builder, conninfo, mode)?;
    let shows_certificate = match conninfo.get("sslcertmode") {
        None | Some("allow") => client_certificate(&mut builder, conninfo)?,
        Some("disable") => false,
        Some("require") => return Err("sslcertmode `require` is not supported".to_owned()),
        Some(_) => return Err("invalid `sslcertmode`; use disable or allow".to_owned()),
    };
    builder.set_verify(SslVerifyMode::NONE);
    let end = &tls.end;
    end.shows_certificate
        .store(shows_certificate, Ordering::Relaxed);
    if verify {
        let name = (mode == SslMode::VerifyFull).then(|| tls.asked.clone());
        if name.as_ref().is_some_and(String::is_empty) {
            return Err("sslmode verify-full needs a host name: add `host`".to_owned());
        }
        let told = Arc::clone(&end.refusal);
        builder.set_verify_callback(SslVerifyMode::PEER, move |trusted, context| {
            let refused = refused(trusted, context, name.as_deref());
            let accepted = refused.is_none();
            *lock(&told) = refused;
            accepted
        });
    }
    if conninfo.get("sslnegotiation") == Some("direct") {
        set_postgresql_alpn(&mut builder).map_err(|error| words(&error))?;
    }
    let names_server = conninfo
        .get("sslsni")
        .is_none_or(|sni| sni.starts_with('1'));
    let mut maker = MakeTlsConnector::new(builder.build());
    maker.set_callback(move |configuration, _| {
        // The callback above has looked at the name, as libpq does it.
        configuration.set_verify_hostname(false);
        configuration.set_use_server_name_indication(names_server);
        Ok(())
    });
    let connector = MakeTlsConnect::<S>::make_tls_connect(&mut maker, &tls.told);
    connector.map_err(|error| words(&error))
}

const fn version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::V1_0 => SslVersion::TLS1,
        TlsVersion::V1_1 => SslVersion::TLS1_1,
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }
}

/// Takes the root certificates and the revocation lists; gives whether the server is verified,
/// which it is in every mode when there are roots.
fn trust(
    builder: &mut SslConnectorBuilder,
    conninfo: &Conninfo,
    mode: SslMode,
) -> Result<bool, String> {
    let named = conninfo.get("sslrootcert");
    if named == Some("system") {
        return Ok(true);
    }
    let verifies = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
    let Some(root) = file(named, "root.crt") else {
        return match verifies {
            true => Err(
                "no home directory in which to look for root.crt; add `sslrootcert`, or \
                         `sslrootcert=system` for the system's authorities"
                    .to_owned(),
            ),
            false => Ok(false),
        };
    };
    if std::fs::metadata(&root).is_err() {
        return match verifies {
            true => Err(format!(
                "root certificate file `{}` does not exist; put it there, add \
                 `sslrootcert=system` for the system's authorities, or choose an sslmode that \
                 does not verify",
                root.display()
            )),
            false => Ok(false),
        };
    }
    // A fresh store: the system's own authorities do not count when roots are given.
    let mut store = X509StoreBuilder::new().map_err(|error| words(&error))?;
    if revocations(&mut store, conninfo) {
        let flags = X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL;
        store.set_flags(flags).map_err(|error| words(&error))?;
    }
    builder.set_cert_store(store.build());
    builder
        .set_ca_file(&root)
        .map_err(|error| unreadable("root certificate file", &root, &error))?;
    Ok(true)
}

/// Loads the revocation lists; whether there are any. As for libpq, a list that is not there is
/// none, even if it was named.
fn revocations(store: &mut X509StoreBuilder, conninfo: &Conninfo) -> bool {
    let directory = conninfo.get("sslcrldir");
    let list = match (conninfo.get("sslcrl"), directory) {
        (None, Some(_)) => None,
        (named, _) => file(named, "root.crl"),
    };
    if let Some(list) = &list {
        let lookup = store.add_lookup(X509Lookup::file());
        let loaded = lookup.and_then(|lookup| lookup.load_crl_file(list, SslFiletype::PEM));
        if loaded.is_err() {
            return false;
        }
    }
    if let Some(directory) = directory {
        let lookup = store.add_lookup(X509Lookup::hash_dir());
        let added = lookup.and_then(|lookup| lookup.add_dir(directory, SslFiletype::PEM));
        if added.is_err() {
            return false;
        }
    }
    list.is_some() || directory.is_some()
}

/// Our certificate with its key; whether there is one.
fn client_certificate(
    builder: &mut SslConnectorBuilder,
    conninfo: &Conninfo,
) -> Result<bool, String> {
    let Some(certificate) = file(conninfo.get("sslcert"), "postgresql.crt") else {
        return Ok(false);
    };
    match std::fs::metadata(&certificate) {
        Ok(_) => {}
        Err(error) => {
            use std::io::ErrorKind::{NotADirectory, NotFound};
            if matches!(error.kind(), NotFound | NotADirectory) {
                return Ok(false);
            }
            let path = certificate.display();
            return Err(format!("certificate file `{path}`: {error}"));
        }
    }
    builder
        .set_certificate_chain_file(&certificate)
        .map_err(|error| unreadable("certificate file", &certificate, &error))?;
    let named = conninfo.get("sslkey");
    if named.is_some_and(|named| named.contains(':')) {
        return Err("sslkey names a key of an OpenSSL engine, which is not supported".to_owned());
    }
    let Some(path) = file(named, "postgresql.key") else {
        return Ok(true);
    };
    let key = key(&path, conninfo.get("sslpassword").unwrap_or_default())?;
    let pair = builder
        .set_private_key(&key)
        .and_then(|()| builder.check_private_key());
    pair.map(|()| true).map_err(|_| {
        let path = path.display();
        format!("certificate does not match private key file `{path}`")
    })
}

fn key(path: &Path, password: &str) -> Result<PKey<Private>, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path)
        .map_err(|error| format!("certificate present, but not private key `{shown}`: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("private key file `{shown}` is not a regular file"));
    }
    // Of root, its group may read it; that is how distributions share one.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.permissions().mode() & forbidden != 0 {
        return Err(format!(
            "private key file `{shown}` has group or world access; chmod 0600 it, or 0640 if root \
             owns it"
        ));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("private key file `{shown}`: {e}"))?;
    // Never asks on the terminal.
    let answer = |buffer: &mut [u8]| {
        let length = password.len().min(buffer.len());
        buffer[..length].copy_from_slice(&password.as_bytes()[..length]);
        Ok(length)
    };
    PKey::private_key_from_pem_callback(&bytes, answer)
        .or_else(|error| PKey::private_key_from_der(&bytes).map_err(|_| error))
        .map_err(|error| unreadable("private key file", path, &error))
}

/// The file that was named, or libpq's own in `~/.postgresql`.
fn file(named: Option<&str>, default: &str) -> Option<PathBuf> {
    let named = named.map(PathBuf::from);
    named.or_else(|| Some(home()?.join(".postgresql").join(default)))
}

/// Why a certificate of the server's chain is refused.
fn refused(trusted: bool, context: &mut X509StoreContextRef, name: Option<&str>) -> Option<String> {
    if !trusted {
        let reason = context.error().error_string();
        return Some(format!("the server's certificate is not trusted: {reason}"));
    }
    let name = name.filter(|_| context.error_depth() == 0)?;
    let certificate = context.current_cert()?;
    if names(certificate, name) {
        return None;
    }
    context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
    let name = name.escape_debug();
    Some(format!(
        "the server's certificate does not match host name `{name}`"
    ))
}

/// Whether a certificate names the host, by libpq's rules: the common name counts only if there is
/// no alternative name of the same kind, and `*.` stands for one label.
fn names(certificate: &X509Ref, host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    let mut common_name_counts = true;
    for alternative in certificate.subject_alt_names().iter().flatten() {
        if let Some(name) = alternative.dnsname() {
            common_name_counts &= address.is_some();
            if matches(name, host) {
                return true;
            }
        } else if let Some(bytes) = alternative.ipaddress() {
            common_name_counts &= address.is_none();
            let octets = match address {
                Some(IpAddr::V4(address)) => address.octets().to_vec(),
                Some(IpAddr::V6(address)) => address.octets().to_vec(),
                None => continue,
            };
            if octets == bytes {
                return true;
            }
        }
    }
    let common_name = certificate
        .subject_name()
        .entries_by_nid(Nid::COMMONNAME)
        .next();
    let common_name = common_name.map(|entry| entry.data().as_slice().to_vec());
    let common_name = common_name.and_then(|bytes| String::from_utf8(bytes).ok());
    common_name_counts && common_name.is_some_and(|name| matches(&name, host))
}

fn matches(pattern: &str, host: &str) -> bool {
    if pattern.contains('\0') {
        return false;
    }
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = pattern.strip_prefix('*').filter(|rest| rest.len() > 1) else {
        return false;
    };
    let Some((first, _)) = host.split_once('.').filter(|(first, _)| !first.is_empty()) else {
        return false;
    };
    domain.starts_with('.') && host[first.len()..].eq_ignore_ascii_case(domain)
}

fn unreadable(what: &str, path: &Path, error: &ErrorStack) -> String {
    format!("{what} `{}`: {}", path.display(), words(error))
}

/// The reasons of OpenSSL, without its numbers.
pub(super) fn words(error: &ErrorStack) -> String {
    let reasons = error
        .errors()
        .iter()
        .filter_map(openssl::error::Error::reason);
    let reasons: Vec<&str> = reasons.collect();
    match reasons.is_empty() {
        true => "OpenSSL gives no reason".to_owned(),
        false => reasons.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label() {
        for (pattern, host, expected) in [
            ("node1", "node1", true),
            ("Node1.Example", "nODE1.eXAMPLE", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("n*.example.com", "node.example.com", false),
            ("*", "node1", false),
            ("*.", "node1.", false),
            ("node1\0.evil", "node1", false),
            ("", "node1", false),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
