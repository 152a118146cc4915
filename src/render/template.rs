//! Tera templates to bytes: what a template may see, and what it may not write.
//!
//! Decides nothing about routing. Reads no file: the operator's template comes in as text. Every
//! value that a template prints goes through one gate that refuses control characters, so that no
//! value can become a line of its own, whatever the template does with it.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera};

use crate::config::{Node, NodeId, PgBouncer, Setting, Template};
use crate::conninfo::server_address::ServerAddress;
use crate::render::ini;

const NAME: &str = "template";
const DATABASES: &str = include_str!("../../templates/databases.ini");
const PGBOUNCER_INI: &str = include_str!("../../templates/pgbouncer.ini");

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template is wrong, or uses what is not there.
    #[error("template of `{pgbouncer}`: {reason}")]
    Template {
        /// The PgBouncer.
        pgbouncer: String,
        /// Tera's words, with line and column.
        reason: String,
    },
    /// A value cannot be written so that PgBouncer reads the same value.
    #[error("entry `{entry}` of `{pgbouncer}`: {reason}")]
    Value {
        /// The PgBouncer.
        pgbouncer: String,
        /// The entry.
        entry: String,
        /// Which value, and why.
        reason: String,
    },
}

/// One entry, as a template sees it.
#[derive(Debug, Serialize)]
struct DatabaseValues {
    name: String,
    host: String,
    port: u16,
    dbname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    options: BTreeMap<String, Setting>,
    node_id: NodeId,
    node_name: String,
    connection: String,
}

#[derive(Debug, Serialize)]
struct NodeValues<'a> {
    node_id: NodeId,
    node_name: &'a str,
}

/// The template of one PgBouncer, compiled.
#[derive(Debug)]
pub struct Renderer {
    pgbouncer: PgBouncer,
    tera: Tera,
}

impl Renderer {
    /// Compiles. `text` is the operator's template, when the configuration names one.
    ///
    /// # Errors
    /// [`RenderError::Template`].
    pub fn new(pgbouncer: &PgBouncer, text: Option<&str>) -> Result<Self, RenderError> {
        let text = match (&pgbouncer.template, text) {
            (Template::Databases, _) => DATABASES,
            (Template::PgBouncerIni, _) => PGBOUNCER_INI,
            (Template::File(_), text) => text.unwrap_or_default(),
        };
        let mut tera = Tera::default();
        // "Escaping" is the gate: it changes nothing, and refuses what could end a line.
        tera.autoescape_on([""]);
        tera.set_escape_fn(refuse_control_characters);
        tera.register_filter("ini", ini_filter);
        let renderer = |tera| Self {
            pgbouncer: pgbouncer.clone(),
            tera,
        };
        match tera.add_raw_template(NAME, text) {
            Ok(()) => Ok(renderer(tera)),
            Err(error) => Err(renderer(Tera::default()).template_error(&error)),
        }
    }

    /// Renders the body of the file, in which each entry points at the node that `at` names.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn render(
        &self,
        active: &Node,
        at: &BTreeMap<String, (&Node, ServerAddress)>,
    ) -> Result<String, RenderError> {
        let mut databases = Vec::new();
        for (name, (node, address)) in at {
            databases.push(self.database(name, node, address)?);
        }
        let mut context = Context::new();
        context.insert("pgbouncer", &self.pgbouncer.name);
        let node = NodeValues {
            node_id: active.node_id,
            node_name: &active.node_name,
        };
        context.insert("node", &node);
        context.insert("databases", &databases);
        context.insert("settings", &self.pgbouncer.settings);
        self.tera
            .render(NAME, &context)
            .map_err(|error| self.template_error(&error))
    }

    fn database(
        &self,
        name: &str,
        node: &Node,
        address: &ServerAddress,
    ) -> Result<DatabaseValues, RenderError> {
        let configured = self.pgbouncer.databases.get(name);
        let user = configured.and_then(|database| database.user.clone());
        let options = configured
            .map(|database| database.options.clone())
            .unwrap_or_default();
        let mut pairs = vec![
            ("host".to_owned(), address.host.clone()),
            ("port".to_owned(), address.port.to_string()),
            ("dbname".to_owned(), address.dbname.clone()),
        ];
        pairs.extend(user.clone().map(|user| ("user".to_owned(), user)));
        pairs.extend(
            options
                .iter()
                .map(|(key, value)| (key.clone(), value.to_string())),
        );
        let mut connection = Vec::new();
        for (key, value) in pairs {
            let quoted = ini::quote(&value).map_err(|error| RenderError::Value {
                pgbouncer: self.pgbouncer.name.clone(),
                entry: name.to_owned(),
                reason: format!("`{key}`: {error}"),
            })?;
            connection.push(format!("{key}={quoted}"));
        }
        Ok(DatabaseValues {
            name: name.to_owned(),
            host: address.host.clone(),
            port: address.port,
            dbname: address.dbname.clone(),
            user,
            options,
            node_id: node.node_id,
            node_name: node.node_name.clone(),
            connection: connection.join(" "),
        })
    }

    fn template_error(&self, error: &tera::Error) -> RenderError {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        RenderError::Template {
            pgbouncer: self.pgbouncer.name.clone(),
            reason,
        }
    }
}

fn refuse_control_characters(value: &str, out: &mut dyn Write) -> std::io::Result<()> {
    if let Some(character) = value.chars().find(|character| character.is_control()) {
        let what = format!(
            "a value holds the control character `{}`; it would not stay one value in the file",
            character.escape_debug()
        );
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    }
    out.write_all(value.as_bytes())
}

fn ini_filter(value: &str, _: Kwargs, _: &State<'_>) -> tera::TeraResult<String> {
    ini::quote(value).map_err(|error| tera::Error::message(error.to_string()))
}
