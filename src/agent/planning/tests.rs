use std::path::Path;

use super::*;
use crate::core::node::Fault;
use crate::core::pooler::{Content, EntryState, FileState, ProcessState};

const DECISION: Decision = Decision {
    generation: Generation {
        number: 7,
        node_id: NodeId(1),
    },
    failed: NodeId(2),
    active: NodeId(1),
    fault: Fault::Crash,
};
const VERSION: Option<Version> = Some(Version(1, 18, 0));

/// Two entries; `lines` are further ones of the PgBouncer.
fn planner(lines: &str) -> Planner {
    let text = format!(
        "node_id = 1\n\
         [[node]]\nnode_id = 1\nnode_name = 'n1'\nconninfo = 'host=10.0.0.1 dbname=d user=u'\n\
         [[node]]\nnode_id = 2\nnode_name = 'n2'\nconninfo = 'host=10.0.0.2 dbname=d user=u'\n\
         [[pgbouncer]]\nname = 'pgb1'\nlocal = true\nconsole = 'host=c user=admin'\nfile = '/f'\n\
         {lines}\n\
         [[pgbouncer.database]]\nname = 'app'\n[[pgbouncer.database]]\nname = 'rep'\n"
    );
    let config = crate::config::file::parse(Path::new("t.toml"), &text).unwrap();
    Planner::new(&config, &config.pgbouncers["pgb1"]).unwrap()
}

/// `app` at node 2, and `rep` at `rep`; the file on the host is `content`.
fn observation(rep: &str, content: Option<&[u8]>) -> Observation {
    let entry = |host: &str| EntryState {
        host: host.to_owned(),
        port: 5432,
        dbname: "d".to_owned(),
        force_user: None,
        paused: false,
        disabled: false,
    };
    let entries = [("app", "10.0.0.2"), ("rep", rep)];
    let process = ProcessState {
        entries: entries
            .map(|(name, host)| (name.to_owned(), entry(host)))
            .into(),
        settings: BTreeMap::new(),
    };
    let header = content.and_then(header::read);
    Observation {
        processes: vec![process],
        file: FileState {
            generation: Generation::NONE,
            active: None,
            hash: content.map_or("absent".to_owned(), header::hash),
            untouched: header.map(|(_, untouched)| untouched),
            content: content.map(|bytes| Content(bytes.into())),
            entries: None,
            operation: None,
        },
    }
}

fn plan(planner: &Planner, observation: &Observation) -> Result<Plan, PlanningError> {
    let moves = BTreeSet::from(["app".to_owned()]);
    planner.plan(&DECISION, &moves, moves.clone(), observation, VERSION)
}

/// The new file, without the line with its generation.
fn body(planner: &Planner, content: &[u8]) -> String {
    let plan = plan(planner, &observation("10.0.0.1", Some(content))).unwrap();
    let (header, untouched) = header::read(&plan.content).unwrap();
    assert_eq!((header.generation, untouched), (DECISION.generation, true));
    String::from_utf8(header::body(&plan.content)).unwrap()
}

fn refusal(planner: &Planner, content: &[u8]) -> String {
    let observation = observation("10.0.0.1", Some(content));
    plan(planner, &observation).unwrap_err().to_string()
}

const APP: &str = "app = host='10.0.0.1' port='5432' dbname='d'\n";
const REP: &str = "rep = host='10.0.0.1' port='5432' dbname='d'\n";

/// As we wrote it, and as somebody edited it then.
fn edited() -> (Vec<u8>, Vec<u8>) {
    let there = format!("[databases]\n{}{REP}", APP.replace("0.1", "0.2"));
    let ours = header::with_header(Generation::NONE, NodeId(2), NodeId(1), there);
    let theirs = [ours.as_slice(), b"; mine\nother = host=x\n"].concat();
    (ours, theirs)
}

#[test]
fn what_becomes_of_a_file_depends_on_template_edits_and_policy() {
    let (ours, theirs) = edited();
    let rendered = format!("[databases]\n{APP}{REP}");
    let merged = format!("{rendered}; mine\nother = host=x\n");
    let foreign =
        format!("; x\n[databases]\n{APP}{REP}").replace("app = host='10.0.0.1'", "app=host=y");
    let foreign = foreign.as_bytes();
    let edit = planner("");
    assert_eq!(body(&edit, &ours), rendered);
    assert_eq!(body(&edit, &theirs), merged);
    let kept = format!("; x\n[databases]\napp=host='10.0.0.1' port='5432' dbname='d'\n{REP}");
    assert_eq!(body(&edit, foreign), kept);

    let template = planner("template = 'databases.ini'");
    assert_eq!(body(&template, &ours), rendered);
    assert_eq!(body(&template, &theirs), merged);
    assert_eq!(body(&template, foreign), rendered);

    let overwrite = planner("template = 'databases.ini'\nedits = 'overwrite'");
    assert_eq!(body(&overwrite, &theirs), rendered);

    let told = "the file of `pgb1` was edited by hand since repoint wrote it, so it is not \
                touched; put it back, or keep the edits with `edits = \"merge\"`";
    for lines in [
        "edits = 'refuse'",
        "edits = 'refuse'\ntemplate = 'databases.ini'",
    ] {
        let refuse = planner(lines);
        assert_eq!(body(&refuse, &ours), rendered);
        assert_eq!(refusal(&refuse, &theirs), told);
    }
    let moves = BTreeSet::from(["app".to_owned()]);
    let observation = observation("10.0.0.1", Some(&theirs));
    let other = edit.plan_under(
        Edits::Refuse,
        &DECISION,
        &moves,
        moves.clone(),
        &observation,
        None,
    );
    assert_eq!(other.unwrap_err().to_string(), told);
}

#[test]
fn without_a_file_it_has_our_entries_and_nothing_else() {
    let plan = plan(&planner(""), &observation("10.0.0.2", None)).unwrap();
    let rep = REP.replace("0.1", "0.2");
    assert_eq!(
        header::body(&plan.content),
        format!("[databases]\n{APP}{rep}").as_bytes()
    );
    assert_eq!(plan.hash_read, "absent");
}

#[test]
fn an_entry_that_points_elsewhere_and_does_not_move_stays_as_it_is() {
    let text = b"[databases]\napp = host=10.0.0.2 dbname=d\nrep = host=elsewhere dbname=d\n";
    let edit = planner("");
    let plan = plan(&edit, &observation("elsewhere", Some(text))).unwrap();
    let after = "[databases]\napp = host='10.0.0.1' dbname=d\nrep = host=elsewhere dbname=d\n";
    assert_eq!(header::body(&plan.content), after.as_bytes());
    assert!(plan.expected.keys().eq(["app"]));
}

#[test]
fn a_file_that_would_not_do_is_refused_with_line_and_cure() {
    assert_eq!(
        refusal(&planner(""), b"[databases]\nnonsense\n"),
        "the file of `pgb1` cannot be edited: line 2: not `key = value`; keys are made of A-Z a-z \
         0-9 _ . - *; correct the line"
    );
    assert_eq!(
        refusal(&planner(""), b"[pgbouncer]\nbogus = 1\n"),
        "the file of `pgb1` would not do with its entries changed: line 2: PgBouncer does not know \
         the setting `bogus`; remove it; a RELOAD would put every setting below it back to its \
         default"
    );
    let there = b"[databases]\nother = host=x\n";
    assert_eq!(
        refusal(&planner("template = 'databases.ini'"), there),
        "the file rendered for `pgb1` would not do: database entry `other` would be lost (the file \
         on the host has it); add it to the template or the configuration, or remove it there and \
         RELOAD"
    );
    let mut cut = observation("10.0.0.1", Some(there));
    cut.file.hash = "of all of it".to_owned();
    let error = plan(&planner(""), &cut).unwrap_err();
    assert!(error.to_string().contains("not read to its end"), "{error}");
}

/// Somebody waits for the RESUME.
#[test]
fn where_nothing_moves_no_file_can_be_in_the_way() {
    let broken = observation("10.0.0.1", Some(b"nonsense"));
    let none = BTreeSet::new();
    let confirm = BTreeSet::from(["rep".to_owned()]);
    let plan = planner("")
        .plan(&DECISION, &none, confirm, &broken, VERSION)
        .unwrap();
    assert_eq!(plan.expected["rep"].host, "10.0.0.1");
    assert!(plan.moves.is_empty() && plan.content.is_empty());
}
