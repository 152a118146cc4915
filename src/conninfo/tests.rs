//! Tables of strings with what libpq makes of them.

use std::time::Duration;

use super::*;

mod table;

use table::{ACCEPTED, refused, stricter};

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

#[test]
fn versions_of_tls_are_four_and_in_order() {
    use TlsVersion::{V1_0, V1_1, V1_2, V1_3};
    let (least, greatest) = ("ssl_min_protocol_version", "ssl_max_protocol_version");
    for (text, expected) in [
        (String::new(), Ok((Some(V1_2), None))),
        (format!("{least}=''"), Ok((None, None))),
        (
            format!("{least}=tlsV1 {greatest}=TLSv1.1"),
            Ok((Some(V1_0), Some(V1_1))),
        ),
        (format!("{greatest}=TLSv1.3"), Ok((Some(V1_2), Some(V1_3)))),
        (format!("{greatest}=TLSv1.1"), Err(ParseError::TlsVersions)),
        (
            format!("{least}=SSLv3"),
            Err(ParseError::TlsVersion {
                keyword: "ssl_min_protocol_version",
            }),
        ),
    ] {
        assert_eq!(parsed(&text).tls_versions(), expected, "{text}");
    }
}

#[test]
fn what_libpq_would_refuse_when_it_connects_is_found_before() {
    for text in [
        "",
        "host=a,b port=1,2",
        "sslmode=require connect_timeout=-1",
    ] {
        assert_eq!(parsed(text).check(), Ok(()), "{text}");
    }
    for text in [
        "host=a,b port=1,2,3",
        "host=a,b hostaddr=::1",
        "port=65536",
        "sslmode=on",
        "sslrootcert=system sslmode=prefer",
        "ssl_max_protocol_version=1.2",
        "connect_timeout=2s",
        "tcp_user_timeout=5s",
        "keepalives=on",
        "keepalives_count=''",
    ] {
        assert!(parsed(text).check().is_err(), "{text}");
    }
}
