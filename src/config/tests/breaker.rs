//! The keys that say when a source is held.

use super::*;

#[test]
fn a_share_of_one_turns_the_breaker_off() -> Tested {
    let of = |share: &'static str| -> Result<_, Error> {
        let environment = [("METERD__SOURCES__APP__INVALID_SHARE_MAX", share)];
        let settings = load_with(LEAST, &environment)?.settings;
        let breaker = settings.sources.first().and_then(|source| source.breaker);
        Ok(breaker.map(|breaker| breaker.invalid_share_max))
    };
    assert_eq!((of("1")?, of("1.0")?), (None, None));
    assert_eq!((of("0")?, of("0.125")?), (Some(0.0), Some(0.125)));
    Ok(())
}

/// Expects these problems when `typed` stands in a source.
fn check(typed: &str, expected: &[&str]) {
    let problems = problems_of(load_text(&format!("{LEAST}{typed}")));
    assert_eq!(problems.lines().collect::<Vec<_>>(), expected, "{typed}");
}

#[test]
fn shares_are_numbers_from_0_to_1() {
    let number = "expected a number from 0 to 1";
    for (typed, found) in
        [("1.01", "1.01"), ("-0.5", "-0.5"), ("2", "2"), ("nan", "NaN"), ("\"50%\"", "\"50%\"")]
    {
        let expected = format!("sources.app.invalid_share_max: found {found}, {number}");
        check(&format!("invalid_share_max = {typed}"), &[&expected]);
    }
    for typed in ["0", "1", "0.25", "1.0"] {
        check(&format!("invalid_share_max = {typed}"), &[]);
    }
}

#[test]
fn windows_and_holds_have_their_ranges() {
    check(
        "invalid_window = 0\ninvalid_hold = \"2d\"",
        &[
            "sources.app.invalid_hold: found \"2d\", expected 1ms to 1d",
            "sources.app.invalid_window: found 0, expected a whole number from 1 to 1000000",
        ],
    );
    check("invalid_window = 1000000\ninvalid_hold = \"1ms\"", &[]);
}
