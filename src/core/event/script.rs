//! The text for `/bin/sh -c` that gives the operator's command the values of an event.
//!
//! Values never become part of the shell's program. The script first assigns each value that is
//! used, in single quotes, to a variable that is not exported; then comes the operator's command
//! with each placeholder replaced by a reference to its variable. What a reference expands to is
//! not parsed again, so whatever it stands in, a value stays data.
//!
//! [`Scanner`] finds out which quotes a placeholder stands in, because a reference inside single
//! quotes must step out of them. Should it be mistaken about a strange command, the text that the
//! hook gets is wrong, but still nothing of a value is executed.
//!
//! A shell that the command starts itself is out of reach: in `sh -c "notify '%a'"` or `ssh host
//! "notify %a"` the inner shell parses the value. Write `sh -c 'notify "$1"' sh "%a"` instead.

use std::collections::BTreeMap;

use super::Event;

/// Why no script can be made for a command and an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// No argument of a process can hold it.
    #[error("the value of `%{letter}` holds a NUL byte")]
    NulInValue {
        /// The letter of the placeholder.
        letter: char,
    },
    /// No argument of a process can hold it.
    #[error("the notification command holds a NUL byte")]
    NulInCommand,
    /// Its text would be taken literally or not at all, depending on the document's quotes.
    #[error("`%{letter}` stands after `<<`: a here-document cannot hold placeholders")]
    HereDocument {
        /// The letter of the placeholder.
        letter: char,
    },
    /// Shells that are used as `sh` evaluate a text there, so it would not stay data.
    #[error("`%{letter}` stands in `$((…))`, where only `%n`, `%s` and `%p` may")]
    Arithmetic {
        /// The letter of the placeholder.
        letter: char,
    },
}

/// The script for `/bin/sh -c` that runs `command` with the values of `event`.
///
/// `%%` is a percent sign; what is no placeholder is kept as it is. An unquoted reference is split
/// into words and vanishes when it is empty, as the same text would under repmgr.
///
/// # Errors
/// When a value cannot be passed to a command at all, see [`HookError`].
pub fn hook_script(command: &str, event: &Event) -> Result<String, HookError> {
    if command.contains('\0') {
        return Err(HookError::NulInCommand);
    }
    let mut scanner = Scanner::new(command, event);
    while scanner.step()? {}
    let mut script = String::new();
    for (letter, value) in &scanner.used {
        if value.contains('\0') {
            return Err(HookError::NulInValue { letter: *letter });
        }
        let value = value.replace('\'', r"'\''");
        script.push_str(&format!("repoint_{letter}='{value}'\n"));
    }
    script.push_str(&scanner.script);
    Ok(script)
}

/// What the shell would be reading; each is ended by its own character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// Commands, up to the `)` that balances, or at the outermost level to the end.
    Commands { parentheses: u32 },
    /// Commands between backticks, which stand in double quotes or do not.
    Backticks { in_double: bool },
    /// `'…'`
    Single,
    /// `"…"`
    Double,
    /// `${…}`; in double quotes single quotes are literal, unless it holds a pattern.
    Parameter {
        single_quotes: bool,
        in_double: bool,
    },
    /// `$((…))`
    Arithmetic { parentheses: u32 },
}

/// Copies the command from left to right and keeps track of where it is.
struct Scanner<'c> {
    rest: &'c str,
    event: &'c Event,
    script: String,
    used: BTreeMap<char, String>,
    /// Never empty: the outermost level is [`Context::Commands`].
    contexts: Vec<Context>,
    at_word_start: bool,
    after_here_document: bool,
}

impl<'c> Scanner<'c> {
    fn new(command: &'c str, event: &'c Event) -> Self {
        Self {
            rest: command,
            event,
            script: String::new(),
            used: BTreeMap::new(),
            contexts: vec![Context::Commands { parentheses: 0 }],
            at_word_start: true,
            after_here_document: false,
        }
    }

    /// Copies one character or what belongs together; `false` at the end.
    fn step(&mut self) -> Result<bool, HookError> {
        let Some(c) = self.rest.chars().next() else {
            return Ok(false);
        };
        let at_word_start = std::mem::replace(&mut self.at_word_start, false);
        match c {
            '%' => self.percent()?,
            '\\' if self.context() != Context::Single || self.in_backticks() => self.backslash()?,
            '`' if self.context() != Context::Single || self.in_backticks() => self.backtick(),
            '#' if at_word_start && self.in_commands() => self.comment(),
            _ => self.character(c),
        }
        Ok(true)
    }

    fn context(&self) -> Context {
        *self
            .contexts
            .last()
            .expect("the outermost context is never popped")
    }

    fn in_commands(&self) -> bool {
        matches!(
            self.context(),
            Context::Commands { .. } | Context::Backticks { .. }
        )
    }

    fn in_backticks(&self) -> bool {
        self.contexts
            .iter()
            .any(|context| matches!(context, Context::Backticks { .. }))
    }

    fn in_double(&self) -> bool {
        match self.context() {
            Context::Double
            | Context::Parameter {
                in_double: true, ..
            } => true,
            Context::Commands { .. }
            | Context::Backticks { .. }
            | Context::Single
            | Context::Parameter { .. }
            | Context::Arithmetic { .. } => false,
        }
    }

    fn copy(&mut self, bytes: usize) {
        let (text, rest) = self.rest.split_at(bytes);
        self.script.push_str(text);
        self.rest = rest;
    }

    /// `%%`, a placeholder, or a percent sign that means nothing.
    fn percent(&mut self) -> Result<(), HookError> {
        let Some(letter) = self.rest[1..].chars().next() else {
            self.copy(1);
            return Ok(());
        };
        if letter == '%' {
            self.script.push('%');
        } else if let Some(value) = self.event.value(letter) {
            self.reference(letter, value)?;
        } else {
            self.copy(1);
            return Ok(());
        }
        self.rest = &self.rest[2..];
        Ok(())
    }

    fn reference(&mut self, letter: char, value: String) -> Result<(), HookError> {
        if self.after_here_document {
            return Err(HookError::HereDocument { letter });
        }
        let arithmetic = |context: &Context| matches!(context, Context::Arithmetic { .. });
        let is_number = matches!(letter, 'n' | 's' | 'p');
        if self.contexts.iter().any(arithmetic) && !is_number {
            return Err(HookError::Arithmetic { letter });
        }
        self.used.insert(letter, value);
        let reference = match self.context() {
            Context::Single => format!("'\"${{repoint_{letter}}}\"'"),
            Context::Commands { .. }
            | Context::Backticks { .. }
            | Context::Double
            | Context::Parameter { .. }
            | Context::Arithmetic { .. } => format!("${{repoint_{letter}}}"),
        };
        self.script.push_str(&reference);
        Ok(())
    }

    /// A backslash with what it protects. Before a placeholder it would protect the `$` of the
    /// reference; there it is dropped, or doubled in double quotes, where it stands for itself.
    fn backslash(&mut self) -> Result<(), HookError> {
        let mut following = self.rest[1..].chars();
        match (following.next(), following.next()) {
            (Some('%'), Some('%')) => self.copy(1),
            (Some('%'), Some(letter)) if self.event.value(letter).is_some() => {
                if self.context() == Context::Single {
                    self.copy(1);
                } else {
                    self.rest = &self.rest[1..];
                    if self.in_double() && !self.in_backticks() {
                        self.script.push_str(r"\\");
                    }
                }
            }
            (Some(next), _) if self.in_backticks() => self.backslash_in_backticks(next),
            (Some(next), _) => self.copy(1 + next.len_utf8()),
            (None, _) => self.copy(1),
        }
        Ok(())
    }

    /// Between backticks the shell first removes the backslash before some characters, and only
    /// then looks at what the remaining text means.
    fn backslash_in_backticks(&mut self, next: char) {
        let in_double = self
            .contexts
            .iter()
            .rev()
            .find_map(|context| match context {
                Context::Backticks { in_double } => Some(*in_double),
                Context::Commands { .. }
                | Context::Single
                | Context::Double
                | Context::Parameter { .. }
                | Context::Arithmetic { .. } => None,
            });
        let is_quote = next == '"' && in_double == Some(true);
        self.copy(1);
        if next == '\\' {
            self.copy(1);
            let protected = self.rest.chars().next().filter(|c| *c != '%' && *c != '`');
            if self.context() != Context::Single {
                self.copy(protected.map_or(0, char::len_utf8));
            }
        } else if is_quote {
            self.character('"');
        } else if self.context() == Context::Single {
            self.character(next);
        } else {
            self.copy(next.len_utf8());
        }
    }

    /// An opening backtick, or the closing one, which ends everything that began after the first.
    fn backtick(&mut self) {
        let opened = self
            .contexts
            .iter()
            .rposition(|context| matches!(context, Context::Backticks { .. }));
        match opened {
            Some(index) => self.contexts.truncate(index),
            None => {
                self.contexts.push(Context::Backticks {
                    in_double: self.in_double(),
                });
                self.at_word_start = true;
            }
        }
        self.copy(1);
    }

    /// A comment is copied as it is: nothing in it means anything.
    fn comment(&mut self) {
        let in_backticks = self.in_backticks();
        let mut escaped = false;
        let end = self.rest.find(|c| {
            let ends = c == '\n' || (c == '`' && in_backticks && !escaped);
            escaped = c == '\\' && !escaped;
            ends
        });
        self.copy(end.unwrap_or(self.rest.len()));
    }

    fn character(&mut self, c: char) {
        match self.context() {
            Context::Single => self.in_single(c),
            Context::Double => match c {
                '"' => self.close(1),
                '$' => self.dollar(),
                _ => self.copy(c.len_utf8()),
            },
            Context::Parameter {
                single_quotes,
                in_double: _,
            } => match c {
                '}' => self.close(1),
                '\'' if single_quotes => self.open(Context::Single, 1),
                '"' => self.open(Context::Double, 1),
                '$' => self.dollar(),
                _ => self.copy(c.len_utf8()),
            },
            Context::Arithmetic { parentheses } => self.in_arithmetic(c, parentheses),
            Context::Commands { parentheses } => self.in_command(c, Some(parentheses)),
            Context::Backticks { .. } => self.in_command(c, None),
        }
    }

    fn in_single(&mut self, c: char) {
        if c == '\'' {
            self.close(1);
        } else {
            self.copy(c.len_utf8());
        }
    }

    fn in_arithmetic(&mut self, c: char, parentheses: u32) {
        match c {
            ')' if parentheses == 0 => self.close(if self.rest.starts_with("))") { 2 } else { 1 }),
            ')' => self.replace(Context::Arithmetic {
                parentheses: parentheses - 1,
            }),
            '(' => self.replace(Context::Arithmetic {
                parentheses: parentheses + 1,
            }),
            '$' => self.dollar(),
            _ => self.copy(c.len_utf8()),
        }
    }

    /// `parentheses`: how many are open, where they are counted.
    fn in_command(&mut self, c: char, parentheses: Option<u32>) {
        match (c, parentheses) {
            ('\'', _) => self.open(Context::Single, 1),
            ('"', _) => self.open(Context::Double, 1),
            ('$', _) => self.dollar(),
            (')', Some(0)) => self.close(1),
            (')', Some(open)) => {
                self.replace(Context::Commands {
                    parentheses: open - 1,
                });
                self.at_word_start = true;
            }
            ('(', Some(open)) => {
                self.replace(Context::Commands {
                    parentheses: open + 1,
                });
                self.at_word_start = true;
            }
            _ => {
                self.after_here_document |= self.rest.starts_with("<<");
                self.copy(c.len_utf8());
                self.at_word_start = c.is_ascii_whitespace() || ";&|()<>".contains(c);
            }
        }
    }

    fn dollar(&mut self) {
        let in_double = self.in_double();
        if self.rest.starts_with("$((") {
            self.open(Context::Arithmetic { parentheses: 0 }, 3);
        } else if self.rest.starts_with("$(") {
            self.open(Context::Commands { parentheses: 0 }, 2);
            self.at_word_start = true;
        } else if let Some(parameter) = self.rest.strip_prefix("${") {
            let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let pattern = parameter.trim_start_matches(name).starts_with(['#', '%']);
            let single_quotes = pattern || !in_double;
            self.open(
                Context::Parameter {
                    single_quotes,
                    in_double,
                },
                2,
            );
        } else {
            self.copy(1);
        }
    }

    fn open(&mut self, context: Context, bytes: usize) {
        self.contexts.push(context);
        self.copy(bytes);
    }

    /// Ends the innermost context; a `)` too many at the outermost level is the shell's to refuse.
    fn close(&mut self, bytes: usize) {
        if self.contexts.len() > 1 {
            self.contexts.pop();
        }
        self.copy(bytes);
    }

    fn replace(&mut self, context: Context) {
        *self
            .contexts
            .last_mut()
            .expect("the outermost context is never popped") = context;
        self.copy(1);
    }
}
