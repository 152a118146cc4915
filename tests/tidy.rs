//! The house rules that a compiler does not know: who may import whom, what `core` may touch, and
//! how long things may be. Reads the source as text; needs no server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const LINE_CHARS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;

/// What is too long, with the length that it may have. Numbers go down, entries go away.
const LONG_FUNCTIONS: [(&str, usize); 0] = [];
const LONG_FILES: [(&str, usize); 0] = [];

/// Types and their readers, which decide nothing about the cluster.
const PLAIN: [&str; 3] = ["config", "conninfo", "generation"];

struct Source {
    /// From the root of the repository.
    path: String,
    text: String,
}

/// All Rust files below a folder, in order; a folder without any is a wrong folder.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending = vec![root.join(folder)];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(directory) = pending.pop() {
        let entries = std::fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("`{}`: {error}", directory.display()));
        for entry in entries {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no Rust file below {folder}/");
    let source = |path: &PathBuf| Source {
        path: path
            .strip_prefix(root)
            .expect("it is below the root")
            .display()
            .to_string(),
        text: std::fs::read_to_string(path).expect("source is text"),
    };
    files.iter().map(source).collect()
}

impl Source {
    /// Without the tests, which stand last in a file or are a file of their own.
    fn product(&self) -> &str {
        if self.path.ends_with("/tests.rs") {
            return "";
        }
        match self.text.find("\n#[cfg(test)]\nmod tests {") {
            Some(end) => &self.text[..=end],
            None => &self.text,
        }
    }

    /// The folder or file directly below `src/`.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let end = below.find('/').unwrap_or(below.len() - ".rs".len());
        &below[..end]
    }

    /// Whatever is imported from this crate: `use crate::{a, b::c}` gives `a` and `b`.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (number, line) in code(self.product()) {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                assert!(
                    !rest.starts_with('{'),
                    "{}:{number}: one `use` for each module, so that this test can read it",
                    self.path
                );
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                found.push((number, rest[..end].to_owned()));
            }
            let supers = line.matches("super::").count();
            let depth = self.path.matches('/').count();
            let own_file = self.path.ends_with("/mod.rs");
            assert!(
                supers < depth || (supers == depth && !own_file) || !line.contains("use "),
                "{}:{number}: `super` leaves the module; write `crate::`",
                self.path
            );
        }
        found
    }
}

/// The lines that are no comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[track_caller]
fn assert_none(findings: &str) {
    assert!(findings.is_empty(), "\n{findings}");
}

#[test]
fn each_module_imports_only_what_is_below_it() {
    let mut findings = String::new();
    let mut modules = Vec::new();
    for source in sources("src") {
        let module = source.module().to_owned();
        let allowed: &[&str] = match module.as_str() {
            "config" | "conninfo" | "generation" => &PLAIN,
            "core" => &["core", "config", "conninfo", "generation"],
            "render" => &["render", "config", "conninfo", "generation"],
            "edge" => &["edge", "core", "config", "conninfo", "generation"],
            "cluster_db" => &[
                "cluster_db",
                "edge",
                "core",
                "config",
                "conninfo",
                "generation",
            ],
            "agent" | "cli" | "main" | "lib" => continue,
            other => panic!("say here what src/{other} may import"),
        };
        for (line, import) in source.imports() {
            if !allowed.contains(&import.as_str()) {
                let path = &source.path;
                writeln!(findings, "{path}:{line}: {module} imports {import}").expect("a String");
            }
        }
        modules.push(module);
    }
    for module in ["config", "core", "render", "edge", "cluster_db"] {
        assert!(modules.iter().any(|found| found == module), "no {module}");
    }
    assert_none(&findings);
}

#[test]
fn decisions_touch_nothing_and_take_the_time_as_an_argument() {
    const FORBIDDEN: [&str; 12] = [
        "tokio",
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "std::os",
        "env!",
        "Instant::now",
        "SystemTime",
        ".elapsed()",
        "tracing::",
    ];
    let mut findings = String::new();
    for source in sources("src/core").iter().chain(&sources("src/render")) {
        for (number, line) in code(source.product()) {
            for word in FORBIDDEN.iter().filter(|word| line.contains(**word)) {
                writeln!(findings, "{}:{number}: {word}", source.path).expect("a String");
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn no_function_is_too_long_to_be_seen_at_once() {
    let mut all = Vec::new();
    for source in sources("src") {
        let functions = functions(source.product()).into_iter();
        all.extend(functions.map(|(name, lines)| (format!("{}: {name}", source.path), lines)));
    }
    assert!(all.len() > 200, "only {} functions were found", all.len());
    assert_short(&all, FUNCTION_LINES_MAX, &LONG_FUNCTIONS);
}

/// Each function with the number of its lines, signature and braces included. Relies on rustfmt:
/// a function ends at the first closing brace that is as far in as its beginning.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = ["pub", "pub(super)", "pub(crate)", "const", "async"];
        let mut rest = code.split(' ').skip_while(|word| words.contains(word));
        if rest.next() != Some("fn") {
            continue;
        }
        let name = rest.next().unwrap_or_default();
        let name = &name[..name.find(['(', '<']).unwrap_or(name.len())];
        let end = format!("{:indent$}}}", "");
        let body = lines[index..].iter().position(|line| **line == end);
        found.push((name.to_owned(), body.map_or(1, |end| end + 1)));
    }
    found
}

#[test]
fn no_file_is_too_long_to_hold_one_idea() {
    let all: Vec<(String, usize)> = sources("src")
        .iter()
        .map(|source| (source.path.clone(), source.product().lines().count()))
        .collect();
    assert_short(&all, FILE_LINES_MAX, &LONG_FILES);
}

/// Nothing exceeds the maximum but what is listed, and what is listed still does.
fn assert_short(all: &[(String, usize)], lines_max: usize, listed: &[(&str, usize)]) {
    let mut findings = String::new();
    for (name, lines) in all.iter().filter(|(_, lines)| *lines > lines_max) {
        let allowed = listed.iter().find(|(listed, _)| listed == name);
        let allowed = allowed.map_or(lines_max, |(_, lines)| *lines);
        if *lines > allowed {
            writeln!(findings, "{name}: {lines} lines, {allowed} are allowed").expect("a String");
        }
    }
    for (name, _) in listed {
        if !all
            .iter()
            .any(|(found, lines)| found == name && *lines > lines_max)
        {
            writeln!(findings, "{name} is not too long: take it off the list").expect("a String");
        }
    }
    assert_none(&findings);
}

#[test]
fn no_line_is_wider_than_the_window() {
    let mut findings = String::new();
    for folder in ["src", "tests", "examples"] {
        for source in sources(folder) {
            for (index, line) in source.text.lines().enumerate() {
                let (number, width) = (index + 1, line.chars().count());
                if width > LINE_CHARS_MAX {
                    writeln!(findings, "{}:{number}: {width}", source.path).expect("a String");
                }
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn nothing_unfinished_is_left_in_the_source() {
    // In two parts, so that this file does not find itself.
    let words = [
        ("todo", "!("),
        ("dbg", "!("),
        ("unimplemented", "!("),
        ("FIX", "ME"),
        ("XX", "X"),
        ("#[ign", "ore"),
        ("#[al", "low("),
    ]
    .map(|(one, two)| [one, two].concat());
    let mut findings = String::new();
    for folder in ["src", "tests", "examples"] {
        for source in sources(folder) {
            for (index, line) in source.text.lines().enumerate() {
                for word in words.iter().filter(|word| line.contains(word.as_str())) {
                    let path = &source.path;
                    writeln!(findings, "{path}:{}: {word}", index + 1).expect("a String");
                }
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn each_dependency_says_what_it_is_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = std::fs::read_to_string(path).expect("a manifest");
    let (mut section, mut before, mut count) = ("", "", 0);
    let mut findings = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && !line.is_empty() && !line.starts_with('#') {
            count += 1;
            if !before.starts_with("# ") {
                writeln!(findings, "{section}: {line}").expect("a String");
            }
        }
        before = line;
    }
    assert!(count > 10, "only {count} dependencies were found");
    assert_none(&findings);
}

/// `docs/repmgr.md` lists them in words; the numbers are those of a list of twenty-one faults of
/// repmgr's BDR mode that were found in its sources and on running servers.
#[test]
fn each_known_fault_of_the_original_has_a_test_named_for_it() {
    const FAULTS: u32 = 21;
    let all: Vec<Source> = ["src", "tests"].into_iter().flat_map(sources).collect();
    let mut findings = String::new();
    for number in 1..=FAULTS {
        let name = format!("\nfn fault_{number}_");
        if !all.iter().any(|source| source.text.contains(&name)) {
            writeln!(findings, "no test is called fault_{number}_…").expect("a String");
        }
    }
    assert_none(&findings);
}

#[test]
fn a_test_waits_for_conditions_and_never_sleeps() {
    let mut findings = String::new();
    for source in sources("tests") {
        for (number, line) in code(&source.text) {
            for word in ["thread::sle", "time::sle"].map(|start| format!("{start}ep")) {
                if line.contains(&word) {
                    writeln!(findings, "{}:{number}: {word}", source.path).expect("a String");
                }
            }
        }
    }
    assert_none(&findings);
}
