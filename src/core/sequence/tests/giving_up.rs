use super::*;
use crate::core::plan::Eviction;

const SECOND: Duration = Duration::from_secs(1);

/// Plays a plan where one step hangs until it is given up, and the others take no time. Gives the
/// names of the steps, with how long clients had been waiting when each began, in tenths of a
/// second.
fn hanging(plan: Plan, hangs: &str, rejected: bool) -> (String, Outcome) {
    let begun = start();
    let (mut now, mut names) = (begun, Vec::new());
    let mut sequence = Sequence::new(plan, now);
    while let Next::Do(step) = sequence.next(now) {
        let text = format!("{step:?}");
        let name = text.split(' ').next().unwrap_or_default().to_owned();
        names.push(format!("{name}@{}", (now - begun).as_millis() / 100));
        let result = match sequence.give_up_at() {
            Some(at) if name == hangs || at <= now => {
                now = now.max(at);
                pause::given_up(&step, 2 * SECOND)
            }
            Some(_) | None if rejected && name == "ReadBack" => {
                StepResult::Rejected("it is not there".to_owned())
            }
            Some(_) | None => StepResult::Done(String::new()),
        };
        sequence.handle(result, now);
    }
    let (outcome, _) = sequence.finish(now);
    (names.join(" "), outcome)
}

#[test]
fn a_host_that_falls_silent_costs_the_limit_and_the_outcome_says_so() {
    let (steps, outcome) = hanging(plan(), "Activate", false);
    assert_eq!(
        steps,
        "Stage@0 Record@0 Pause@0 Activate@0 Resume@20 Settle@20"
    );
    assert_eq!(
        outcome.to_string(),
        "failed, how far it came is not known before the next look: the host did not answer \
         within the 2 s that clients may be paused"
    );
}

/// How long what is owed from Activate on is left to its owner.
fn lease_at_activate(plan: Plan) -> Duration {
    let now = start();
    let mut sequence = Sequence::new(plan, now);
    while sequence.next(now) != Next::Do(Step::Activate) {
        sequence.handle(StepResult::Done(String::new()), now);
    }
    sequence.lease()
}

/// Another agent looks every quarter of a second, and pays what its owner has had the time to pay.
#[test]
fn without_a_pause_what_is_owed_is_left_to_a_redirect_for_as_long_as_its_steps_may_last() {
    let paused = lease_at_activate(plan());
    assert_eq!(paused, pause::lease(2 * SECOND));
    let evictions = [
        None,
        Some(Eviction::KillClients),
        Some(Eviction::QueryTimeout),
    ];
    for evict in evictions {
        let pause = false;
        let plan = Plan {
            evict,
            pause,
            ..plan()
        };
        let lease = lease_at_activate(plan);
        assert!(lease >= 10 * SECOND, "{evict:?}: {lease:?}");
    }
    // These hold clients up: by KILL, and by what an operation before this one has paused.
    let kills = Plan {
        evict: Some(Eviction::KillDatabase),
        pause: false,
        ..plan()
    };
    let found_paused = Plan {
        also_resume: ["app".to_owned()].into(),
        pause: false,
        ..plan()
    };
    for plan in [kills, found_paused] {
        assert_eq!(lease_at_activate(plan), paused);
    }
}

#[test]
fn a_console_that_falls_silent_costs_the_limit() {
    for hangs in ["Reload", "ReadBack"] {
        let (steps, _) = hanging(plan(), hangs, false);
        let rest = "Resume@20 PutBack@20 Settle@20";
        assert!(steps.ends_with(rest), "{steps}");
    }
    // What comes after it is done without delay; the new file is in place.
    let (steps, outcome) = hanging(plan(), "Hasten", false);
    let rest = "Hasten@0 Resume@20 PutBack@20 RecordDebt@20 Confirm@20";
    assert!(steps.ends_with(rest), "{steps}");
    assert_eq!(outcome.warnings.len(), 1);
}

#[test]
fn on_the_way_back_clients_are_resumed_before_what_is_left_of_it() {
    let (steps, outcome) = hanging(plan(), "RestoreFile", true);
    let rest = "RestoreFile@0 Resume@20 Reload@20 ReadBackPrevious@20 PutBack@20 Settle@20";
    assert!(steps.ends_with(rest), "{steps}");
    let text = outcome.to_string();
    assert!(text.contains("could not be restored"), "{text}");
}

#[test]
fn a_pause_that_another_operation_has_begun_is_bounded_as_well() {
    let inherits = Plan {
        pause: false,
        also_resume: ["app".to_owned()].into(),
        ..plan()
    };
    let (steps, _) = hanging(inherits.clone(), "Stage", false);
    assert_eq!(steps, "Stage@0 Resume@20 Settle@20");
    let (steps, _) = hanging(inherits, "Activate", false);
    assert_eq!(steps, "Stage@0 Activate@0 Resume@20 Settle@20");
}

#[test]
fn nothing_is_given_up_where_nobody_waits() {
    let without = Plan {
        pause: false,
        ..plan()
    };
    let sequence = Sequence::new(without, start());
    assert_eq!(sequence.give_up_at(), None);
    let (steps, _) = hanging(plan(), "Confirm", false);
    assert!(steps.ends_with("RecordDebt@0 Confirm@0"), "{steps}");
}

#[test]
fn a_host_that_is_slow_to_record_a_pause_gets_none() {
    let now = start();
    let mut sequence = Sequence::new(plan(), now);
    sequence.handle(StepResult::Done(String::new()), now);
    let late = now + Duration::from_millis(1100);
    sequence.handle(StepResult::Done(String::new()), late);
    assert_eq!(sequence.next(late), Next::Do(Step::Activate));
    assert_eq!(sequence.give_up_at(), None);
}

#[test]
fn what_an_operator_has_paused_is_neither_paused_nor_resumed_nor_owed() {
    let kept = Plan {
        kept_paused: ["app".to_owned()].into(),
        ..plan()
    };
    let sequence = Sequence::new(kept.clone(), start());
    assert_eq!(sequence.debt().paused, BTreeSet::new());
    let (steps, ..) = play(kept, &[]);
    assert!(
        !steps.contains("Pause") && !steps.contains("Resume"),
        "{steps}"
    );
}
