//! What a connection string asks of the login: names, password, options; and what it asks that
//! cannot be done here. Touches nothing.

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::PostgresError;
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
