//! What libpq would add to a connection string: service file, environment, and the user's name.
//!
//! The order is libpq's: what the string says, then the service, then the environment, then the
//! built-in default. An option that is given but empty stops the search as in libpq. The edge
//! gathers the [`Environment`]; the password file is asked afterwards, see [`super::passfile`].

use std::collections::BTreeMap;
use std::fmt;

use super::Conninfo;
use super::keyword_value::is_blank;
use super::keywords::{self, KEYWORDS};

/// What the edge found around the program.
#[derive(Clone, Default)]
pub struct Environment {
    /// The variables whose names begin with `PG`.
    pub vars: BTreeMap<String, String>,
    /// Text of the user's service file: that of `servicefile`, else of `PGSERVICEFILE`, else
    /// `~/.pg_service.conf` if it exists.
    pub service_file: Option<String>,
    /// Text of `pg_service.conf` in `PGSYSCONFDIR` or libpq's own directory, if it exists.
    pub system_service_file: Option<String>,
    /// Name of the operating system's user.
    pub user: Option<String>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("vars", &self.vars.keys())
            .field("service_file", &self.service_file.is_some())
            .field("system_service_file", &self.system_service_file.is_some())
            .field("user", &self.user)
            .finish()
    }
}

/// One of the two files in which a service may be defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceFile {
    /// [`Environment::service_file`].
    User,
    /// [`Environment::system_service_file`].
    System,
}

impl fmt::Display for ServiceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "service file",
            Self::System => "system service file",
        })
    }
}

/// Why defaults could not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Neither file has the section.
    #[error("definition of service `{service}` not found")]
    ServiceNotFound {
        /// The service that was asked for.
        service: String,
    },
    /// A line of the section is not `option=value`, or libpq has no such option.
    #[error("syntax error in {file}, line {line}")]
    Syntax {
        /// Which file.
        file: ServiceFile,
        /// Which line, from 1.
        line: usize,
    },
    /// A service that names a service.
    #[error("nested service specification in {file}, line {line}")]
    NestedService {
        /// Which file.
        file: ServiceFile,
        /// Which line, from 1.
        line: usize,
    },
    /// A service that is kept in a directory server.
    #[error("LDAP lookup of a service is not supported: {file}, line {line}")]
    Ldap {
        /// Which file.
        file: ServiceFile,
        /// Which line, from 1.
        line: usize,
    },
    /// There is no user to connect as.
    #[error("no user name: add `user` to the connection string")]
    UserUnknown,
}

/// Adds what libpq would add. Built-in defaults of libpq other than `user` and `dbname` are left
/// to the accessors of [`Conninfo`].
pub fn resolve(conninfo: &Conninfo, environment: &Environment) -> Result<Conninfo, ResolveError> {
    let mut values = conninfo.values.clone();
    for (keyword, value) in service_settings(conninfo, environment)? {
        values.entry(keyword).or_insert(value);
    }
    add_variables(&mut values, &environment.vars);
    if is_missing(&values, "user") {
        let user = environment.user.clone().filter(|user| !user.is_empty());
        values.insert("user".to_owned(), user.ok_or(ResolveError::UserUnknown)?);
    }
    if is_missing(&values, "dbname") {
        let user = values.get("user").cloned().unwrap_or_default();
        values.insert("dbname".to_owned(), user);
    }
    Ok(Conninfo::from_values(values))
}

fn add_variables(values: &mut BTreeMap<String, String>, vars: &BTreeMap<String, String>) {
    for keyword in &KEYWORDS {
        let Some(value) = keyword.variable.and_then(|variable| vars.get(variable)) else {
            continue;
        };
        values
            .entry(keyword.name.to_owned())
            .or_insert_with(|| value.clone());
    }
    let requires_tls = vars
        .get("PGREQUIRESSL")
        .is_some_and(|value| value.starts_with('1'));
    if requires_tls {
        values
            .entry("sslmode".to_owned())
            .or_insert_with(|| "require".to_owned());
    }
}

fn is_missing(values: &BTreeMap<String, String>, keyword: &str) -> bool {
    values.get(keyword).is_none_or(String::is_empty)
}

fn service_settings(
    conninfo: &Conninfo,
    environment: &Environment,
) -> Result<BTreeMap<String, String>, ResolveError> {
    let explicit = conninfo.values.get("service");
    let Some(service) = explicit.or_else(|| environment.vars.get("PGSERVICE")) else {
        return Ok(BTreeMap::new());
    };
    let files = [
        (ServiceFile::User, &environment.service_file),
        (ServiceFile::System, &environment.system_service_file),
    ];
    for (file, text) in files {
        let Some(text) = text else { continue };
        if let Some(settings) = section(text, service, file)? {
            return Ok(settings);
        }
    }
    Err(ResolveError::ServiceNotFound {
        service: service.clone(),
    })
}

/// The first section of this name, if there is one. Within it the first value of an option wins.
fn section(
    text: &str,
    service: &str,
    file: ServiceFile,
) -> Result<Option<BTreeMap<String, String>>, ResolveError> {
    let header = format!("[{service}]");
    let lines = text
        .split('\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim_matches(is_blank)))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .skip_while(|(_, line)| !line.starts_with(&header));
    let mut settings = None;
    for (line, content) in lines {
        match &mut settings {
            None => settings = Some(BTreeMap::new()),
            Some(_) if content.starts_with('[') => break,
            Some(settings) => {
                let (keyword, value) = setting(content, file, line)?;
                settings.entry(keyword).or_insert(value);
            }
        }
    }
    Ok(settings)
}

/// Blanks around `=` belong to the name and the value, as in libpq.
fn setting(
    content: &str,
    file: ServiceFile,
    line: usize,
) -> Result<(String, String), ResolveError> {
    if content.starts_with("ldap") {
        return Err(ResolveError::Ldap { file, line });
    }
    match content.split_once('=') {
        Some(("service" | "servicefile", _)) => Err(ResolveError::NestedService { file, line }),
        Some((keyword, value)) if keywords::is_known(keyword) => {
            Ok((keyword.to_owned(), value.to_owned()))
        }
        Some(_) | None => Err(ResolveError::Syntax { file, line }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str = "# ours\n[other]\nhost=wrong\n\n  [app]\nhost=service\nport=6000\n\
                            host=second\n[last]\nhost=wrong\n";

    fn environment(vars: &[(&str, &str)]) -> Environment {
        Environment {
            vars: vars
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            service_file: None,
            system_service_file: None,
            user: Some("postgres".to_owned()),
        }
    }

    fn parsed(text: &str) -> Conninfo {
        Conninfo::parse(text).unwrap()
    }

    fn resolved(text: &str, environment: &Environment) -> Result<String, ResolveError> {
        resolve(&parsed(text), environment).map(|conninfo| conninfo.to_conninfo_string())
    }

    #[test]
    fn user_is_that_of_the_system_and_dbname_that_of_the_user() {
        let none = environment(&[]);
        assert_eq!(
            resolved("", &none).unwrap(),
            "dbname=postgres user=postgres"
        );
        assert_eq!(resolved("user=a", &none).unwrap(), "dbname=a user=a");
        assert_eq!(
            resolved("user='' dbname=''", &none).unwrap(),
            "dbname=postgres user=postgres"
        );
    }

    #[test]
    fn without_any_user_there_is_an_error() {
        let environment = Environment::default();
        assert_eq!(resolved("", &environment), Err(ResolveError::UserUnknown));
    }

    #[test]
    fn the_string_wins_over_the_service_and_the_service_over_the_environment() {
        let mut environment = environment(&[
            ("PGHOST", "variable"),
            ("PGPORT", "7000"),
            ("PGDATABASE", "variable"),
        ]);
        environment.service_file = Some(SERVICES.to_owned());
        assert_eq!(
            resolved("service=app user=u", &environment).unwrap(),
            "host=service port=6000 dbname=variable user=u service=app"
        );
        assert_eq!(
            resolved("service=app user=u host=string", &environment).unwrap(),
            "host=string port=6000 dbname=variable user=u service=app"
        );
    }

    #[test]
    fn a_given_but_empty_option_hides_the_environment() {
        let environment = environment(&[("PGHOST", "variable")]);
        let conninfo = parsed("host=''");
        assert_eq!(resolve(&conninfo, &environment).unwrap().get("host"), None);
    }

    #[test]
    fn the_service_may_come_from_the_environment_and_from_the_system_file() {
        let mut environment = environment(&[("PGSERVICE", "app")]);
        environment.service_file = Some("[other]\nhost=wrong\n".to_owned());
        environment.system_service_file = Some(SERVICES.to_owned());
        assert_eq!(
            resolved("user=u", &environment).unwrap(),
            "host=service port=6000 dbname=u user=u service=app"
        );
    }

    #[test]
    fn what_is_wrong_with_a_service_is_told_with_its_line() {
        let file = ServiceFile::User;
        for (text, expected) in [
            ("[app]\nhost", ResolveError::Syntax { file, line: 2 }),
            ("[app]\n\nhast=a", ResolveError::Syntax { file, line: 3 }),
            ("[app]\nhost =a", ResolveError::Syntax { file, line: 2 }),
            (
                "[app]\nservice=b",
                ResolveError::NestedService { file, line: 2 },
            ),
            ("[app]\nldap://a", ResolveError::Ldap { file, line: 2 }),
            (
                "[ap]\nhost=a\n[app2]",
                ResolveError::ServiceNotFound {
                    service: "app".to_owned(),
                },
            ),
        ] {
            let mut environment = environment(&[]);
            environment.service_file = Some(text.to_owned());
            assert_eq!(resolved("service=app", &environment), Err(expected));
        }
    }

    #[test]
    fn tls_is_required_by_the_old_variable_unless_the_new_one_is_set() {
        let old = environment(&[("PGREQUIRESSL", "1")]);
        assert!(resolved("", &old).unwrap().ends_with("sslmode=require"));
        let both = environment(&[("PGREQUIRESSL", "1"), ("PGSSLMODE", "allow")]);
        assert!(resolved("", &both).unwrap().ends_with("sslmode=allow"));
    }

    #[test]
    fn the_environment_shows_no_password() {
        let mut environment = environment(&[("PGPASSWORD", "hunter2")]);
        environment.service_file = Some("[a]\npassword=hunter2".to_owned());
        assert!(!format!("{environment:?}").contains("hunter2"));
    }
}
