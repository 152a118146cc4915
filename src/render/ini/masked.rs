//! A file for people to look at, without what could be a secret in it.
//!
//! It decides which values are shown: addresses, names of databases and users, numbers, times and
//! words. Anything else may hold a password, in a place that nobody thought of, and so may a
//! comment or a line that cannot be read.

use super::check::is_key_of_an_entry;
use super::line::{self, Rest, Setting};
use super::settings::{Kind, setting};
use super::value::connection_pairs;
use crate::render::header;

const MASK: &str = "…";

/// Keys of a connection string whose values are names or addresses.
const NAMES: [&str; 4] = ["host", "port", "dbname", "user"];
/// Keys of a connection string whose values are numbers or words.
const WORDS: [&str; 16] = [
    "client_idle_timeout",
    "idle_transaction_timeout",
    "load_balance_hosts",
    "max_db_client_connections",
    "max_db_connections",
    "max_user_client_connections",
    "max_user_connections",
    "min_pool_size",
    "pool_mode",
    "pool_size",
    "query_timeout",
    "query_wait_timeout",
    "reserve_pool",
    "reserve_pool_size",
    "server_lifetime",
    "transaction_timeout",
];
/// Settings whose values are text, but names or addresses.
const OPEN_SETTINGS: [&str; 10] = [
    "admin_users",
    "auth_dbname",
    "auth_file",
    "auth_hba_file",
    "auth_user",
    "listen_addr",
    "logfile",
    "pidfile",
    "stats_users",
    "unix_socket_dir",
];

/// The text with `…` in place of what is not shown; line by line, with its line breaks.
#[must_use]
pub fn masked(text: &str) -> String {
    let mut section = None;
    let mut masked = String::new();
    for whole in text.split_inclusive('\n') {
        let content = whole.strip_suffix('\n').unwrap_or(whole);
        masked.push_str(&line(content, &mut section));
        masked.push_str(&whole[content.len()..]);
    }
    masked
}

fn line(content: &str, section: &mut Option<String>) -> String {
    let Ok(read) = line::read(content) else {
        return MASK.to_owned();
    };
    if let Some(last) = read.sections.last() {
        *section = Some((*last).to_owned());
    }
    match read.rest {
        Rest::Nothing | Rest::Include(_) => content.to_owned(),
        Rest::Comment if header::is_ours(content.as_bytes()) => content.to_owned(),
        Rest::Comment => {
            let head = content.find([';', '#']).map_or(0, |at| at + 1);
            format!("{} {MASK}", &content[..head])
        }
        Rest::Setting(setting) => {
            let value = match section.as_deref() {
                Some("databases" | "users" | "peers") => connection(setting.value),
                Some("pgbouncer") => of_pgbouncer(&setting),
                Some(_) => MASK.to_owned(),
                None => return MASK.to_owned(),
            };
            let end = setting.at + setting.value.len();
            format!("{}{value}{}", &content[..setting.at], &content[end..])
        }
    }
}

fn of_pgbouncer(line: &Setting<'_>) -> String {
    let shown = match setting(line.key) {
        Some((_, Kind::Text)) => OPEN_SETTINGS.contains(&line.key),
        Some((_, kind)) => kind.takes(line.value),
        None => false,
    };
    match shown || line.value.is_empty() {
        true => line.value.to_owned(),
        false => MASK.to_owned(),
    }
}

/// A connection string. What is no known key may be the rest of a value: nothing is shown of it,
/// nor of what follows.
fn connection(value: &str) -> String {
    let Ok(pairs) = connection_pairs(value) else {
        return MASK.to_owned();
    };
    let mut masked = String::new();
    let mut end = 0;
    for pair in pairs {
        let shown = if NAMES.contains(&pair.key) {
            !pair.value.contains(|c: char| c.is_control() || c == '=')
        } else if WORDS.contains(&pair.key) {
            let word = |c: char| c.is_ascii_lowercase() || c == '-';
            let digits = pair.value.chars().all(|c| c.is_ascii_digit());
            digits || pair.value.chars().all(word)
        } else if is_key_of_an_entry(pair.key) {
            false
        } else {
            return format!("{masked} {MASK}").trim_start().to_owned();
        };
        masked.push_str(&value[end..pair.place.start]);
        masked.push_str(if shown {
            &value[pair.place.clone()]
        } else {
            MASK
        });
        end = pair.place.end;
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_words_are_shown() {
        for text in [
            "[databases]\r\n\r\napp = host='10.0.0.1' port = 5432 dbname='o''r' user=u\r\n",
            "[databases]\n* = pool_size=3  pool_mode=session load_balance_hosts=round-robin",
            ";repoint v1 generation=7.1 active=1 writer=2 sha256=0\n[x] [users]\na=pool_size=3",
            "[pgbouncer]\nlisten_port = 6432\nadmin_users = a, b\npool_mode = session\n",
            "[pgbouncer]\nignore_startup_parameters =\n%include /etc/more.ini\n",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn nothing_else_is() {
        const SECRET: &str = "hunter2";
        for (text, shown) in [
            ("; hunter2", "; …"),
            ("  # app = password=hunter2\r", "  # …"),
            (";repoint v1 hunter2", "; …"),
            ("hunter2", "…"),
            ("hunter2 = x y", "…"),
            (
                "[databases] a = host=b password=hunter2",
                "[databases] a = host=b password=…",
            ),
            (
                "[databases]\na = password='hunter2 x' host=b connect_query='hunter2'",
                "[databases]\na = password=… host=b connect_query=…",
            ),
            (
                "[databases]\na = password=two hunter2=x",
                "[databases]\na = password=… …",
            ),
            (
                "[databases]\na = password=two hunter2",
                "[databases]\na = …",
            ),
            (
                "[databases]\na = host=b\tpassword=hunter2",
                "[databases]\na = host=…",
            ),
            (
                "[databases]\na = pool_size=hunter2",
                "[databases]\na = pool_size=…",
            ),
            ("[databases]\na = HOST=hunter2", "[databases]\na = …"),
            ("[users]\na = password=hunter2", "[users]\na = password=…"),
            (
                "[pgbouncer]\nauth_query = hunter2",
                "[pgbouncer]\nauth_query = …",
            ),
            (
                "[pgbouncer]\nauth_ldap_options = hunter2",
                "[pgbouncer]\nauth_ldap_options = …",
            ),
            (
                "[pgbouncer]\nlisten_port = hunter2",
                "[pgbouncer]\nlisten_port = …",
            ),
            (
                "[pgbouncer]\nunheard_of = hunter2",
                "[pgbouncer]\nunheard_of = …",
            ),
            ("[other]\na = hunter2", "[other]\na = …"),
        ] {
            let masked = masked(text);
            assert_eq!(masked, shown, "{text:?}");
            assert!(!masked.contains(SECRET), "{text:?}");
        }
    }
}
