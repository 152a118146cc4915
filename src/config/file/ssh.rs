//! Decides what an `ssh = "…"` means: `[user@]host[:port]`, `ssh://user@host:port`, `[v6]:port`.
//!
//! Nothing is resolved: `host` may be an alias that only `ssh` knows. The parts are passed to
//! `ssh` as arguments, so nothing that could be taken for an option gets through.

/// A destination for `ssh`, and the port when one was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination {
    /// `host` or `user@host`, an IPv6 address without brackets.
    pub(super) destination: String,
    /// The port.
    pub(super) port: Option<u16>,
}

/// Why a text is no destination; the text is not shown, because it may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DestinationError {
    #[error("no host; write `[user@]host[:port]`")]
    NoHost,
    #[error("the host must be a name, an alias or an address of letters, digits, `_ . - :`")]
    Host,
    #[error("the user must have letters, digits, `_ . -` only, and no password")]
    User,
    #[error("must not begin with `-`, which `ssh` would take for an option")]
    Dash,
    #[error("the port must be a number from 1 to 65535")]
    Port,
    #[error("the `[` before the host has no `]` after it")]
    Bracket,
}

/// Takes a destination apart.
pub(super) fn parse(text: &str) -> Result<Destination, DestinationError> {
    let uri = text.strip_prefix("ssh://");
    let text = uri.map_or(text, |uri| uri.strip_suffix('/').unwrap_or(uri));
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    let (host, port) = split_port(rest)?;
    if host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return Err(DestinationError::Dash);
    }
    if user.is_some_and(|user| user.is_empty() || !user.bytes().all(is_name)) {
        return Err(DestinationError::User);
    }
    if host.is_empty() {
        return Err(DestinationError::NoHost);
    }
    if !host.bytes().all(|byte| is_name(byte) || byte == b':') {
        return Err(DestinationError::Host);
    }
    let port = port.map(parse_port).transpose()?;
    let destination = user.map_or(host.to_owned(), |user| format!("{user}@{host}"));
    Ok(Destination { destination, port })
}

/// Two colons without brackets are an IPv6 address without a port.
fn split_port(text: &str) -> Result<(&str, Option<&str>), DestinationError> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(DestinationError::Bracket)?;
        if rest.is_empty() {
            return Ok((host, None));
        }
        let port = rest.strip_prefix(':').ok_or(DestinationError::Port)?;
        return Ok((host, Some(port)));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        Some(_) | None => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, DestinationError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or(DestinationError::Port)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_taken_apart() {
        for (text, destination, port) in [
            ("pgb1", "pgb1", None),
            ("repoint@10.0.0.21:22", "repoint@10.0.0.21", Some(22)),
            ("pgb1:65535", "pgb1", Some(65535)),
            ("ssh://repoint@pgb1:2222", "repoint@pgb1", Some(2222)),
            ("ssh://pgb1/", "pgb1", None),
            ("[fd00::21]:22", "fd00::21", Some(22)),
            ("repoint@[fd00::21]", "repoint@fd00::21", None),
            ("fd00::21", "fd00::21", None),
        ] {
            let expected = Destination {
                destination: destination.into(),
                port,
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn nothing_that_ssh_would_take_for_an_option_or_a_command_gets_through() {
        use DestinationError::{Bracket, Dash, Host, NoHost, Port, User};
        for (text, error) in [
            ("", NoHost),
            ("repoint@", NoHost),
            ("ssh://", NoHost),
            (":22", NoHost),
            ("-oProxyCommand=id", Dash),
            ("-l@pgb1", Dash),
            ("repoint@-pgb1", Dash),
            ("[-pgb1]:22", Dash),
            ("@pgb1", User),
            ("ssh://repoint:hunter2@pgb1", User),
            ("a b@pgb1", User),
            ("pgb1 pgb2", Host),
            ("pgb1;id", Host),
            ("pgb1\n", Host),
            ("pgb1/x", Host),
            ("[fd00::21", Bracket),
            ("[fd00::21]22", Port),
            ("pgb1:", Port),
            ("pgb1:0", Port),
            ("pgb1:+22", Port),
            ("pgb1:65536", Port),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
