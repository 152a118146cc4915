//! Values of a connection string with libpq's meanings: time limits, keepalives, `sslmode`.
//!
//! An option that is given but empty is an error here, as it is in libpq.

use std::time::Duration;

use super::Conninfo;
use super::error::ParseError;
use super::keyword_value::is_blank;

/// How much TLS is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server refuses a connection without.
    Allow,
    /// If the server has it.
    Prefer,
    /// Always, whatever the certificate says.
    Require,
    /// Always, and the certificate must come from a trusted authority.
    VerifyCa,
    /// As [`SslMode::VerifyCa`], and the certificate must name the host.
    VerifyFull,
}

/// A version of the TLS protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.0.
    V1_0,
    /// 1.1.
    V1_1,
    /// 1.2.
    V1_2,
    /// 1.3.
    V1_3,
}

impl Conninfo {
    /// Looks at every value that libpq would refuse when it connects.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), ParseError> {
        self.addresses()?;
        self.sslmode()?;
        self.tls_versions()?;
        for keyword in [
            "connect_timeout",
            "keepalives",
            "keepalives_count",
            "keepalives_idle",
            "keepalives_interval",
            "tcp_user_timeout",
        ] {
            self.integer(keyword)?;
        }
        Ok(())
    }

    /// `connect_timeout`; `None`: no limit (absent, zero or negative).
    ///
    /// The value is taken as written; libpq 16 and older make 2 seconds of 1.
    pub fn connect_timeout(&self) -> Result<Option<Duration>, ParseError> {
        Ok(self
            .positive("connect_timeout")?
            .map(|seconds| Duration::from_secs(seconds.into())))
    }

    /// `tcp_user_timeout`, which is in milliseconds; `None`: the system's own.
    pub fn tcp_user_timeout(&self) -> Result<Option<Duration>, ParseError> {
        Ok(self
            .positive("tcp_user_timeout")?
            .map(|milliseconds| Duration::from_millis(milliseconds.into())))
    }

    /// `keepalives`: on, unless it is 0.
    pub fn keepalives(&self) -> Result<bool, ParseError> {
        Ok(self.integer("keepalives")? != Some(0))
    }

    /// `keepalives_idle`; `None`: the system's own.
    pub fn keepalives_idle(&self) -> Result<Option<Duration>, ParseError> {
        Ok(self
            .positive("keepalives_idle")?
            .map(|seconds| Duration::from_secs(seconds.into())))
    }

    /// `keepalives_interval`; `None`: the system's own.
    pub fn keepalives_interval(&self) -> Result<Option<Duration>, ParseError> {
        Ok(self
            .positive("keepalives_interval")?
            .map(|seconds| Duration::from_secs(seconds.into())))
    }

    /// `keepalives_count`; `None`: the system's own.
    pub fn keepalives_count(&self) -> Result<Option<u32>, ParseError> {
        self.positive("keepalives_count")
    }

    /// `sslmode`: prefer if it is absent, verify-full if `sslrootcert=system`.
    pub fn sslmode(&self) -> Result<SslMode, ParseError> {
        let system_roots = self.get("sslrootcert") == Some("system");
        let mode = match self.values.get("sslmode").map(String::as_str) {
            None if system_roots => SslMode::VerifyFull,
            None => SslMode::Prefer,
            Some("disable") => SslMode::Disable,
            Some("allow") => SslMode::Allow,
            Some("prefer") => SslMode::Prefer,
            Some("require") => SslMode::Require,
            Some("verify-ca") => SslMode::VerifyCa,
            Some("verify-full") => SslMode::VerifyFull,
            Some(_) => return Err(ParseError::SslMode),
        };
        if system_roots && mode != SslMode::VerifyFull {
            return Err(ParseError::WeakSslMode);
        }
        Ok(mode)
    }

    /// `ssl_min_protocol_version` and `ssl_max_protocol_version`: TLSv1.2 and no limit if they are
    /// absent; no limit if they are empty.
    ///
    /// # Errors
    /// A version that does not exist, or a least one above the greatest.
    pub fn tls_versions(&self) -> Result<(Option<TlsVersion>, Option<TlsVersion>), ParseError> {
        let (least, greatest) = ("ssl_min_protocol_version", "ssl_max_protocol_version");
        let least = match self.values.contains_key(least) {
            true => self.tls_version(least)?,
            false => Some(TlsVersion::V1_2),
        };
        let greatest = self.tls_version(greatest)?;
        match (least, greatest) {
            (Some(least), Some(greatest)) if least > greatest => Err(ParseError::TlsVersions),
            versions => Ok(versions),
        }
    }

    fn tls_version(&self, keyword: &'static str) -> Result<Option<TlsVersion>, ParseError> {
        let Some(text) = self.get(keyword) else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "tlsv1" => Ok(Some(TlsVersion::V1_0)),
            "tlsv1.1" => Ok(Some(TlsVersion::V1_1)),
            "tlsv1.2" => Ok(Some(TlsVersion::V1_2)),
            "tlsv1.3" => Ok(Some(TlsVersion::V1_3)),
            _ => Err(ParseError::TlsVersion { keyword }),
        }
    }

    /// The number, if it is greater than zero.
    fn positive(&self, keyword: &'static str) -> Result<Option<u32>, ParseError> {
        let number = self.integer(keyword)?;
        Ok(number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number != 0))
    }

    fn integer(&self, keyword: &'static str) -> Result<Option<i32>, ParseError> {
        self.values
            .get(keyword)
            .map(|text| integer(text).ok_or(ParseError::Integer { keyword }))
            .transpose()
    }
}

/// A whole number as libpq reads it: blanks around it and a sign are allowed, nothing else.
pub(super) fn integer(text: &str) -> Option<i32> {
    text.trim_matches(is_blank).parse().ok()
}
