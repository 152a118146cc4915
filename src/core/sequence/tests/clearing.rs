use super::*;

const TOKEN: &str = "2-77-1-0";

fn debt(values: &[(&str, &str)], paused: &[&str], disabled: &[&str]) -> Debt {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let debt = Debt {
        paused: names(paused),
        disabled: names(disabled),
        ..Debt::default()
    };
    debt.with_settings(&[settings(values)])
}

fn cleared(debt: &Debt, found: &[(&str, &str)], now: Instant) -> Clearing {
    Clearing::new(TOKEN, debt, vec![settings(found)], now)
}

#[test]
fn the_haste_of_an_interrupted_redirect_lasts_for_the_length_of_the_old_value() {
    let now = start();
    let was = [("query_timeout", "77"), (LOGIN_RETRY, "15")];
    let debt = debt(&was, &["app"], &[]);
    let clearing = cleared(&debt, &[("query_timeout", "0"), (LOGIN_RETRY, HASTY)], now);
    let owed = clearing.owed.expect("it is owed later");
    assert_eq!(
        (owed.token.as_str(), &owed.values[..]),
        (TOKEN, &["15".to_owned()][..])
    );
    assert_eq!(owed.due, now + Duration::from_secs(16));
    assert_eq!(clearing.on_record, debt);
    // What else it undid is set again at once, and clients go on.
    assert_eq!(
        clearing.now.settings_of(0),
        settings(&[("query_timeout", "77")])
    );
    assert_eq!(clearing.now.paused, debt.paused);
}

#[test]
fn what_was_on_record_for_later_is_due() {
    let debt = debt(&[(LOGIN_RETRY, "15")], &[], &[]);
    let clearing = cleared(&debt, &[(LOGIN_RETRY, HASTY)], start());
    assert_eq!((clearing.now, clearing.owed), (debt, None));
}

#[test]
fn a_process_that_was_started_anew_has_nothing_to_wait_for() {
    let debt = debt(
        &[("query_timeout", "77"), (LOGIN_RETRY, "15")],
        &["app"],
        &[],
    );
    let clearing = cleared(
        &debt,
        &[("query_timeout", "0"), (LOGIN_RETRY, "15")],
        start(),
    );
    assert_eq!((clearing.now, clearing.owed), (debt, None));
}

#[test]
fn who_enables_an_entry_needs_the_haste_for_the_node_that_is_back() {
    let now = start();
    let debt = debt(&[], &[], &["app"]);
    let clearing = cleared(&debt, &[(LOGIN_RETRY, "15")], now);
    let owed = clearing.owed.expect("it is owed later");
    assert_eq!(owed.due, now + Duration::from_secs(16));
    assert_eq!(
        clearing.on_record.settings_of(0),
        settings(&[(LOGIN_RETRY, "15")])
    );
    assert_eq!(clearing.now.disabled, debt.disabled);
}
