//! libpq's password file: which line of it holds for a connection.
//!
//! Pure text: the edge reads the file, refuses one that others may read (libpq ignores a file with
//! group or world access), and asks only when the connection string holds no password.

use super::DEFAULT_PORT;

/// Directories that builds of libpq have as their default for sockets.
const SOCKET_DIRECTORIES: [&str; 3] = ["/tmp", "/run/postgresql", "/var/run/postgresql"];

/// Finds the password of the first line that matches.
///
/// `host` is the host name if there is one, else the address, else `None` for the default socket.
/// A default socket is called `localhost` in the file. As in libpq, nothing is found for an empty
/// `dbname` or `user`, and a line with an empty password ends the search.
pub fn lookup(
    text: &str,
    host: Option<&str>,
    port: Option<u16>,
    dbname: &str,
    user: &str,
) -> Option<String> {
    if dbname.is_empty() || user.is_empty() {
        return None;
    }
    let hosts = names_of(host);
    let port = port.unwrap_or(DEFAULT_PORT).to_string();
    text.split('\n')
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.trim_end_matches('\r'))
        .find_map(|line| {
            let rest = hosts.iter().find_map(|host| after_field(line, host))?;
            let rest = after_field(rest, &port)?;
            let rest = after_field(rest, dbname)?;
            after_field(rest, user)
        })
        .map(unescape)
        .filter(|password| !password.is_empty())
}

/// What the file may call this host. A directory that is the default of some builds of libpq
/// matches under both names, because the build that wrote the file is not known.
fn names_of(host: Option<&str>) -> Vec<&str> {
    match host.filter(|host| !host.is_empty()) {
        None => vec!["localhost"],
        Some(host) if SOCKET_DIRECTORIES.contains(&host) => vec!["localhost", host],
        Some(host) => vec![host],
    }
}

/// The rest of the line after this field and its colon, if the field is `*` or equals `wanted`.
/// A colon of `wanted` may stand in the field without a backslash, as in libpq.
fn after_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut wanted = wanted.chars();
    let mut line = line.chars();
    loop {
        let wanted = wanted.next();
        let found = match line.next()? {
            ':' if wanted.is_none() => return Some(line.as_str()),
            '\\' => line.next()?,
            other => other,
        };
        if wanted != Some(found) {
            return None;
        }
    }
}

/// The password: up to a colon, with `\:` and `\\` made plain.
fn unescape(field: &str) -> String {
    let mut password = String::new();
    let mut field = field.chars();
    while let Some(c) = field.next() {
        match c {
            ':' => break,
            '\\' => password.push(field.next().unwrap_or('\\')),
            other => password.push(other),
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::lookup;

    fn find(text: &str, host: &str) -> Option<String> {
        lookup(text, Some(host), Some(5432), "app", "repmgr")
    }

    #[test]
    fn the_first_matching_line_wins() {
        let text = "a:5432:app:repmgr:one\na:5432:app:repmgr:two\n";
        assert_eq!(find(text, "a").as_deref(), Some("one"));
    }

    #[test]
    fn every_field_but_the_password_may_be_a_wildcard() {
        assert_eq!(find("*:*:*:*:secret", "a").as_deref(), Some("secret"));
        assert_eq!(find("a:*:*:repmgr:secret", "a").as_deref(), Some("secret"));
        assert_eq!(find("a*:*:*:*:secret", "ab"), None);
    }

    #[test]
    fn every_field_must_match() {
        for line in [
            "b:5432:app:repmgr:x",
            "a:5433:app:repmgr:x",
            "a:5432:other:repmgr:x",
            "a:5432:app:other:x",
            "a:5432:app:repmg:x",
            "a:5432:app:repmgrr:x",
            "a:5432:app:repmgr",
            "",
        ] {
            assert_eq!(find(line, "a"), None, "{line}");
        }
    }

    #[test]
    fn comments_are_skipped_and_carriage_returns_are_dropped() {
        let text = "#a:5432:app:repmgr:no\r\na:5432:app:repmgr:yes\r\n";
        assert_eq!(find(text, "a").as_deref(), Some("yes"));
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        assert_eq!(
            find(r"\:\:1:5432:app:repmgr:a\:b\\c", "::1").as_deref(),
            Some(r"a:b\c")
        );
        assert_eq!(find("::1:5432:app:repmgr:x", "::1").as_deref(), Some("x"));
        assert_eq!(find(r"a\:5432:app:repmgr:x", "a"), None);
        assert_eq!(find(r"a:*:*:*:x\", "a").as_deref(), Some(r"x\"));
    }

    #[test]
    fn a_password_ends_at_a_plain_colon() {
        assert_eq!(find("a:*:*:*:one:two", "a").as_deref(), Some("one"));
    }

    #[test]
    fn a_default_socket_is_called_localhost() {
        let text = "localhost:5432:app:repmgr:x";
        assert!(lookup(text, None, None, "app", "repmgr").is_some());
        assert!(find(text, "").is_some());
        assert!(find(text, "/var/run/postgresql").is_some());
        assert!(find(text, "/srv/socket").is_none());
        assert!(find("/tmp:5432:app:repmgr:x", "/tmp").is_some());
    }

    #[test]
    fn an_empty_password_ends_the_search() {
        assert_eq!(find("a:*:*:*:\na:*:*:*:x", "a"), None);
    }

    #[test]
    fn nothing_is_found_without_dbname_or_user() {
        assert_eq!(lookup("*:*:*:*:x", None, None, "", "u"), None);
        assert_eq!(lookup("*:*:*:*:x", None, None, "d", ""), None);
    }
}
