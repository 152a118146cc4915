//! What can be wrong with a connection string.
//!
//! No variant holds a value of the string, because any part of it may be a password that was
//! quoted badly. Errors name the option where that is safe, and the byte where to look.

/// Why a connection string, or one of its values, is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A word of the keyword/value form stands alone.
    #[error("missing `=` after the word at byte {position} of the connection string")]
    MissingEquals {
        /// Where the word begins.
        position: usize,
    },
    /// A quoted value has no end.
    #[error("unterminated quoted value of {} at byte {position}", named(.keyword.as_deref()))]
    UnterminatedQuote {
        /// The option, when libpq knows it.
        keyword: Option<String>,
        /// Where the quote is.
        position: usize,
    },
    /// libpq has no such option.
    #[error("invalid connection {} at byte {position}", named(.keyword.as_deref()))]
    UnknownKeyword {
        /// The name as it was written; `None` when it may be a piece of a secret.
        keyword: Option<String>,
        /// Where it begins.
        position: usize,
    },
    /// A zero byte, at which libpq would stop reading.
    #[error("zero byte at byte {position} of the connection string")]
    ZeroByte {
        /// Where it is.
        position: usize,
    },
    /// `%` without two hexadecimal digits, or `%00`.
    #[error("invalid percent-encoding in the part of the URI at byte {position}")]
    PercentEncoding {
        /// Where the part begins.
        position: usize,
    },
    /// A space inside a part of a URI; libpq 17 and newer want `%20`.
    #[error("space in the part of the URI at byte {position}; write `%20`")]
    SpaceInUri {
        /// Where the part begins.
        position: usize,
    },
    /// Percent-encoded bytes that are not UTF-8.
    #[error("percent-encoded bytes are not UTF-8 in the part of the URI at byte {position}")]
    NotUtf8 {
        /// Where the part begins.
        position: usize,
    },
    /// `[` of an IPv6 address without `]`.
    #[error("missing `]` after the `[` at byte {position} of the URI")]
    UnterminatedBracket {
        /// Where the bracket is.
        position: usize,
    },
    /// `[]`.
    #[error("empty IPv6 address at byte {position} of the URI")]
    EmptyBracket {
        /// Where the bracket is.
        position: usize,
    },
    /// Something other than `:`, `/`, `?` or `,` after an IPv6 address.
    #[error("unexpected character after `]` at byte {position} of the URI")]
    AfterBracket {
        /// Where the character is.
        position: usize,
    },
    /// A query parameter without `=`, or with more than one.
    #[error("query parameter at byte {position} of the URI is not of the form `key=value`")]
    QueryParameter {
        /// Where the parameter begins.
        position: usize,
    },
    /// `host` and `hostaddr` are lists of different length.
    #[error("could not match {hosts} host names to {addresses} hostaddr values")]
    HostCount {
        /// Items of `host`.
        hosts: usize,
        /// Items of `hostaddr`.
        addresses: usize,
    },
    /// `port` is a list of another length than the hosts.
    #[error("could not match {ports} port numbers to {hosts} hosts")]
    PortCount {
        /// Items of `port`.
        ports: usize,
        /// Hosts.
        hosts: usize,
    },
    /// A port that is not a number from 1 to 65535.
    #[error("invalid port number for host {host_index} of the connection string")]
    Port {
        /// Which host of the list, from 1.
        host_index: usize,
    },
    /// A value that must be a whole number and is not.
    #[error("invalid integer value for connection option `{keyword}`")]
    Integer {
        /// The option.
        keyword: &'static str,
    },
    /// A value of `sslmode` that libpq does not have.
    #[error(
        "invalid `sslmode` value; \
         use disable, allow, prefer, require, verify-ca or verify-full"
    )]
    SslMode,
    /// `sslrootcert=system` with a mode that would not use it.
    #[error("weak `sslmode` with `sslrootcert=system`; use verify-full")]
    WeakSslMode,
    /// A version of TLS that libpq does not have.
    #[error("invalid `{keyword}` value; use TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3")]
    TlsVersion {
        /// The option.
        keyword: &'static str,
    },
    /// The least version of TLS is above the greatest.
    #[error("`ssl_min_protocol_version` is above `ssl_max_protocol_version`")]
    TlsVersions,
}

fn named(keyword: Option<&str>) -> String {
    match keyword {
        Some(keyword) => format!("option `{keyword}`"),
        None => "option".to_owned(),
    }
}
