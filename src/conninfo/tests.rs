//! Tables of strings with what libpq makes of them.

use std::time::Duration;

use super::*;

/// Strings and their canonical text; the values were compared with `PQconninfoParse`.
const ACCEPTED: &[(&str, &str)] = &[
    // Keyword/value form.
    ("", ""),
    ("  \t\n ", ""),
    ("host=a", "host=a"),
    (
        "host=a port=5432 dbname=app user=u",
        "host=a port=5432 dbname=app user=u",
    ),
    (
        "user=u dbname=app port=5432 host=a",
        "host=a port=5432 dbname=app user=u",
    ),
    ("host = a   port\t=\n5432", "host=a port=5432"),
    ("host=a\tport=1\ndbname=b\r", "host=a port=1 dbname=b"),
    ("host=a\x0bport=1\x0cdbname=b", "host=a port=1 dbname=b"),
    ("dbname='two words'", "dbname='two words'"),
    ("dbname=two\\ words", "dbname='two words'"),
    (r"password='it\'s'", r"password='it\'s'"),
    (r"password='a\\b'", r"password='a\\b'"),
    (r"password=a\\b", r"password='a\\b'"),
    (r"password=a\'b", r"password='a\'b'"),
    ("password=a'b", r"password='a\'b'"),
    (r"password='a\b'", "password=ab"),
    (r"password=ab\", "password=ab"),
    ("host='a'port='1'", "host=a port=1"),
    ("host='' port=''", "host='' port=''"),
    ("host=", "host=''"),
    ("host= port=1", "host=port=1"),
    ("host=a host=b", "host=b"),
    ("host=a host=''", "host=''"),
    ("password=a=b", "password=a=b"),
    ("dbname='host=x port=1'", "dbname='host=x port=1'"),
    ("dbname=postgresql://x/y", "dbname=postgresql://x/y"),
    ("application_name='a\nb'", "application_name='a\nb'"),
    ("application_name=a\x01\x7f", "application_name=a\x01\x7f"),
    ("application_name=a\\\nb", "application_name='a\nb'"),
    ("host=é dbname='ü ß'", "host=é dbname='ü ß'"),
    ("host=\u{a0}a", "host=\u{a0}a"),
    ("requiressl=1", "sslmode=require"),
    ("requiressl=0", "sslmode=prefer"),
    ("sslmode=nonsense", "sslmode=nonsense"),
    ("host=a,b,c port=1,2,3", "host=a,b,c port=1,2,3"),
    ("options='-c geqo=off'", "options='-c geqo=off'"),
    ("host=/tmp", "host=/tmp"),
    ("application_name=$(id)", "application_name=$(id)"),
    ("application_name=a;b#c", "application_name=a;b#c"),
    // URIs.
    ("postgresql://", ""),
    ("postgres://", ""),
    ("postgresql:///", ""),
    ("postgresql://a", "host=a"),
    ("postgresql://a:5433", "host=a port=5433"),
    ("postgresql://a/app", "host=a dbname=app"),
    ("postgresql://u@a", "host=a user=u"),
    ("postgresql://u:p@a", "host=a user=u password=p"),
    ("postgresql://u:@a", "host=a user=u"),
    ("postgresql://:p@a", "host=a password=p"),
    ("postgresql://@a", "host=a"),
    ("postgresql://u:p:q@a", "host=a user=u password=p:q"),
    ("postgresql://u%40x:p%2Fq@a", "host=a user=u@x password=p/q"),
    ("postgresql:///app", "dbname=app"),
    ("postgresql:///app?host=/tmp", "host=/tmp dbname=app"),
    ("postgresql://%2Fvar%2Frun/app", "host=/var/run dbname=app"),
    ("postgresql://[::1]", "host=::1"),
    (
        "postgresql://[::1]:5433/app",
        "host=::1 port=5433 dbname=app",
    ),
    ("postgresql://[fe80::1%25eth0]", "host=fe80::1%eth0"),
    ("postgresql://a,b/app", "host=a,b port=, dbname=app"),
    ("postgresql://a:1,b:2/app", "host=a,b port=1,2 dbname=app"),
    ("postgresql://a:1,b", "host=a,b port=1,"),
    ("postgresql://[::1]:1,b", "host=::1,b port=1,"),
    ("postgresql://,", "host=, port=,"),
    ("postgresql://a?port=1", "host=a port=1"),
    ("postgresql://a/app?host=b", "host=b dbname=app"),
    ("postgresql://a/?ssl=true", "host=a sslmode=require"),
    (
        "postgresql://a/?sslmode=verify-full",
        "host=a sslmode=verify-full",
    ),
    ("postgresql://a?", "host=a"),
    ("postgresql://a/app?", "host=a dbname=app"),
    (
        "postgresql://a?connect_timeout=1&",
        "host=a connect_timeout=1",
    ),
    ("postgresql://a?user=", "host=a user=''"),
    ("postgresql://a?%75ser=u", "host=a user=u"),
    (
        "postgresql://a?application_name=a%26b%3D",
        "host=a application_name=a&b=",
    ),
    ("postgresql://a/two%20words", "host=a dbname='two words'"),
    ("postgresql://a/x%0Ay", "host=a dbname='x\ny'"),
    ("postgresql://a/b/c", "host=a dbname=b/c"),
    ("postgresql://a/%C3%A9", "host=a dbname=é"),
    ("postgresql://a:", "host=a"),
    ("postgresql://u/p@a/b", "host=u dbname=p@a/b"),
    ("postgresql://a?requiressl=1", "host=a sslmode=require"),
    ("postgresql://a?dbname=x?y", "host=a dbname=x?y"),
    ("postgresql://a+b/c+d", "host=a+b dbname=c+d"),
];

/// Strings that libpq refuses, too.
fn refused() -> Vec<(&'static str, ParseError)> {
    vec![
        ("host", ParseError::MissingEquals { position: 0 }),
        ("host=a port", ParseError::MissingEquals { position: 7 }),
        ("host a", ParseError::MissingEquals { position: 0 }),
        (
            "host=a password='x y",
            ParseError::UnterminatedQuote {
                keyword: Some("password".to_owned()),
                position: 16,
            },
        ),
        (
            r"x='\'",
            ParseError::UnterminatedQuote {
                keyword: None,
                position: 2,
            },
        ),
        ("hast=a", unknown(Some("hast"), 0)),
        ("Host=a", unknown(Some("Host"), 0)),
        ("=a", unknown(None, 0)),
        ("tty=a", unknown(Some("tty"), 0)),
        ("password=two words=here", unknown(None, 13)),
        ("postgresq://u:p@h?x=y", unknown(None, 0)),
        (
            "postgresql://[::1",
            ParseError::UnterminatedBracket { position: 13 },
        ),
        ("postgresql://[]", ParseError::EmptyBracket { position: 13 }),
        (
            "postgresql://[::1]x",
            ParseError::AfterBracket { position: 18 },
        ),
        (
            "postgresql://a%zz",
            ParseError::PercentEncoding { position: 13 },
        ),
        (
            "postgresql://a/%4",
            ParseError::PercentEncoding { position: 15 },
        ),
        (
            "postgresql://a/%00",
            ParseError::PercentEncoding { position: 15 },
        ),
        (
            "postgresql://a?x",
            ParseError::QueryParameter { position: 15 },
        ),
        (
            "postgresql://a?user=b=c",
            ParseError::QueryParameter { position: 15 },
        ),
        (
            "postgresql://a?user=b&&port=1",
            ParseError::QueryParameter { position: 22 },
        ),
        ("postgresql://u:p@a?foo=1", unknown(Some("foo"), 19)),
        ("postgresql://a?ssl=1", unknown(Some("ssl"), 15)),
        ("postgresql://u:p/w?word=x@h", unknown(None, 19)),
    ]
}

/// Strings that we refuse and some libpq accepts.
fn stricter() -> Vec<(&'static str, ParseError)> {
    vec![
        (
            "postgresql://u:a b@h",
            ParseError::SpaceInUri { position: 15 },
        ),
        ("postgresql://a/%FF", ParseError::NotUtf8 { position: 15 }),
        ("host=a\0b", ParseError::ZeroByte { position: 6 }),
    ]
}

fn unknown(keyword: Option<&str>, position: usize) -> ParseError {
    ParseError::UnknownKeyword {
        keyword: keyword.map(str::to_owned),
        position,
    }
}

fn parsed(text: &str) -> Conninfo {
    Conninfo::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn strings_mean_what_they_mean_to_libpq() {
    for (text, canonical) in ACCEPTED {
        let conninfo = parsed(text);
        assert_eq!(conninfo.to_conninfo_string(), *canonical, "{text:?}");
        assert_eq!(conninfo.original(), *text);
    }
}

#[test]
fn canonical_text_means_the_same_as_the_original() {
    for (text, canonical) in ACCEPTED {
        assert_eq!(parsed(canonical), parsed(text), "{text:?}");
    }
}

#[test]
fn wrong_strings_are_refused_with_their_place() {
    for (text, error) in refused().into_iter().chain(stricter()) {
        assert_eq!(Conninfo::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn every_option_of_libpq_is_accepted() {
    for keyword in &keywords::KEYWORDS {
        let text = format!("{}=x", keyword.name);
        assert_eq!(parsed(&text).get(keyword.name), Some("x"));
    }
}

#[test]
fn an_empty_value_is_as_good_as_none() {
    let conninfo = parsed("host='' port=1");
    assert_eq!(conninfo.get("host"), None);
    assert_eq!(conninfo.get("port"), Some("1"));
    assert_eq!(conninfo.get("user"), None);
}

#[test]
fn options_are_added_replaced_and_removed() {
    let conninfo = parsed("port=1 host=a")
        .with("dbname", "x y")
        .with("host", "b");
    assert_eq!(conninfo.original(), "host=b port=1 dbname='x y'");
    assert_eq!(conninfo.without("host").original(), "port=1 dbname='x y'");
}

#[test]
fn no_secret_is_shown() {
    for secret in [
        "password",
        "sslpassword",
        "oauth_client_secret",
        "scram_client_key",
        "scram_server_key",
    ] {
        let conninfo = parsed(&format!("host=a {secret}='hunter 2'"));
        let masked = format!("host=a {secret}=********");
        assert_eq!(conninfo.redacted(), masked);
        assert_eq!(conninfo.to_string(), masked);
        assert_eq!(format!("{conninfo:?}"), format!("Conninfo({masked:?})"));
        assert_eq!(conninfo.without_password(), parsed("host=a"));
        assert_eq!(conninfo.original_without_password(), "host=a");
    }
}

#[test]
fn a_connection_string_in_dbname_is_hidden() {
    let conninfo = parsed("host=a dbname='password=hunter2'");
    assert_eq!(conninfo.redacted(), "host=a dbname=********");
    let uri = parsed("dbname=postgresql://u:hunter2@h");
    assert_eq!(uri.redacted(), "dbname=********");
}

#[test]
fn redacted_text_has_no_line_break() {
    let conninfo = parsed("application_name='a\nERROR all is lost\x1b[0m'");
    assert_eq!(
        conninfo.redacted(),
        r"application_name='a\\nERROR all is lost\\u{1b}[0m'"
    );
}

#[test]
fn the_original_is_kept_unless_it_shows_a_secret() {
    let harmless = "port = 1   host='a'";
    assert_eq!(parsed(harmless).original_without_password(), harmless);
    let replaced = parsed("host=a password=hunter2 password=''");
    assert_eq!(replaced.original_without_password(), "host=a");
    let uri = parsed("postgresql://u:hunter2@a/app?application_name=x@y");
    assert_eq!(
        uri.original_without_password(),
        "host=a dbname=app user=u application_name=x@y"
    );
    let at = "postgresql://a/app?application_name=x@y";
    assert_eq!(parsed(at).original_without_password(), at);
}

#[test]
fn errors_show_no_part_of_a_password() {
    for text in [
        "password=hunter 2hunter=x",
        "password=hunter hunter",
        "password='hunter",
        "password='a'hunter=x",
        "hunter",
        "hunter'hunter=x",
        "postgresql://u:hunter%zz@h",
        "postgresql://u:x hunter@h",
        "postgresql://u:x/hunter?hunter=x@h",
        "postgresql://u:x?hunter=1@h/x?hunter",
        "postgresql://h/?password=a&hunter=1",
        "postgresql://h/?password=a=hunter",
    ] {
        let error = Conninfo::parse(text).unwrap_err();
        assert!(!error.to_string().contains("hunter"), "{text}: {error}");
        assert!(
            !format!("{error:?}").contains("hunter"),
            "{text}: {error:?}"
        );
    }
    let port = parsed("postgresql://u:hunter/2").addresses().unwrap_err();
    assert!(!port.to_string().contains("hunter"));
}

fn address(host: Option<&str>, hostaddr: Option<&str>, port: u16) -> Address {
    Address {
        host: host.map(str::to_owned),
        hostaddr: hostaddr.map(str::to_owned),
        port,
    }
}

#[test]
fn lists_of_hosts_and_ports_are_paired() {
    for (text, expected) in [
        ("", vec![address(None, None, 5432)]),
        ("host='' port=''", vec![address(None, None, 5432)]),
        ("port=1", vec![address(None, None, 1)]),
        ("host=a port=' +7 '", vec![address(Some("a"), None, 7)]),
        (
            "host=a,b port=1",
            vec![address(Some("a"), None, 1), address(Some("b"), None, 1)],
        ),
        (
            "host=a,b port=1,",
            vec![address(Some("a"), None, 1), address(Some("b"), None, 5432)],
        ),
        (
            "host=,b port=1,2",
            vec![address(None, None, 1), address(Some("b"), None, 2)],
        ),
        (
            "host=a,b hostaddr=::1,",
            vec![
                address(Some("a"), Some("::1"), 5432),
                address(Some("b"), None, 5432),
            ],
        ),
        ("hostaddr=::1", vec![address(None, Some("::1"), 5432)]),
    ] {
        assert_eq!(parsed(text).addresses().unwrap(), expected, "{text}");
    }
}

#[test]
fn lists_that_do_not_pair_are_refused() {
    let hosts = ParseError::HostCount {
        hosts: 2,
        addresses: 1,
    };
    assert_eq!(parsed("host=a,b hostaddr=::1").addresses(), Err(hosts));
    let ports = ParseError::PortCount { ports: 2, hosts: 1 };
    assert_eq!(parsed("host=a port=1,2").addresses(), Err(ports));
    for port in ["0", "-1", "65536", "1x", "x", r"\ ", "99999999999"] {
        let text = format!("host=a,b port=5432,{port}");
        let expected = ParseError::Port { host_index: 2 };
        assert_eq!(parsed(&text).addresses(), Err(expected), "{port}");
    }
}

#[test]
fn time_limits_have_their_units() {
    let conninfo = parsed(
        "connect_timeout=1 tcp_user_timeout=5000 keepalives_idle=60 \
         keepalives_interval=10 keepalives_count=3 keepalives=0",
    );
    assert_eq!(conninfo.connect_timeout(), Ok(Some(Duration::from_secs(1))));
    assert_eq!(
        conninfo.tcp_user_timeout(),
        Ok(Some(Duration::from_secs(5)))
    );
    assert_eq!(
        conninfo.keepalives_idle(),
        Ok(Some(Duration::from_secs(60)))
    );
    assert_eq!(
        conninfo.keepalives_interval(),
        Ok(Some(Duration::from_secs(10)))
    );
    assert_eq!(conninfo.keepalives_count(), Ok(Some(3)));
    assert_eq!(conninfo.keepalives(), Ok(false));
}

#[test]
fn absent_zero_and_negative_limits_are_no_limits() {
    for text in ["", "connect_timeout=0", "connect_timeout=-5"] {
        assert_eq!(parsed(text).connect_timeout(), Ok(None), "{text}");
    }
    assert_eq!(parsed("").keepalives(), Ok(true));
    assert_eq!(parsed("keepalives_count=0").keepalives_count(), Ok(None));
}

#[test]
fn numbers_with_trailing_garbage_are_refused() {
    let keyword = "connect_timeout";
    for value in ["5s", "x", "''", "1.5", "0x10", "99999999999", "'- 1'"] {
        assert_eq!(
            parsed(&format!("connect_timeout={value}")).connect_timeout(),
            Err(ParseError::Integer { keyword }),
            "{value}"
        );
    }
    let spaced = parsed("connect_timeout=' +5\t'");
    assert_eq!(spaced.connect_timeout(), Ok(Some(Duration::from_secs(5))));
}

#[test]
fn sslmode_is_one_of_six() {
    for (text, expected) in [
        ("", Ok(SslMode::Prefer)),
        ("sslmode=disable", Ok(SslMode::Disable)),
        ("sslmode=allow", Ok(SslMode::Allow)),
        ("sslmode=prefer", Ok(SslMode::Prefer)),
        ("sslmode=require", Ok(SslMode::Require)),
        ("sslmode=verify-ca", Ok(SslMode::VerifyCa)),
        ("sslmode=verify-full", Ok(SslMode::VerifyFull)),
        ("sslmode=Prefer", Err(ParseError::SslMode)),
        ("sslmode=''", Err(ParseError::SslMode)),
        ("sslrootcert=system", Ok(SslMode::VerifyFull)),
        (
            "sslrootcert=system sslmode=require",
            Err(ParseError::WeakSslMode),
        ),
    ] {
        assert_eq!(parsed(text).sslmode(), expected, "{text}");
    }
}
