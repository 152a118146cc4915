//! libpq's connection options: their names, their environment variables, and which are secret.
//!
//! This is the list of libpq 18. Options that only libpq 13 and older knew (`authtype`, `tty`)
//! are absent, as they are refused since. Nothing here reads the environment: [`super::defaults`]
//! uses the names on a map that it is given.

/// One connection option of libpq.
pub(super) struct Keyword {
    /// As it is written in a connection string.
    pub(super) name: &'static str,
    /// The environment variable that libpq falls back to.
    pub(super) variable: Option<&'static str>,
}

/// Options whose values no log, error or status page may show.
const SECRETS: [&str; 5] = [
    "oauth_client_secret",
    "password",
    "scram_client_key",
    "scram_server_key",
    "sslpassword",
];

/// Every option that libpq 18 accepts, apart from the alias `requiressl`.
pub(super) const KEYWORDS: [Keyword; 51] = [
    with_variable("application_name", "PGAPPNAME"),
    with_variable("channel_binding", "PGCHANNELBINDING"),
    with_variable("client_encoding", "PGCLIENTENCODING"),
    with_variable("connect_timeout", "PGCONNECT_TIMEOUT"),
    with_variable("dbname", "PGDATABASE"),
    plain("fallback_application_name"),
    with_variable("gssdelegation", "PGGSSDELEGATION"),
    with_variable("gssencmode", "PGGSSENCMODE"),
    with_variable("gsslib", "PGGSSLIB"),
    with_variable("host", "PGHOST"),
    with_variable("hostaddr", "PGHOSTADDR"),
    plain("keepalives"),
    plain("keepalives_count"),
    plain("keepalives_idle"),
    plain("keepalives_interval"),
    with_variable("krbsrvname", "PGKRBSRVNAME"),
    with_variable("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    with_variable("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    with_variable("min_protocol_version", "PGMINPROTOCOLVERSION"),
    plain("oauth_client_id"),
    plain("oauth_client_secret"),
    plain("oauth_issuer"),
    plain("oauth_scope"),
    with_variable("options", "PGOPTIONS"),
    with_variable("passfile", "PGPASSFILE"),
    with_variable("password", "PGPASSWORD"),
    with_variable("port", "PGPORT"),
    plain("replication"),
    with_variable("require_auth", "PGREQUIREAUTH"),
    with_variable("requirepeer", "PGREQUIREPEER"),
    plain("scram_client_key"),
    plain("scram_server_key"),
    with_variable("service", "PGSERVICE"),
    with_variable("servicefile", "PGSERVICEFILE"),
    with_variable("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    with_variable("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    with_variable("sslcert", "PGSSLCERT"),
    with_variable("sslcertmode", "PGSSLCERTMODE"),
    with_variable("sslcompression", "PGSSLCOMPRESSION"),
    with_variable("sslcrl", "PGSSLCRL"),
    with_variable("sslcrldir", "PGSSLCRLDIR"),
    with_variable("sslkey", "PGSSLKEY"),
    plain("sslkeylogfile"),
    with_variable("sslmode", "PGSSLMODE"),
    with_variable("sslnegotiation", "PGSSLNEGOTIATION"),
    plain("sslpassword"),
    with_variable("sslrootcert", "PGSSLROOTCERT"),
    with_variable("sslsni", "PGSSLSNI"),
    with_variable("target_session_attrs", "PGTARGETSESSIONATTRS"),
    plain("tcp_user_timeout"),
    with_variable("user", "PGUSER"),
];

/// Whether libpq accepts this name.
pub(super) fn is_known(name: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.name == name)
}

/// Whether the values of this option must not be shown.
pub(super) fn is_secret(name: &str) -> bool {
    SECRETS.contains(&name)
}

const fn plain(name: &'static str) -> Keyword {
    Keyword {
        name,
        variable: None,
    }
}

const fn with_variable(name: &'static str, variable: &'static str) -> Keyword {
    Keyword {
        name,
        variable: Some(variable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_without_repetition() {
        assert!(KEYWORDS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn every_secret_is_an_option() {
        assert!(SECRETS.iter().all(|name| is_known(name)));
    }
}
