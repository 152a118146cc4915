//! What a connection string asks of the login: names, password, options, and a server of the kind
//! that is wanted; and what it asks that cannot be done here.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::{PostgresError, Session};
use crate::conninfo::Conninfo;

/// What is told to the server, whatever the way to it.
pub(super) fn configuration(conninfo: &Conninfo) -> Result<Config, PostgresError> {
    let unusable = |text: &str| Err(PostgresError::Unusable(text.to_owned()));
    if conninfo.get("require_auth").is_some() {
        return unusable("`require_auth` is not supported, and leaving it out would be unsafe");
    }
    if conninfo.get("gssencmode") == Some("require") {
        return unusable("`gssencmode=require`: encryption by GSSAPI is not supported");
    }
    let mut config = Config::new();
    config.user(conninfo.get("user").unwrap_or_default());
    config.dbname(conninfo.get("dbname").unwrap_or_default());
    let application = conninfo
        .get("application_name")
        .or_else(|| conninfo.get("fallback_application_name"));
    config.application_name(application.unwrap_or("repoint"));
    if let Some(password) = conninfo.get("password") {
        config.password(password);
    }
    if let Some(options) = conninfo.get("options") {
        config.options(options);
    }
    match conninfo.get("channel_binding") {
        Some("require") => config.channel_binding(ChannelBinding::Require),
        Some("disable") => config.channel_binding(ChannelBinding::Disable),
        Some("prefer") | None => config.channel_binding(ChannelBinding::Prefer),
        Some(_) => return unusable("invalid `channel_binding`; use disable, prefer or require"),
    };
    if conninfo.get("sslnegotiation") == Some("direct") {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    Ok(config)
}

/// `target_session_attrs`: whether the server that answered is one of the kind that is wanted.
/// `prefer-standby` takes the first that answers.
pub(super) async fn accept(
    session: &Session,
    conninfo: &Conninfo,
    limit: Duration,
) -> Result<(), PostgresError> {
    let refuse = |text: &str| Err(PostgresError::Unusable(text.to_owned()));
    let wanted = match conninfo.get("target_session_attrs") {
        None | Some("any" | "prefer-standby") => return Ok(()),
        Some(wanted) => wanted,
    };
    let (standby, read_only) = kind(session, limit).await?;
    match wanted {
        "read-write" if read_only || standby => refuse("session is read-only"),
        "read-only" if !read_only && !standby => refuse("session is not read-only"),
        "primary" if standby => refuse("server is in hot standby mode"),
        "standby" if !standby => refuse("server is not in hot standby mode"),
        "read-write" | "read-only" | "primary" | "standby" => Ok(()),
        _ => refuse(
            "invalid `target_session_attrs` value; use any, read-write, read-only, primary, \
             standby or prefer-standby",
        ),
    }
}

/// Whether the server is in recovery, and whether the session's transactions are read-only.
async fn kind(session: &Session, limit: Duration) -> Result<(bool, bool), PostgresError> {
    let query = "SELECT pg_is_in_recovery() AS standby, \
                 current_setting('transaction_read_only') AS read_only";
    let rows = session.simple(query, limit).await?;
    let is = |column: &str, value: &str| {
        let cell = rows.first().and_then(|row| row.get(column));
        cell.is_some_and(|cell| cell == value)
    };
    Ok((is("standby", "t"), is("read_only", "on")))
}

/// Whether the server takes no writes from us.
///
/// # Errors
/// As [`Session::simple`].
pub async fn is_read_only(session: &Session, limit: Duration) -> Result<bool, PostgresError> {
    let (standby, read_only) = kind(session, limit).await?;
    Ok(standby || read_only)
}
