use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::*;
use crate::config::event_names::EVENT_NAMES;

const CONNINFO: &str = "host=127.0.0.11 dbname=bdrtest user=repmgr connect_timeout=2";
const DETAILS: &str = "node \"node2\" (ID: 2) detected as failed; \
                       next available node is \"node1\" (ID: 1)";

#[test]
fn the_documented_command_gets_the_arguments_that_repmgr_gives() {
    let hook = Hook::new();
    let log = hook.directory.path().join("x.log");
    let command = format!(
        "{} %n %e %s \"%c\" \"%a\" >> {} 2>&1",
        hook.argv(),
        log.display()
    );
    hook.run("/bin/sh", &command, &failover());
    let written = std::fs::read_to_string(&log).expect("the command wrote its log");
    assert_eq!(
        written.split_terminator('\0').collect::<Vec<_>>(),
        ["2", "bdr_failover", "1", CONNINFO, "node1"]
    );
}

#[test]
fn quoted_time_details_and_other_node_are_one_argument_each() {
    let found = Hook::new().arguments("\"%t\" \"%d\" \"%p\"", &failover());
    assert_eq!(found, ["2026-11-23 02:28:27.386238+00", DETAILS, ""]);
}

#[test]
fn unquoted_values_are_split_and_empty_ones_vanish_as_under_repmgr() {
    let found = Hook::new().arguments("%t %p %n", &failover());
    assert_eq!(found, ["2026-11-23", "02:28:27.386238+00", "2"]);
    let reconnect = Event {
        conninfo: None,
        node_name: None,
        ..failover()
    };
    let found = Hook::new().arguments("%n %c %a \"%c\" \"%a\" '%a' x%ax", &reconnect);
    assert_eq!(found, ["2", "", "", "", "xx"]);
}

#[test]
fn percent_signs_that_are_no_placeholders_are_kept() {
    let found = Hook::new().arguments("100%% %r %%n '%x' \"%\" %", &failover());
    assert_eq!(found, ["100%", "%r", "%n", "%x", "%", "%"]);
}

#[test]
fn fault_14_every_context_gives_the_value_and_executes_nothing_of_it() {
    let hook = Hook::new();
    for (context, before, after) in [
        ("\"%c\"", "", ""),
        ("'%c'", "", ""),
        ("x'y %c z'\"w\"", "xy ", " zw"),
        ("\"it's %c\"", "it's ", ""),
        ("'\"%c\"'", "\"", "\""),
        ("\"\\\"%c\\\"\"", "\"", "\""),
        ("\"\\%c\"", "\\", ""),
        ("'\\%c'", "\\", ""),
        ("\"$(printf %%s \"%c\")\"", "", ""),
        ("\"$(printf %%s '%c')\"", "", ""),
        ("\"$( (printf %%s \"%c\") )\"", "", ""),
        ("\"$(printf %%s \"$(printf %%s '%c')\")\"", "", ""),
        ("\"`printf %%s \"%c\"`\"", "", ""),
        ("\"`printf %%s \\\"%c\\\"`\"", "", ""),
        ("\"`printf %%s '%c'`\"", "", ""),
        ("\"${unset:-%c}\"", "", ""),
        ("\"${unset:-'%c'}\"", "'", "'"),
        ("${unset:-\"%c\"}", "", ""),
        ("${unset:-'%c'}", "", ""),
        ("\"a $((1 + 1))# %c\"", "a 2# ", ""),
        ("\"%c\" # don't \"%d", "", ""),
    ] {
        for value in hostile() {
            let event = Event {
                conninfo: Some(value.clone()),
                ..failover()
            };
            // A substitution drops the line breaks at the end of what it substitutes.
            let substitutes = context.contains("$( ") || context.contains("printf");
            let kept = if substitutes {
                value.trim_end_matches('\n')
            } else {
                &value
            };
            let expected = format!("{before}{kept}{after}");
            assert_eq!(
                hook.arguments(context, &event),
                [expected],
                "{context} {value:?}"
            );
            hook.assert_nothing_else_was_made(context);
        }
    }
}

#[test]
fn unquoted_and_strange_contexts_execute_nothing_either() {
    let hook = Hook::new();
    for context in [
        "%c",
        "\\%c",
        "$(printf %%s %c)",
        "`printf %%s %c`",
        "`printf %%s \\\\%c`",
        "$%c",
        "${%c}",
        "\"$(case x in x) echo \"%c\";; esac)\"",
        "\"%c",
        "'%c",
        "$'it\\'s %c'",
        "`%c",
        "$(%c",
        "`echo \\`echo '%c'\\``",
        "a#%c",
        "# %c\n: %c",
        "%c%c'%c'\"%c\"",
        "${x#'%c'}",
        "\"${x%%'%c'}\"",
    ] {
        for value in hostile() {
            let event = Event {
                conninfo: Some(value),
                ..failover()
            };
            for shell in SHELLS {
                let command = format!("{} {context}", hook.argv());
                hook.run(shell, &command, &event);
                hook.assert_nothing_else_was_made(&format!("{shell}: {context} {event:?}"));
            }
        }
    }
}

/// Harmless values, pasted into the command as repmgr does, are what the arguments must be equal
/// to; of hostile ones nothing may be executed, wherever they stand.
#[test]
fn random_commands_get_what_repmgr_gives_and_execute_nothing() {
    const SEED: u64 = 4711;
    let hook = Hook::new();
    let mut random = Random(SEED);
    let mut compared = 0;
    for _ in 0..2000 {
        let text: String = (0..random.below(12))
            .map(|_| random.pick(&PIECES))
            .collect();
        let command = format!("{} {text}", hook.argv());
        let harmless = Event {
            conninfo: Some("v1".into()),
            ..failover()
        };
        if hook_script(&command, &harmless).is_err() {
            continue;
        }
        let pasted = command
            .replace("%%", "\u{1}")
            .replace("%c", "v1")
            .replace("%n", "2");
        let pasted = hook.shell("/bin/sh", &pasted.replace('\u{1}', "%"));
        // What is no command at all need not be the same.
        if !pasted.status.success() {
            continue;
        }
        compared += 1;
        let found = hook.run("/bin/sh", &command, &harmless);
        assert_eq!(found.as_bytes(), pasted.stdout, "seed {SEED}: {text:?}");
        // As a command of its own, a value would be executed under any rule: these name none.
        for value in [
            "'$(touch made)",
            "\"$(touch made)",
            "`touch made`",
            "';touch made;\";",
        ] {
            let event = Event {
                conninfo: Some(value.into()),
                ..failover()
            };
            hook.run("/bin/sh", &command, &event);
        }
        hook.assert_nothing_else_was_made(&format!("seed {SEED}: {text:?}"));
    }
    assert!(
        compared > 100,
        "only {compared} of the commands could be compared"
    );
}

#[test]
fn escapes_and_comments_are_told_from_quotes() {
    for (command, expected) in [
        ("\\\"%n\\\" \\'%n\\'", vec!["\"2\"", "'2'"]),
        ("\\%n \\%%n", vec!["2", "%n"]),
        ("a#b'%n' # it's %n", vec!["a#b2"]),
        ("$(( (%n + 1) * 2 ))", vec!["6"]),
        ("$(#it's\nprintf %%s '%n')", vec!["2"]),
        ("\"$(printf %%s ')' '%n')\"", vec![")2"]),
        ("`printf %%s \\`printf %%s '%n'\\``", vec!["2"]),
        ("\"${unset:-a}%n\" '%n'", vec!["a2", "2"]),
        ("${unset:-$(printf %%s '%n')}", vec!["2"]),
    ] {
        assert_eq!(
            Hook::new().arguments(command, &failover()),
            expected,
            "{command}"
        );
    }
}

#[test]
fn the_script_assigns_what_is_used_and_nothing_else() {
    let event = Event {
        node_name: Some("it's".into()),
        ..failover()
    };
    let script = hook_script("notify %n '%a' # %c", &event).expect("a script");
    let expected = "repoint_a='it'\\''s'\nrepoint_n='2'\n\
                    notify ${repoint_n} ''\"${repoint_a}\"'' # %c";
    assert_eq!(script, expected);
    assert_eq!(hook_script("true", &event).as_deref(), Ok("true"));
}

#[test]
fn the_variables_are_not_in_the_environment_of_the_command() {
    let hook = Hook::new();
    let out = hook.run("/bin/sh", "env; : \"%c\"", &failover());
    assert!(!out.contains("repoint_c"), "{out}");
}

#[test]
fn what_cannot_be_passed_is_refused() {
    let event = Event {
        conninfo: Some("a\0b".into()),
        ..failover()
    };
    for (command, expected) in [
        ("notify %c", HookError::NulInValue { letter: 'c' }),
        ("notify \0", HookError::NulInCommand),
        ("cat <<x\n%n\nx", HookError::HereDocument { letter: 'n' }),
        ("echo $((%d))", HookError::Arithmetic { letter: 'd' }),
        (
            "echo $(($(echo %a)))",
            HookError::Arithmetic { letter: 'a' },
        ),
    ] {
        assert_eq!(hook_script(command, &event), Err(expected), "{command:?}");
    }
    assert!(
        hook_script("notify %n", &event).is_ok(),
        "a value that is not used does no harm"
    );
    assert!(hook_script("echo $((1<<%n)) '<<' %n", &event).is_ok());
}

#[test]
fn an_empty_filter_wants_every_event_and_another_one_only_its_own() {
    assert!(EventKind::ALL.into_iter().all(|kind| wanted(&[], kind)));
    let filter = ["bdr_failover".to_owned(), "standby_promote".to_owned()];
    assert!(wanted(&filter, EventKind::BdrFailover));
    assert!(!wanted(&filter, EventKind::BdrRecovery));
}

#[test]
fn every_kind_can_be_named_in_a_filter() {
    for kind in EventKind::ALL {
        assert!(EVENT_NAMES.contains(&kind.as_str()), "{kind}");
    }
}

/// What `/bin/sh` is on common systems; one that is not installed is left out.
const SHELLS: [&str; 2] = ["/bin/sh", "/bin/bash"];

/// What random commands are made of.
const PIECES: [&str; 24] = [
    "'",
    "\"",
    "\\",
    "$(printf %%s ",
    ")",
    "${u:-",
    "}",
    "`printf %%s ",
    "`",
    "%c",
    "%c",
    "%c",
    "%n",
    " ",
    "x",
    "#",
    ";:",
    "\n",
    "$((1+",
    "))",
    "(",
    "${v%%",
    "\\\"",
    "\\`",
];

/// A linear congruential generator, the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn pick<'p>(&mut self, pieces: &[&'p str]) -> &'p str {
        pieces[self.below(pieces.len())]
    }
}

fn failover() -> Event {
    Event {
        kind: EventKind::BdrFailover,
        node_id: NodeId(2),
        successful: true,
        timestamp: "2026-11-23 02:28:27.386238+00".into(),
        details: DETAILS.into(),
        conninfo: Some(CONNINFO.into()),
        node_name: Some("node1".into()),
        other_id: None,
    }
}

/// Values that would each make a file `made` if any of it were executed.
fn hostile() -> Vec<String> {
    let mut values: Vec<String> = [
        CONNINFO,
        "'",
        "\"",
        "it's",
        "a\"b",
        "'; touch made; '",
        "\"; touch made; \"",
        "'\"'; touch made; '\"'",
        "$(touch made)",
        "`touch made`",
        "; touch made",
        "& touch made #",
        "| touch made",
        "\ntouch made\n",
        ") touch made (",
        "} touch made {",
        "a\nb\n\nc",
        "*",
        "?",
        "~",
        "\\",
        "\\\\",
        "\\'; touch made",
        "\\n",
        "%n %c %% %",
        "${repoint_n}",
        "$HOME $$ $0",
        "a b  c",
        "\t",
        "-n",
        "> made",
        "#",
        "!!",
        "\u{e9}\u{1f600}",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    values.push("'\"$(touch made) ".repeat(600));
    values
}

/// A directory in which commands run, with a script that prints its arguments.
struct Hook {
    directory: tempfile::TempDir,
}

impl Hook {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = "printf '%s\\0' \"$@\"\n";
        std::fs::write(directory.path().join("argv.sh"), script).expect("a script");
        Self { directory }
    }

    fn argv(&self) -> String {
        format!("/bin/sh {}/argv.sh", self.directory.path().display())
    }

    /// The arguments of a command that ends in `text`, the same in each shell.
    fn arguments(&self, text: &str, event: &Event) -> Vec<String> {
        let command = format!("{} {text}", self.argv());
        let found = SHELLS
            .iter()
            .filter(|shell| Path::new(shell).exists())
            .map(|shell| {
                let out = self.run(shell, &command, event);
                out.split_terminator('\0')
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            });
        let found: Vec<_> = found.collect();
        assert!(
            found.windows(2).all(|pair| pair[0] == pair[1]),
            "{text}: {found:?}"
        );
        found.into_iter().next().expect("there is a /bin/sh")
    }

    fn run(&self, shell: &str, command: &str, event: &Event) -> String {
        let script = hook_script(command, event).expect("a script");
        if !Path::new(shell).exists() {
            return String::new();
        }
        String::from_utf8(self.shell(shell, &script).stdout).expect("values are UTF-8")
    }

    fn shell(&self, shell: &str, script: &str) -> Output {
        Command::new(shell)
            .args(["-c", script])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .expect("the shell runs")
    }

    fn assert_nothing_else_was_made(&self, why: &str) {
        let made = std::fs::read_dir(&self.directory).expect("the directory");
        let made: Vec<_> = made
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(made, ["argv.sh"], "{why}");
    }
}

/// `%n` is the failed node in one event and the reporting one in another.
#[test]
fn fault_18_the_environment_says_who_is_who() {
    let roles = Roles {
        failed: Some(NodeId(2)),
        next: Some(NodeId(1)),
        reporter: Some(NodeId(1)),
        generation: Some(Generation {
            number: 7,
            node_id: NodeId(1),
        }),
    };
    let says = |roles: &Roles| {
        let show = "echo \"$REPOINT_FAILED_ID,$REPOINT_NEXT_ID,$REPOINT_REPORTER_ID,\
                    $REPOINT_GENERATION\"";
        let script = format!("set -u\n{}{show}", roles.exports());
        let mut shell = Command::new("/bin/sh");
        let output = shell.args(["-c", &script]).output().expect("a shell");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(says(&roles), "2,1,1,7.1\n");
    assert_eq!(says(&Roles::default()), ",,,\n");
}
