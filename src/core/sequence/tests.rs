use super::*;
use crate::config::NodeId;
use crate::conninfo::server_address::ServerAddress;
use crate::core::debt::Debt;
use crate::core::node::Fault;
use crate::core::plan::Decision;
use crate::core::pooler::LOGIN_RETRY;
use crate::core::worker::HASTY;
use crate::generation::Generation;

mod clearing;
mod giving_up;

pub(super) fn plan() -> Plan {
    let address = ServerAddress {
        host: "10.0.0.11".to_owned(),
        port: 5432,
        dbname: "bdrtest".to_owned(),
    };
    let moves = BTreeMap::from([("app".to_owned(), address)]);
    Plan {
        token: "1-77-1-0".to_owned(),
        writer: NodeId(1),
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
        notes: Vec::new(),
        inherited: Debt::default(),
        replaces: None,
        by_ledger: false,
        agreed: None,
        prepared: false,
        evict: None,
        enable: BTreeSet::new(),
        also_resume: BTreeSet::new(),
        pause: true,
        way: Way::Failed,
        pause_limit: Duration::from_secs(2),
        kept_paused: BTreeSet::new(),
    }
}

fn start() -> Instant {
    Instant::now()
}

/// Plays a plan: each step gives what `script` says of its name, or is done. Gives the names of
/// the steps, and what became of it.
pub(super) fn play(plan: Plan, script: &[(&str, StepResult)]) -> (String, Outcome, Option<Owed>) {
    let now = Instant::now();
    let mut sequence = Sequence::new(plan, now);
    sequence.found(vec![in_force("15")]);
    play_on(sequence, script, now)
}

fn play_on(
    mut sequence: Sequence,
    script: &[(&str, StepResult)],
    mut now: Instant,
) -> (String, Outcome, Option<Owed>) {
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
                let usual = StepResult::Done(String::new());
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

#[test]
fn a_file_that_was_staged_ahead_of_time_is_only_activated() {
    let mut prepared = plan();
    prepared.prepared = true;
    let (steps, outcome, _) = play(prepared, &[]);
    assert_eq!(
        steps,
        "Record Pause Activate Reload ReadBack Hasten Resume PutBack RecordDebt Confirm"
    );
    assert_eq!(outcome.end, End::Redirected);
}

#[test]
fn one_that_has_vanished_meanwhile_is_staged_again_once() {
    let gone = StepResult::NotYet("it is gone".to_owned());
    for (prepared, expected) in [
        (true, "Record Pause Activate Stage Activate Resume Settle"),
        (false, "Stage Record Pause Activate Resume Settle"),
    ] {
        let mut plan = plan();
        plan.prepared = prepared;
        let (steps, outcome, _) = play(plan, &[("Activate", gone.clone())]);
        assert_eq!(steps, expected);
        assert!(outcome.left_paused.is_empty());
        let file = FileAfter::Unchanged;
        let reason = "it is gone".to_owned();
        assert_eq!(outcome.end, End::Failed { reason, file });
    }
}

#[test]
fn when_it_cannot_be_staged_again_either_clients_are_resumed() {
    let gone = StepResult::NotYet("it is gone".to_owned());
    let mut plan = plan();
    plan.prepared = true;
    let (steps, outcome, _) = play(
        plan,
        &[("Activate", gone), ("Stage", failed("no space left"))],
    );
    assert_eq!(steps, "Record Pause Activate Stage Resume Settle");
    let reason = "no space left".to_owned();
    let file = FileAfter::Unchanged;
    assert_eq!(outcome.end, End::Failed { reason, file });
}

pub(super) fn failed(why: &str) -> StepResult {
    StepResult::Failed(why.to_owned())
}

#[test]
fn all_goes_well_and_server_login_retry_is_owed_for_its_old_length_after_reload() {
    let begun = Instant::now();
    let (steps, outcome, owed) = play(plan(), &[]);
    assert_eq!(
        steps,
        "Stage Record Pause Activate Reload ReadBack Hasten Resume PutBack RecordDebt Confirm"
    );
    assert!(outcome.serves());
    let owed = owed.unwrap();
    assert_eq!(owed.values, ["15"]);
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
        "Stage Activate Reload ReadBack Hasten PutBack RecordDebt Confirm"
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
    assert_eq!(steps, "Stage Record Pause Activate Resume Settle");
    assert!(matches!(outcome.end, End::Superseded(_)));
}

#[test]
fn a_file_that_is_not_taken_as_meant_is_taken_back_and_read_back_too() {
    let rejected = StepResult::Rejected("it is not there".to_owned());
    let (steps, outcome, _) = play(plan(), &[("ReadBack", rejected.clone())]);
    assert_eq!(
        steps,
        "Stage Record Pause Activate Reload ReadBack RestoreFile Reload ReadBackPrevious Resume \
         PutBack Settle"
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
    assert!(steps.ends_with("RecordDebt Confirm"), "{steps}");
    assert!(matches!(outcome.end, End::Unconfirmed(_)));
    assert!(outcome.took >= confirming::CONFIRM_LIMIT);
    assert!(owed.is_some());
}

#[test]
fn entries_that_no_query_gets_through_are_waited_for_together() {
    let mut many = plan();
    many.confirm = ["app", "b", "c", "d"].map(str::to_owned).into();
    // Of `b`, the query gets through after all.
    let now = start();
    let (mut sequence, mut at) = (Sequence::new(many, now), now);
    sequence.found(vec![in_force("15")]);
    loop {
        let result = match sequence.next(at) {
            Next::End => break,
            Next::Wait(until) => {
                at = until;
                continue;
            }
            Next::Do(Step::Confirm { database }) if database != "b" => {
                StepResult::NotYet("refused".to_owned())
            }
            Next::Do(_) => StepResult::Done(String::new()),
        };
        sequence.handle(result, at);
        at += Duration::from_millis(1);
    }
    let (outcome, _) = sequence.finish(at);
    assert!(matches!(outcome.end, End::Unconfirmed(_)), "{outcome}");
    assert_eq!(outcome.entries.keys().collect::<Vec<_>>(), ["b"]);
    let limit = confirming::CONFIRM_LIMIT;
    assert!(outcome.took >= limit && outcome.took < limit + Duration::from_secs(1));
}

#[test]
fn what_an_operation_before_it_owes_is_still_owed_when_it_turns_back() {
    let on_record = in_force("15");
    let inherits = Plan {
        inherited: Debt::default().with_settings(std::slice::from_ref(&on_record)),
        ..plan()
    };
    let now = Instant::now();
    let mut sequence = Sequence::new(inherits, now);
    // Its RELOAD has undone what was SET, and it was killed before it put that back.
    sequence.found(vec![settings(&[
        ("query_timeout", "0"),
        (LOGIN_RETRY, HASTY),
    ])]);
    assert_eq!(sequence.before(0), Some(&on_record));
    assert_eq!(sequence.debt().settings_of(0), on_record);
    let script = [("Activate", failed("the file was changed"))];
    let (steps, _, owed) = play_on(sequence, &script, now);
    assert_eq!(
        steps,
        "Stage Record Pause Activate Resume PutBack RecordDebt"
    );
    let owed = owed.unwrap();
    assert_eq!(owed.token, "1-77-1-0");
    assert_eq!(owed.values, ["15"]);
}

/// The owner of the operation that was replaced may have sent its RELOAD after the settings were
/// read here: nobody but this one can put on record what is owed since.
#[test]
fn whoever_has_replaced_another_operation_owes_what_that_may_have_undone() {
    let replaces = Plan {
        replaces: Some("2-88-1-0".to_owned()),
        ..plan()
    };
    let script = [("Activate", failed("the file was changed"))];
    let (steps, _, owed) = play(replaces, &script);
    assert!(steps.ends_with("Resume PutBack RecordDebt"), "{steps}");
    assert_eq!(owed.unwrap().values, ["15"]);
    let (steps, _, owed) = play(plan(), &script);
    assert!(steps.ends_with("Resume Settle"), "{steps}");
    assert_eq!(owed, None);
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
        // After a RELOAD that may have been done, what was SET may be undone.
        let end = match step {
            "Reload" => "Resume PutBack RecordDebt",
            _ => "Resume Settle",
        };
        assert!(steps.ends_with(end), "{steps}");
        assert_eq!(
            outcome.to_string(),
            "failed, how far it came is not known before the next look: no answer"
        );
    }
    let (_, outcome, _) = play(plan(), &[("Stage", lost)]);
    assert_eq!(outcome.to_string(), "failed, nothing changed: no answer");
}

#[test]
fn each_process_gets_its_own_value_back() {
    let now = Instant::now();
    let mut sequence = Sequence::new(plan(), now);
    sequence.found(vec![in_force("15"), in_force("2")]);
    let (_, _, owed) = play_on(sequence, &[], now);
    let owed = owed.unwrap();
    assert_eq!(owed.values, ["15", "2"]);
    assert!(owed.due >= now + Duration::from_secs(16));
    let debt = owed.debt();
    assert_eq!(debt.settings_of(1), settings(&[(LOGIN_RETRY, "2")]));
}

#[test]
fn what_cannot_be_put_back_stays_on_record_and_belongs_to_nobody() {
    let (steps, outcome, owed) = play(plan(), &[("PutBack", failed("no answer"))]);
    assert!(steps.ends_with("PutBack Confirm"), "{steps}");
    assert_eq!(owed, None);
    assert_eq!(outcome.warnings, ["no answer"]);
}

/// Plays a plan whose first ReadBack and whose ReadBackPrevious say what is given.
fn play_reset(back: StepResult, previous: StepResult) -> (String, Outcome, Option<Owed>) {
    play(
        plan(),
        &[("ReadBack", back), ("ReadBackPrevious", previous)],
    )
}

#[test]
fn a_file_that_resets_settings_is_taken_back() {
    let reset = StepResult::Reset("it has lost its admin_users".to_owned());
    let (steps, outcome, owed) = play_reset(reset, StepResult::Done(String::new()));
    assert_eq!(
        steps,
        "Stage Record Pause Activate Reload ReadBack RestoreFile Reload ReadBackPrevious Resume \
         PutBack Settle"
    );
    let text = "failed, previous file restored: it has lost its admin_users";
    assert_eq!(outcome.to_string(), text);
    assert_eq!(owed, None);
}

#[test]
fn when_the_previous_file_resets_them_too_clients_go_to_the_live_node_all_the_same() {
    let reset = StepResult::Reset("it has lost its admin_users".to_owned());
    let (steps, outcome, owed) = play_reset(reset.clone(), reset.clone());
    assert_eq!(
        steps,
        "Stage Record Pause Activate Reload ReadBack RestoreFile Reload ReadBackPrevious Stage \
         Activate Reload ReadBack Hasten Resume PutBack RecordDebt Confirm"
    );
    assert!(outcome.serves());
    assert!(owed.is_some());
    let warning = "it has lost its admin_users; it was no better with the previous file: its \
                   other files are wrong";
    assert_eq!(outcome.warnings, [warning]);
}

#[test]
fn when_nothing_can_be_loaded_the_previous_file_is_there_and_it_is_told_why() {
    let rejected = StepResult::Rejected("entry `app` is not as meant".to_owned());
    let reset = StepResult::Reset("it has lost its admin_users".to_owned());
    let (steps, outcome, _) = play_reset(rejected, reset);
    assert!(
        steps.ends_with("ReadBackPrevious Resume PutBack Settle"),
        "{steps}"
    );
    assert_eq!(
        outcome.to_string(),
        "failed, previous file restored: entry `app` is not as meant; note: it has lost its \
         admin_users, with the previous file too: its other files are wrong"
    );
}

#[test]
fn what_was_lost_is_told_with_plain_values_only() {
    let before = settings(&[
        ("auth_query", "select secret"),
        ("pool_mode", "session"),
        ("query_timeout", "77"),
        (LOGIN_RETRY, "5"),
    ]);
    let after = settings(&[
        ("auth_query", "select 1"),
        ("pool_mode", "session"),
        ("query_timeout", "0"),
        (LOGIN_RETRY, HASTY),
    ]);
    let lost = lost(&before, &after, None);
    let keys: Vec<_> = lost.iter().map(|lost| lost.key.as_str()).collect();
    assert_eq!(keys, ["auth_query", "query_timeout", LOGIN_RETRY]);
    assert_eq!(
        lost[1].note_again(),
        "query_timeout: 77 was in force and is again; the file says 0"
    );
    assert_eq!(
        lost[1].note_lost(),
        "query_timeout could not be set again to 77, as it was"
    );
    assert_eq!(
        lost[0].note_again(),
        "auth_query: what was in force is so again; the file says otherwise"
    );
    assert_eq!(
        lost[0].note_lost(),
        "auth_query could not be set again, as it was"
    );
}

#[test]
fn a_load_that_was_rejected_is_known_by_what_it_resets() {
    let before = settings(&[("admin_users", "admin"), ("pool_mode", "transaction")]);
    let keys = |after: &[(&str, &str)]| reset(&before, &settings(after)).join(",");
    let unchanged = [("admin_users", "admin"), ("pool_mode", "transaction")];
    assert_eq!(keys(&unchanged), "");
    let own = [("admin_users", ""), ("pool_mode", "session")];
    assert_eq!(keys(&own), "admin_users,pool_mode");
    // By hand, to something that is not PgBouncer's own.
    let by_hand = [("admin_users", "root"), ("pool_mode", "statement")];
    assert_eq!(keys(&by_hand), "");
    assert_eq!(keys(&[]), "", "an older PgBouncer that does not tell");
}

#[test]
fn a_process_that_was_started_anew_keeps_what_its_file_says() {
    let fresh = in_force("15");
    let on_record = settings(&[("query_timeout", "5"), (LOGIN_RETRY, "9")]);
    assert_eq!(before_reload(fresh.clone(), on_record.clone()), fresh);
    let reloaded = settings(&[("query_timeout", "0"), (LOGIN_RETRY, HASTY)]);
    assert_eq!(before_reload(reloaded, on_record.clone()), on_record);
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn in_force(login_retry: &str) -> Settings {
    settings(&[("query_timeout", "77"), (LOGIN_RETRY, login_retry)])
}

#[test]
fn an_error_of_reload_is_told_when_the_last_load_gave_it() {
    let error = StepResult::Passed("RELOAD failed".to_owned());
    let (_, outcome, _) = play(plan(), &[("Reload", error)]);
    assert!(outcome.serves());
    assert_eq!(outcome.warnings, ["RELOAD failed"]);

    let now = Instant::now();
    let mut sequence = Sequence::new(plan(), now);
    sequence.found(vec![in_force("15")]);
    // The previous file is taken without one.
    let results = ["Stage", "Record", "Pause", "Activate"].map(|_| StepResult::Done(String::new()));
    let error = StepResult::Passed("RELOAD failed".to_owned());
    let rejected = StepResult::Rejected("it is not there".to_owned());
    for result in results.into_iter().chain([error, rejected]) {
        sequence.handle(result, now);
    }
    let (_, outcome, _) = play_on(sequence, &[], now);
    let text = "failed, previous file restored: it is not there";
    assert_eq!(outcome.to_string(), text);
}
