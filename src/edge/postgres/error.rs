//! Why a server was not reached or did not answer: the words of the kernel, of TLS and of the
//! server made into a few kinds. What each kind means for a node is told by [`super::probe`].

use std::time::Duration;

use super::tls;
use crate::edge::chain;

/// Why a server was not reached or did not answer. No text of it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Nothing listens, or the connection was reset.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing came within the time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The network gives up: nothing says no, nothing gets there.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The server answers, but says no: the SQLSTATE and its words.
    #[error("{message} ({sqlstate})")]
    Answered {
        /// The five letters.
        sqlstate: String,
        /// The server's words.
        message: String,
    },
    /// Something answers there that is no PostgreSQL server.
    #[error("what answers is no PostgreSQL server: {0}")]
    Foreign(String),
    /// It cannot be tried as configured.
    #[error("{0}")]
    Unusable(String),
}

impl PostgresError {
    /// Whether a server says that it is starting up, shutting down or has crashed: class 57P.
    #[must_use]
    pub fn is_out_of_service(&self) -> bool {
        matches!(self, Self::Answered { sqlstate, .. } if sqlstate.starts_with("57P"))
    }
}

pub(super) fn classify(error: tokio_postgres::Error) -> PostgresError {
    if let Some(answer) = error.as_db_error() {
        return PostgresError::Answered {
            sqlstate: answer.code().code().to_owned(),
            message: format!("{}: {}", answer.severity(), answer.message()),
        };
    }
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            // An alert of TLS arrives as an error of the stream, and is the word of a live server.
            let alert = io
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>());
            if let Some(alert) = alert.and_then(openssl::ssl::Error::ssl_error) {
                return PostgresError::Unusable(tls::words(alert));
            }
            // Errors of the kernel have a number; those without are tokio-postgres's, about bytes
            // that make no sense.
            let ended = io.kind() == std::io::ErrorKind::UnexpectedEof;
            return match io.raw_os_error() {
                None if !ended => PostgresError::Foreign(io.to_string()),
                None | Some(_) => classify_io(io),
            };
        }
        source = cause.source();
    }
    if error.is_closed() {
        return PostgresError::Refused(chain(&error));
    }
    PostgresError::Unusable(chain(&error))
}

pub(super) fn classify_io(error: &std::io::Error) -> PostgresError {
    use std::io::ErrorKind;
    let unreachable = [
        ErrorKind::TimedOut,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
    ];
    if unreachable.contains(&error.kind()) {
        return PostgresError::Unreachable(error.to_string());
    }
    if matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::InvalidInput
    ) {
        return PostgresError::Unusable(error.to_string());
    }
    PostgresError::Refused(error.to_string())
}
