//! Times and numbers. The first line is a pattern, a factor or a unit, the second a text that is read
//! with it.

use std::str::FromStr;

use meterd::mapping::unit::{Conversion, Factor, Ratio, Unit};
use meterd::pack::datetime;
use meterd::pack::decimal::{convert, is_number};
use meterd::time_format::{EventTime, TimeFormat};
use meterd::time_pattern::{TimePattern, offset_seconds};

/// Runs the target on `input`.
pub(super) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (how, text) = text.split_once('\n').unwrap_or((text, "2026-11-21T06:14:11.5Z"));
    let offset = offset_seconds(text);
    assert!(offset.is_none_or(|offset| offset.abs() <= 86_400), "{text}: {offset:?}");
    json_time(text);
    pattern(how, text);
    numbers(how, text);
}

/// What is a time is an instant, and goes out in every format as the same one.
fn json_time(text: &str) {
    let quoted = format!("\"{text}\"");
    let instant = datetime::instant(quoted.as_bytes());
    assert_eq!(instant.is_some(), datetime::is_datetime(text.as_bytes()), "{text}");
    for format in ["epoch_ms", "epoch_s", "yyyy-MM-dd'T'HH:mm:ss.SSSX"] {
        if let (Some(time), Ok(format)) = (instant, TimeFormat::from_str(format)) {
            written(time, &format);
        }
    }
    if let Some(time) = instant {
        assert!(time.nanos < 1_000_000_000, "{text}");
    }
}

fn written(time: EventTime, format: &TimeFormat) {
    let mut out = Vec::new();
    if format.write(time, &mut out).is_err() {
        assert!(out.is_empty(), "a time that is refused leaves something behind");
        return;
    }
    let shown = String::from_utf8_lossy(&out).into_owned();
    let value: Result<serde_json::Value, _> = serde_json::from_slice(&out);
    assert!(value.is_ok(), "{format}: {shown} is no JSON");
    let (pattern, text) = (TimePattern::from_str(&format.to_string()), value.unwrap_or_default());
    // Not the parser's own text of a number: a large one is a float there.
    let text = text.as_str().map_or_else(|| shown.clone(), str::to_owned);
    if let Ok(pattern) = pattern {
        assert_eq!(pattern.read(&text), Some(time), "{format}: {shown} is another instant");
    }
}

fn pattern(how: &str, text: &str) {
    let format = TimeFormat::from_str(how);
    let Ok(pattern) = TimePattern::from_str(how) else {
        return;
    };
    let Some(time) = pattern.read(text) else { return };
    assert!(time.nanos < 1_000_000_000, "{how}: {text}");
    if let Ok(format) = format {
        written(time, &format);
    }
    // A zone moves the instant by itself and nothing else.
    let moved = pattern.clone().with_offset(3600).read(text).map(|it| it.seconds);
    let expected = if pattern.says_zone() { time.seconds } else { time.seconds - 3600 };
    assert_eq!(moved, Some(expected), "{how}: {text}");
}

/// A number is one for `serde_json` too, and a product is about what floats say.
fn numbers(how: &str, text: &str) {
    let is_json = serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok_and(|raw| {
        raw.get() == text
            && text.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
    });
    assert_eq!(is_number(text), is_json, "{text}");
    let unit =
        how.split_once(' ').and_then(|(from, to)| Unit::named(from)?.in_terms_of(Unit::named(to)?));
    let Some(ratio) = unit.or_else(|| Ratio::from_str(how).ok()) else { return };
    let factor = Factor::Fixed(ratio);
    for decimals in [None, Some(0), Some(4), Some(18)] {
        let mut out = "x".to_owned();
        match convert(text, &Conversion { factor, decimals }, &mut out) {
            Err(_) => assert_eq!(out, "x", "a number that is refused leaves something behind"),
            Ok(()) => close(text, ratio, decimals, out.get(1..).unwrap_or_default()),
        }
    }
}

fn close(text: &str, ratio: Ratio, decimals: Option<u32>, out: &str) {
    assert!(is_number(out) && !out.starts_with("-0e") && out != "-0", "{text}: {out}");
    let places = out.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    assert!(places <= decimals.unwrap_or(38) as usize, "{text}: {out} has too many places");
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    let wide = |number: u128| number.to_string().parse::<f64>().unwrap_or(f64::NAN);
    let expected = number(text) * wide(ratio.numerator()) / wide(ratio.denominator());
    let rounding =
        decimals.map_or(0.0, |decimals| 0.5 / 10_f64.powi(decimals.try_into().unwrap_or(0)));
    let most = expected.abs() * 1e-12 + rounding * 1.000_001;
    assert!((number(out) - expected).abs() <= most, "{text} times {ratio:?} is not {out}");
}
