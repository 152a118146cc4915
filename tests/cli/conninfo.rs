//! A connection string that will not do is refused where it is read, and nothing of it is shown.

use crate::Place;

/// Each holds the password `hunter2` somewhere, and what is said of it.
const BROKEN: [(&str, &str); 25] = [
    (
        "hunter2",
        "missing `=` after the word at byte 0 of the connection string",
    ),
    (
        "host=a password=x hunter2",
        "missing `=` after the word at byte 18 of the connection string",
    ),
    (
        "host=a hunter2 b",
        "missing `=` after the word at byte 7 of the connection string",
    ),
    ("=hunter2", "invalid connection option at byte 0"),
    (
        "host=a pasword=hunter2",
        "invalid connection option `pasword` at byte 7",
    ),
    (
        "password=two hunter2=x",
        "invalid connection option at byte 13",
    ),
    (
        "host=a password=hunter2 port=0 dbname=x",
        "invalid port number for host 1 of the connection string",
    ),
    (
        "host=a password=hunter2 port=65536 dbname=x",
        "invalid port number for host 1 of the connection string",
    ),
    (
        "host=a password=hunter2 port=hunter2 dbname=x",
        "invalid port number for host 1 of the connection string",
    ),
    (
        "host=a,b password=hunter2 port=1,2,3 dbname=x",
        "could not match 3 port numbers to 2 hosts",
    ),
    (
        "host=a,b hostaddr=127.0.0.1 password=hunter2 dbname=x",
        "could not match 2 host names to 1 hostaddr values",
    ),
    (
        "host=a password=hunter2 dbname=x connect_timeout=2s",
        "invalid integer value for connection option `connect_timeout`",
    ),
    (
        "host=a password=hunter2 dbname=x tcp_user_timeout=5s",
        "invalid integer value for connection option `tcp_user_timeout`",
    ),
    (
        "host=a password=hunter2 dbname=x keepalives=off",
        "invalid integer value for connection option `keepalives`",
    ),
    (
        "host=a password=hunter2 dbname=x sslmode=hunter2",
        "invalid `sslmode` value; use disable, allow, prefer, require, verify-ca or \
         verify-full",
    ),
    (
        "host=a password=hunter2 dbname=x sslmode=prefer sslrootcert=system",
        "weak `sslmode` with `sslrootcert=system`; use verify-full",
    ),
    (
        "host=a password=hunter2 dbname=x ssl_min_protocol_version=hunter2",
        "invalid `ssl_min_protocol_version` value; use TLSv1, TLSv1.1, TLSv1.2 or \
         TLSv1.3",
    ),
    (
        "host=a dbname=x password=hunter2 ssl_min_protocol_version=TLSv1.3 \
         ssl_max_protocol_version=TLSv1.2",
        "`ssl_min_protocol_version` is above `ssl_max_protocol_version`",
    ),
    (
        "host=a password=hunter2",
        "no `dbname`; PgBouncer needs one",
    ),
    (
        "dbname=a password=hunter2",
        "no `host` or `hostaddr`; PgBouncer needs one",
    ),
    (
        "postgresql://u:hunter2@[::1/x",
        "missing `]` after the `[` at byte 23 of the URI",
    ),
    (
        "postgresql://u:hunter2@[]/x",
        "empty IPv6 address at byte 23 of the URI",
    ),
    (
        "postgresql://u:hunter2%zz@a/x",
        "invalid percent-encoding in the part of the URI at byte 15",
    ),
    (
        "postgresql://u:hunter2@a/x?hunter2",
        "query parameter at byte 27 of the URI is not of the form `key=value`",
    ),
    (
        "postgresql://u:x hunter2@a/x",
        "space in the part of the URI at byte 15; write `%20`",
    ),
];

#[test]
fn it_is_refused_with_the_reason_and_without_the_password() {
    let place = Place::new();
    for (conninfo, expected) in BROKEN {
        let quoted = conninfo.replace('\\', "\\\\").replace('\'', "''");
        place.write(
            "repmgr.conf",
            &format!("node_id=1\nnode_name=a\nconninfo='{quoted}'\n"),
        );
        let ran = place.run(&["config", "import", "repmgr.conf"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
        let (place, reason) = ran.stderr.split_once(": conninfo: ").expect("a problem");
        assert!(place.ends_with("1 problem:\nrepmgr.conf:3"), "{place}");
        let reason = reason
            .strip_prefix("not a connection string of libpq: ")
            .unwrap_or(reason);
        assert_eq!(reason, format!("{expected}\n"), "{conninfo}");
    }
}
