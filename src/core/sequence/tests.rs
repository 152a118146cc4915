use super::*;
use crate::config::NodeId;
use crate::conninfo::server_address::ServerAddress;
use crate::core::node::Fault;
use crate::core::plan::Decision;
use crate::generation::Generation;

fn plan() -> Plan {
    let address = ServerAddress {
        host: "10.0.0.11".to_owned(),
        port: 5432,
        dbname: "bdrtest".to_owned(),
    };
    let moves = BTreeMap::from([("app".to_owned(), address)]);
    Plan {
        token: "1-77-1-0".to_owned(),
        decision: Decision {
            generation: Generation::NONE.next(NodeId(1)),
            failed: NodeId(2),
            active: NodeId(1),
            fault: Fault::Crash,
        },
        confirm: moves.keys().cloned().collect(),
        expected: moves.clone(),
        moves,
        previous: BTreeMap::new(),
        content: Vec::new(),
        hash: "new".to_owned(),
        hash_read: "old".to_owned(),
        inherited: None,
        also_resume: BTreeSet::new(),
        pause: true,
    }
}

/// Plays a plan: each step gives what `script` says of its name, or is done. Gives the names of
/// the steps, and what became of it.
fn play(plan: Plan, script: &[(&str, StepResult)]) -> (String, Outcome, Option<Owed>) {
    let mut now = Instant::now();
    let mut sequence = Sequence::new(plan, now);
    let mut names: Vec<String> = Vec::new();
    for _ in 0..10_000 {
        match sequence.next(now) {
            Next::Do(step) => {
                let text = format!("{step:?}");
                let name = text.split(' ').next().unwrap_or_default().to_owned();
                let told = script
                    .iter()
                    .find(|(of, _)| *of == name)
                    .map(|(_, r)| r.clone());
                let hastened = StepResult::Hastened {
                    before: "15".to_owned(),
                };
                let usual = match name.as_str() {
                    "Hasten" => hastened,
                    _ => StepResult::Done(String::new()),
                };
                sequence.handle(told.unwrap_or(usual), now);
                if names.last() != Some(&name) {
                    names.push(name);
                }
                now += Duration::from_millis(1);
            }
            Next::Wait(until) => now = until,
            Next::End => {
                let (outcome, owed) = sequence.finish(now);
                return (names.join(" "), outcome, owed);
            }
        }
    }
    panic!("it does not end: {names:?}");
}

fn failed(why: &str) -> StepResult {
    StepResult::Failed(why.to_owned())
}

#[test]
fn all_goes_well_and_server_login_retry_is_owed_for_its_old_length_after_reload() {
    let begun = Instant::now();
    let (steps, outcome, owed) = play(plan(), &[]);
    assert_eq!(
        steps,
        "Stage Pause Activate Reload ReadBack Hasten Resume Confirm RecordDebt"
    );
    assert!(outcome.serves());
    let owed = owed.unwrap();
    assert_eq!(owed.value, "15");
    assert!(owed.due >= begun + Duration::from_secs(16));
}

#[test]
fn without_pause_nothing_is_resumed() {
    let without = Plan {
        pause: false,
        ..plan()
    };
    let (steps, ..) = play(without, &[]);
    assert_eq!(
        steps,
        "Stage Activate Reload ReadBack Hasten Confirm RecordDebt"
    );
}

#[test]
fn what_cannot_be_staged_is_not_begun() {
    let (steps, outcome, owed) = play(plan(), &[("Stage", failed("disk full"))]);
    assert_eq!(steps, "Stage Settle");
    assert_eq!(outcome.to_string(), "failed, nothing changed: disk full");
    assert_eq!(owed, None);
}

#[test]
fn a_pause_that_fails_may_hold_all_the_same_and_is_resumed() {
    let (steps, outcome, _) = play(plan(), &[("Pause", failed("no login"))]);
    assert!(steps.contains("Resume"), "{steps}");
    assert!(outcome.serves());
    assert_eq!(outcome.warnings, ["no login"]);
}

#[test]
fn a_newer_decision_on_the_host_ends_it_with_its_pause_resumed() {
    let newer = StepResult::Superseded("generation 9.2".to_owned());
    let (steps, outcome, _) = play(plan(), &[("Activate", newer)]);
    assert_eq!(steps, "Stage Pause Activate Resume Settle");
    assert!(matches!(outcome.end, End::Superseded(_)));
}

#[test]
fn a_file_that_is_not_taken_as_meant_is_taken_back_and_read_back_too() {
    let rejected = StepResult::Rejected("it is not there".to_owned());
    let (steps, outcome, _) = play(plan(), &[("ReadBack", rejected.clone())]);
    assert_eq!(
        steps,
        "Stage Pause Activate Reload ReadBack RestoreFile Reload ReadBackPrevious Resume Settle"
    );
    let text = "failed, previous file restored: it is not there";
    assert_eq!(outcome.to_string(), text);
    let script = [("ReadBack", rejected), ("RestoreFile", failed("disk full"))];
    let (_, outcome, _) = play(plan(), &script);
    assert!(
        outcome.to_string().contains("could not be restored"),
        "{outcome}"
    );
}

#[test]
fn a_resume_that_cannot_be_sent_is_tried_again_and_then_said_and_left_on_record() {
    let (steps, outcome, _) = play(plan(), &[("Resume", failed("connection lost"))]);
    assert!(
        !steps.contains("RecordDebt") && !steps.contains("Settle"),
        "{steps}"
    );
    assert_eq!(outcome.left_paused, ["app"]);
    assert!(!outcome.serves());
    assert!(
        outcome.to_string().contains("STILL PAUSED: app"),
        "{outcome}"
    );
}

#[test]
fn a_query_that_never_gets_through_leaves_the_new_file_and_says_so() {
    let not_yet = StepResult::NotYet("refused".to_owned());
    let (steps, outcome, owed) = play(plan(), &[("Confirm", not_yet)]);
    assert!(steps.ends_with("Confirm RecordDebt"), "{steps}");
    assert!(matches!(outcome.end, End::Unconfirmed(_)));
    assert!(outcome.took >= CONFIRM_LIMIT);
    assert!(owed.is_some());
}

#[test]
fn what_an_operation_before_it_owes_is_still_owed_when_it_turns_back() {
    let inherits = Plan {
        inherited: Some("15".to_owned()),
        ..plan()
    };
    let (steps, _, owed) = play(inherits, &[("Activate", failed("the file was changed"))]);
    assert_eq!(steps, "Stage Pause Activate Resume RecordDebt");
    let owed = owed.unwrap();
    assert_eq!(
        (owed.token.as_str(), owed.value.as_str()),
        ("1-77-1-0", "15")
    );
}

#[test]
fn with_nothing_to_move_only_the_confirmation_is_made_good() {
    let rest = Plan {
        moves: BTreeMap::new(),
        ..plan()
    };
    let (steps, outcome, _) = play(rest, &[]);
    assert_eq!(steps, "Confirm");
    assert!(outcome.serves());
}

#[test]
fn an_answer_that_is_lost_is_not_taken_for_either() {
    let lost = StepResult::Lost("no answer".to_owned());
    for step in ["Activate", "Reload"] {
        let (steps, outcome, _) = play(plan(), &[(step, lost.clone())]);
        assert!(steps.ends_with("Resume Settle"), "{steps}");
        assert_eq!(
            outcome.to_string(),
            "failed, how far it came is not known before the next look: no answer"
        );
    }
    let (_, outcome, _) = play(plan(), &[("Stage", lost)]);
    assert_eq!(outcome.to_string(), "failed, nothing changed: no answer");
}
