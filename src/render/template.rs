//! The body of a managed file: rendered from a Tera template, or the present one, edited.
//!
//! Decides what a template may see and what it may not write; nothing about routing. Reads no file:
//! the operator's template comes in as text. Every value that a template prints goes through one
//! gate that refuses control characters, so that no value can become a line of its own, whatever
//! the template does with it.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera};

use crate::config::{Node, NodeId, PgBouncer, Setting, Template};
use crate::conninfo::server_address::ServerAddress;
use crate::render::ini::{self, EditError, QuoteError};

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
    /// The file on the host cannot be read.
    #[error("the file of `{pgbouncer}` cannot be edited: {reason}")]
    Edit {
        /// The PgBouncer.
        pgbouncer: String,
        /// The line, why, and what to do.
        reason: String,
    },
}

/// Each entry, with the node that it points at and its address there.
pub type Entries<'a> = BTreeMap<String, (&'a Node, ServerAddress)>;

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

/// The template of one PgBouncer, compiled, if it has one.
#[derive(Debug)]
pub struct Renderer {
    pgbouncer: PgBouncer,
    tera: Option<Tera>,
}

impl Renderer {
    /// Compiles. `text` is the operator's template, when the configuration names one.
    ///
    /// # Errors
    /// [`RenderError::Template`].
    pub fn new(pgbouncer: &PgBouncer, text: Option<&str>) -> Result<Self, RenderError> {
        let text = match (&pgbouncer.template, text) {
            (Template::Edit, _) => None,
            (Template::Databases, _) => Some(DATABASES),
            (Template::PgBouncerIni, _) => Some(PGBOUNCER_INI),
            (Template::File(_), text) => Some(text.unwrap_or_default()),
        };
        let mut renderer = Self {
            pgbouncer: pgbouncer.clone(),
            tera: None,
        };
        let Some(text) = text else {
            return Ok(renderer);
        };
        let mut tera = Tera::default();
        // "Escaping" is the gate: it changes nothing, and refuses what could end a line.
        tera.autoescape_on([""]);
        tera.set_escape_fn(refuse_control_characters);
        tera.register_filter("ini", ini_filter);
        tera.add_raw_template(NAME, text)
            .map_err(|error| renderer.template_error(&error))?;
        renderer.tera = Some(tera);
        Ok(renderer)
    }

    /// Whether there is a template, so that the whole file is ours.
    #[must_use]
    pub fn has_template(&self) -> bool {
        self.tera.is_some()
    }

    /// Gives the body of the file, made of nothing but the entries; each points at the node that
    /// `at` names.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn render(&self, active: &Node, at: &Entries<'_>) -> Result<Vec<u8>, RenderError> {
        let Some(tera) = &self.tera else {
            return self.edit(&[], at);
        };
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
        let rendered = tera.render(NAME, &context);
        rendered
            .map(String::into_bytes)
            .map_err(|error| self.template_error(&error))
    }

    /// Gives `present` with the entries in it as they are to be, and nothing else changed.
    ///
    /// # Errors
    /// [`RenderError::Edit`] and [`RenderError::Value`].
    pub fn edit(&self, present: &[u8], at: &Entries<'_>) -> Result<Vec<u8>, RenderError> {
        let wanted = at.iter();
        let wanted = wanted.map(|(name, (_, address))| (name.clone(), self.pairs(name, address)));
        ini::edit(present, &wanted.collect()).map_err(|error| match error {
            EditError::Value { entry, key, reason } => self.value_error(&entry, &key, &reason),
            EditError::Line { .. } => RenderError::Edit {
                pgbouncer: self.pgbouncer.name.clone(),
                reason: error.to_string(),
            },
        })
    }

    /// All that is in an entry of ours, in the order in which it is written.
    fn pairs(&self, name: &str, address: &ServerAddress) -> Vec<(String, String)> {
        let mut pairs = vec![
            ("host".to_owned(), address.host.clone()),
            ("port".to_owned(), address.port.to_string()),
            ("dbname".to_owned(), address.dbname.clone()),
        ];
        if let Some(configured) = self.pgbouncer.databases.get(name) {
            let user = configured.user.iter();
            pairs.extend(user.map(|user| ("user".to_owned(), user.clone())));
            let options = configured.options.iter();
            pairs.extend(options.map(|(key, value)| (key.clone(), value.to_string())));
        }
        pairs
    }

    fn database(
        &self,
        name: &str,
        node: &Node,
        address: &ServerAddress,
    ) -> Result<DatabaseValues, RenderError> {
        let configured = self.pgbouncer.databases.get(name);
        let mut connection = Vec::new();
        for (key, value) in self.pairs(name, address) {
            let quoted =
                ini::quote(&value).map_err(|error| self.value_error(name, &key, &error))?;
            connection.push(format!("{key}={quoted}"));
        }
        Ok(DatabaseValues {
            name: name.to_owned(),
            host: address.host.clone(),
            port: address.port,
            dbname: address.dbname.clone(),
            user: configured.and_then(|database| database.user.clone()),
            options: configured
                .map(|database| database.options.clone())
                .unwrap_or_default(),
            node_id: node.node_id,
            node_name: node.node_name.clone(),
            connection: connection.join(" "),
        })
    }

    fn value_error(&self, entry: &str, key: &str, reason: &QuoteError) -> RenderError {
        RenderError::Value {
            pgbouncer: self.pgbouncer.name.clone(),
            entry: entry.to_owned(),
            reason: format!("`{key}`: {reason}"),
        }
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
