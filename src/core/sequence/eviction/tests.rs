use std::collections::BTreeSet;

use super::super::tests::{failed, plan, play};
use super::super::{Next, Owed};
use super::*;
use crate::core::node::Fault;
use crate::core::outcome::{End, Outcome};
use crate::core::plan::Plan;

fn blackhole(evict: Eviction) -> Plan {
    let mut plan = Plan {
        evict: Some(evict),
        ..plan()
    };
    plan.decision.fault = Fault::Blackhole;
    plan
}

fn evicted(freed: usize, left: usize) -> StepResult {
    StepResult::Evicted(Evicted {
        freed,
        left,
        ..Evicted::default()
    })
}

/// Plays a plan, where the answers of a step come one after the other, the last one for ever. Gives
/// how long it took, too.
fn play_rounds(
    plan: Plan,
    script: &[(&str, Vec<StepResult>)],
) -> (String, Outcome, Option<Owed>, Duration) {
    let begun = Instant::now();
    let mut now = begun;
    let mut sequence = Sequence::new(plan, now);
    let before = [("query_timeout", "77"), ("server_login_retry", "15")];
    let before = before.map(|(key, value)| (key.to_owned(), value.to_owned()));
    sequence.found(vec![BTreeMap::from(before)]);
    let (mut names, mut asked) = (Vec::<String>::new(), BTreeMap::<String, usize>::new());
    for _ in 0..10_000 {
        match sequence.next(now) {
            Next::Do(step) => {
                let text = format!("{step:?}");
                let name = text.split([' ', '(']).next().unwrap_or_default().to_owned();
                let count = asked.entry(name.clone()).or_insert(0);
                let rounds = script.iter().find(|(of, _)| *of == name);
                let told = rounds.and_then(|(_, all)| all.get(*count).or(all.last()));
                *count += 1;
                let usual = StepResult::Done(String::new());
                sequence.handle(told.cloned().unwrap_or(usual), now);
                names.push(name);
                now += Duration::from_millis(1);
            }
            Next::Wait(until) => now = until,
            Next::End => {
                names.dedup();
                let (outcome, owed) = sequence.finish(now);
                let steps = names.join(" ");
                let (_, evict) = steps.split_once("Hasten ").unwrap();
                return (evict.to_owned(), outcome, owed, now - begun);
            }
        }
    }
    panic!("it does not end: {names:?}");
}

#[test]
fn clients_are_killed_until_none_hangs_and_it_is_told() {
    let rounds = vec![evicted(50, 3), evicted(3, 0)];
    let (steps, outcome, owed, _) =
        play_rounds(blackhole(Eviction::KillClients), &[("Evict", rounds)]);
    assert_eq!(steps, "Resume PutBack RecordDebt Evict Confirm");
    assert!(outcome.serves());
    let note = "53 clients that hung in node 2 were freed (KILL_CLIENT)";
    assert_eq!(outcome.warnings, [note]);
    assert!(owed.is_some());
}

#[test]
fn nobody_hung_and_nothing_is_told() {
    for eviction in [
        Eviction::KillClients,
        Eviction::QueryTimeout,
        Eviction::KillDatabase,
    ] {
        let (steps, outcome, ..) =
            play_rounds(blackhole(eviction), &[("Evict", vec![evicted(0, 0)])]);
        assert!(!steps.contains("EndEviction"), "{eviction:?}: {steps}");
        assert_eq!(outcome.warnings, Vec::<String>::new(), "{eviction:?}");
    }
}

#[test]
fn clients_that_cannot_be_killed_do_not_hold_up_the_redirect_for_ever() {
    let (steps, outcome, _, took) = play_rounds(
        blackhole(Eviction::KillClients),
        &[("Evict", vec![evicted(0, 2)])],
    );
    assert_eq!(steps, "Resume PutBack RecordDebt Evict Confirm");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(
        outcome.warnings,
        ["clients still hang in node 2: 2; PgBouncer's KILL and RESUME of the database free them"]
    );
    assert!(outcome.serves());
}

/// The answer to a RELOAD that took effect was lost; nothing is left to move.
#[test]
fn who_hangs_is_freed_or_told_also_when_the_attempt_before_has_moved_everything() {
    let rest = |evict| Plan {
        moves: BTreeMap::new(),
        ..blackhole(evict)
    };
    let freed = [("Evict(KillClients)", evicted(3, 0))];
    let (steps, outcome, _) = play(rest(Eviction::KillClients), &freed);
    assert_eq!(steps, "Evict(KillClients) Confirm");
    let note = "3 clients that hung in node 2 were freed (KILL_CLIENT)";
    assert_eq!(outcome.warnings, [note]);
    for evict in [Eviction::QueryTimeout, Eviction::KillDatabase] {
        let (steps, outcome, _) = play(rest(evict), &[("Freed", evicted(0, 2))]);
        assert_eq!(steps, "Confirm Freed");
        let told = &outcome.warnings[0];
        assert!(
            told.starts_with("clients still hang in node 2: 2;"),
            "{told}"
        );
        assert_eq!(outcome.warnings.len(), 1);
    }
}

#[test]
fn what_query_timeout_sets_is_on_record_until_it_is_set_again() {
    let plan = blackhole(Eviction::QueryTimeout);
    let sequence = |plan: &Plan| Sequence::new(plan.clone(), Instant::now());
    let with = sequence(&plan).lease();
    let without = sequence(&Plan {
        evict: None,
        ..plan.clone()
    })
    .lease();
    assert!(with >= without + EVICT_LIMIT, "{with:?} {without:?}");
    let nobody = [("Evict", vec![evicted(0, 0)])];
    let (steps, ..) = play_rounds(plan, &nobody);
    assert_eq!(steps, "Resume PutBack Evict RecordDebt Confirm");
}

#[test]
fn query_timeout_is_set_again_as_soon_as_nobody_hangs_and_new_clients_wait_for_none_of_it() {
    let script = [
        ("Evict", vec![evicted(0, 4)]),
        ("Freed", vec![evicted(0, 4), evicted(0, 1), evicted(0, 0)]),
    ];
    let (steps, outcome, owed, _) = play_rounds(blackhole(Eviction::QueryTimeout), &script);
    assert_eq!(
        steps,
        "Resume PutBack Evict Confirm Freed EndEviction RecordDebt"
    );
    let note = "4 clients that hung in node 2 were freed (query_timeout)";
    assert_eq!(outcome.warnings, [note]);
    assert!(outcome.took < Duration::from_millis(20), "{outcome:?}");
    assert!(owed.is_some());
}

#[test]
fn query_timeout_is_set_again_though_somebody_hangs_for_ever() {
    let script = [
        ("Evict", vec![evicted(0, 2)]),
        ("Freed", vec![evicted(0, 2), evicted(0, 1)]),
    ];
    let (steps, outcome, _, took) = play_rounds(blackhole(Eviction::QueryTimeout), &script);
    assert!(steps.ends_with("Freed EndEviction RecordDebt"), "{steps}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(
        outcome.warnings,
        [
            "1 client that hung in node 2 was freed (query_timeout)",
            "clients still hang in node 2: 1; PgBouncer's KILL and RESUME of the database free them"
        ]
    );
}

#[test]
fn query_timeout_is_set_again_before_a_query_that_does_not_get_through_is_tried_again() {
    let not_yet = StepResult::NotYet("no place is free".to_owned());
    let script = [
        ("Evict", vec![evicted(0, 1)]),
        ("Freed", vec![evicted(0, 0)]),
        (
            "Confirm",
            vec![not_yet.clone(), StepResult::Done("a query".to_owned())],
        ),
    ];
    let (steps, outcome, ..) = play_rounds(blackhole(Eviction::QueryTimeout), &script);
    assert_eq!(
        steps,
        "Resume PutBack Evict Confirm Freed EndEviction RecordDebt Confirm"
    );
    assert!(outcome.serves());
    // Nor does it stay for the five seconds in which nothing gets through at all.
    let script = [
        ("Evict", vec![evicted(0, 1)]),
        ("Freed", vec![evicted(0, 0)]),
        ("Confirm", vec![not_yet]),
    ];
    let (steps, outcome, ..) = play_rounds(blackhole(Eviction::QueryTimeout), &script);
    assert_eq!(
        steps,
        "Resume PutBack Evict Confirm Freed EndEviction RecordDebt Confirm"
    );
    assert!(matches!(outcome.end, End::Unconfirmed(_)), "{outcome}");
}

#[test]
fn what_fails_in_an_eviction_is_told_and_query_timeout_is_set_again_all_the_same() {
    let script = [("Evict", vec![failed("no console")])];
    let (steps, outcome, ..) = play_rounds(blackhole(Eviction::QueryTimeout), &script);
    assert!(
        steps.ends_with("Evict Confirm Freed EndEviction RecordDebt"),
        "{steps}"
    );
    assert_eq!(outcome.warnings, ["no console"]);
    assert!(outcome.serves());
}

#[test]
fn query_timeout_that_cannot_be_set_again_stays_on_record_for_whoever_comes() {
    let script = [
        ("Evict", vec![evicted(0, 1)]),
        ("Freed", vec![evicted(0, 0)]),
        ("EndEviction", vec![failed("no console")]),
    ];
    let (steps, outcome, owed, _) = play_rounds(blackhole(Eviction::QueryTimeout), &script);
    assert!(steps.ends_with("EndEviction"), "{steps}");
    assert_eq!(owed, None, "the record is nobody's");
    assert!(outcome.warnings.contains(&"no console".to_owned()));
}

#[test]
fn kill_is_resumed_even_when_its_answer_is_lost() {
    let without_pause = Plan {
        pause: false,
        ..blackhole(Eviction::KillDatabase)
    };
    for answer in [
        evicted(1, 0),
        failed("gone"),
        StepResult::Lost("gone".to_owned()),
    ] {
        let script = [("Evict", vec![answer])];
        let (steps, ..) = play_rounds(without_pause.clone(), &script);
        assert_eq!(steps, "Renew Evict Resume PutBack RecordDebt Confirm");
    }
}

#[test]
fn it_is_told_whom_kill_dropped() {
    let killed = StepResult::Evicted(Evicted {
        freed: 2,
        dropped: BTreeMap::from([("app".to_owned(), 12)]),
        ..Evicted::default()
    });
    let script = [("Evict", vec![killed])];
    let (_, outcome, ..) = play_rounds(blackhole(Eviction::KillDatabase), &script);
    let note = "2 clients that hung in node 2 were freed (KILL, which dropped all 12 of `app`)";
    assert_eq!(outcome.warnings, [note]);
}

#[test]
fn what_an_eviction_will_owe_is_on_record_before_it() {
    let mut sequence = Sequence::new(blackhole(Eviction::QueryTimeout), Instant::now());
    let before = BTreeMap::from([("query_timeout".to_owned(), "77".to_owned())]);
    sequence.found(vec![before.clone()]);
    assert_eq!(sequence.debt().settings_of(0), before);
    let kill = Plan {
        pause: false,
        ..blackhole(Eviction::KillDatabase)
    };
    let debt = Sequence::new(kill, Instant::now()).debt();
    assert_eq!(debt.paused, BTreeSet::from(["app".to_owned()]));
}

#[test]
fn kill_pauses_only_under_a_record_that_is_fresh() {
    let plan = Plan {
        pause: false,
        ..blackhole(Eviction::KillDatabase)
    };
    let script = [("Evict", vec![evicted(1, 0)])];
    let (steps, outcome, ..) = play_rounds(plan.clone(), &script);
    assert!(steps.starts_with("Renew Evict Resume "), "{steps}");
    assert_eq!(outcome.end, End::Redirected);

    let gone = StepResult::Failed("another operation is on record".to_owned());
    let script = [("Renew", vec![gone])];
    let (steps, outcome, ..) = play_rounds(plan, &script);
    assert!(!steps.contains("Evict"), "{steps}");
    assert_eq!(outcome.end, End::Redirected);
    assert_eq!(
        outcome.warnings,
        ["clients that hang were not freed: another operation is on record"]
    );
}
