//! Connection strings, good and bad. The unit tests compare our reading with what stands here, and
//! `tests/real/conninfo_parse.rs` compares it with `PQconninfoParse`.

use super::ParseError;

/// Strings and their canonical text.
pub(crate) const ACCEPTED: &[(&str, &str)] = &[
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
pub(crate) fn refused() -> Vec<(&'static str, ParseError)> {
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
pub(crate) fn stricter() -> Vec<(&'static str, ParseError)> {
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
