//! What libpq reads beside the connection string: `PG*` variables, service files, the password
//! file; and where its home directory is.
//!
//! Touches the environment and these files, read-only. What they mean is `conninfo`'s; the files of
//! TLS are read in [`super::postgres`].

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::conninfo::defaults::{Environment, resolve};
use crate::conninfo::{Address, Conninfo, passfile};

/// Where builds of libpq look for `pg_service.conf`, and `PGSYSCONFDIR` is not set: Debian's, that
/// of the PGDG's packages for Red Hat, and those of a build from source.
const SYSTEM_DIRECTORIES: [&str; 4] = [
    "/etc/postgresql-common",
    "/etc/sysconfig/pgsql",
    "/etc/postgresql",
    "/usr/local/pgsql/etc",
];

/// Completes a connection string as libpq would: service file and environment; and refuses what
/// libpq would refuse before it connects. Passwords are [`with_password`]'s.
///
/// # Errors
/// One line that says which of these is wrong, without any value of it.
pub fn complete(conninfo: &Conninfo) -> Result<Conninfo, String> {
    check_files(conninfo)?;
    let environment = environment(conninfo)?;
    let resolved = resolve(conninfo, &environment).map_err(|error| super::chain(&error))?;
    resolved.check().map_err(|error| super::chain(&error))?;
    Ok(resolved)
}

/// A row of `repmgr.nodes` may name any file: one that is no file (a pipe) would be read for ever,
/// and with it the whole agent would stand still.
fn check_files(conninfo: &Conninfo) -> Result<(), String> {
    for keyword in ["sslrootcert", "sslcert", "sslkey", "sslcrl", "servicefile"] {
        let Some(path) = conninfo.get(keyword) else {
            continue;
        };
        let found = std::fs::metadata(path);
        if found.is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
            let path = path.escape_debug();
            return Err(format!("{keyword} names `{path}`, which is no plain file"));
        }
    }
    Ok(())
}

/// The password of the password file for this address, unless the connection string has one.
#[must_use]
pub fn with_password(conninfo: &Conninfo, address: &Address) -> Conninfo {
    let found = match conninfo.get("password") {
        Some(_) => None,
        None => password(conninfo, address),
    };
    match found {
        Some(password) => conninfo.clone().with("password", &password),
        None => conninfo.clone(),
    }
}

fn password(conninfo: &Conninfo, address: &Address) -> Option<String> {
    let text = passfile_text(conninfo)?;
    // libpq looks the name up that was asked for, not the address behind it.
    let host = address.host.as_deref().or(address.hostaddr.as_deref());
    let (dbname, user) = (conninfo.get("dbname")?, conninfo.get("user")?);
    passfile::lookup(&text, host, Some(address.port), dbname, user)
}

fn environment(conninfo: &Conninfo) -> Result<Environment, String> {
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("PG"))
        .collect::<std::collections::BTreeMap<_, _>>();
    let service = conninfo.get("service");
    let wanted = service.is_some() || vars.contains_key("PGSERVICE");
    let read = |path: PathBuf| std::fs::read_to_string(path).ok();
    let named = conninfo.get("servicefile").map(str::to_owned);
    let named = named.or_else(|| vars.get("PGSERVICEFILE").cloned());
    let service_file = match named.filter(|_| wanted) {
        // A file that was named must be there, as for libpq.
        Some(named) => Some(
            std::fs::read_to_string(&named)
                .map_err(|error| format!("service file `{}`: {error}", named.escape_debug()))?,
        ),
        None => home().and_then(|home| read(home.join(".pg_service.conf"))),
    };
    let system: Vec<PathBuf> = match vars.get("PGSYSCONFDIR") {
        Some(directory) => vec![PathBuf::from(directory)],
        None => SYSTEM_DIRECTORIES.map(PathBuf::from).to_vec(),
    };
    let mut system = system.into_iter().map(|d| d.join("pg_service.conf"));
    Ok(Environment {
        service_file,
        system_service_file: system.find_map(read),
        user: own_entry(0),
        vars,
    })
}

/// The text of the password file, unless others may read it: libpq ignores it then, and so do we.
fn passfile_text(conninfo: &Conninfo) -> Option<String> {
    let named = conninfo.get("passfile").map(PathBuf::from);
    let path = named.or_else(|| Some(home()?.join(".pgpass")))?;
    let metadata = std::fs::metadata(&path).ok()?;
    if !metadata.is_file() {
        tracing::warn!(file = %path.display(), "password file is ignored: it is no plain file");
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            "password file is ignored, as libpq does: others may read it; chmod 0600 it"
        );
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// `HOME`, or the directory of the password database.
pub(super) fn home() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    home.map(PathBuf::from)
        .or_else(|| own_entry(5).map(PathBuf::from))
}

/// A field of the entry of `/etc/passwd` for the user that this process runs as: `USER` may lie.
fn own_entry(field: usize) -> Option<String> {
    let uid = std::fs::metadata(Path::new("/proc/self")).ok()?.uid();
    user_entry(uid, field)
}

/// The name of a user, for `requirepeer`.
pub(super) fn name_of(uid: u32) -> Option<String> {
    user_entry(uid, 0)
}

fn user_entry(uid: u32, field: usize) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let found = fields.get(2).is_some_and(|found| *found == uid.to_string());
        found.then(|| fields.get(field).map(|text| (*text).to_owned()))?
    })
}
