use super::*;
use proptest::prelude::*;

/// 2026-11-21T06:14:11Z
const AT: i64 = 1_795_241_651;

fn written(format: &str, seconds: i64, nanos: u32) -> Result<String, String> {
    let format: TimeFormat = format.parse().map_err(|error: Error| error.to_string())?;
    let mut out = Vec::new();
    let time = EventTime { seconds, nanos };
    format.write(time, &mut out).map_err(|misfit| format!("{misfit:?}"))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn an_instant_is_written_as_the_format_says() {
    for (format, expected) in [
        ("epoch_ms", "1795241651123"),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "\"2026-11-21T06:14:11.123Z\""),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXX", "\"2026-11-21T06:14:11.123Z\""),
        ("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", "\"2026-11-21T06:14:11.123Z\""),
        ("yyyy-MM-dd HH:mm:ss,SSS Z", "\"2026-11-21 06:14:11,123 +0000\""),
        ("yyyyMMddHHmmssSSS", "\"20261121061411123\""),
        ("dd.MM.yyyy 'o''clock' HH''mm''ss\\SSS", "\"21.11.2026 o'clock 06'14'11\\\\123\""),
        ("'\"é' yyyy/MM/dd HH:mm:ss.SSSXXX", "\"\\\"é 2026/11/21 06:14:11.123Z\""),
    ] {
        assert_eq!(written(format, AT, 123_000_000).as_deref(), Ok(expected), "{format}");
    }
    assert_eq!(written("epoch_s", AT, 0).as_deref(), Ok("1795241651"));
    assert_eq!(written("epoch_s", -1, 0).as_deref(), Ok("-1"));
    assert_eq!(written("epoch_ms", -1, 999_000_000).as_deref(), Ok("-1"));
    let midnight = AT.div_euclid(SECONDS_PER_DAY) * SECONDS_PER_DAY;
    assert_eq!(written("yyyy-MM-dd", midnight, 0).as_deref(), Ok("\"2026-11-21\""));
}

#[test]
fn what_a_format_cannot_say_is_refused() {
    const DAY: &str = "yyyy-MM-dd";
    let midnight = AT.div_euclid(SECONDS_PER_DAY) * SECONDS_PER_DAY;
    for (format, seconds, nanos, expected) in [
        ("epoch_s", AT, 1_000_000, Misfit::Fraction),
        ("epoch_ms", AT, 1, Misfit::BelowMillis),
        ("yyyy-MM-dd'T'HH:mm:ssX", AT, 1_000_000, Misfit::Fraction),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSX", AT, 100, Misfit::BelowMillis),
        ("yyyy-MM-dd HH:mm", AT, 0, Misfit::Seconds),
        ("yyyy-MM-dd HH", midnight + 60, 0, Misfit::Minutes),
        (DAY, midnight + 3600, 0, Misfit::Hours),
        (DAY, midnight, 1_000_000, Misfit::Fraction),
        (DAY, -12_212_553_600 - SECONDS_PER_DAY, 0, Misfit::Year),
        (DAY, 253_402_300_800, 0, Misfit::Year),
        (DAY, i64::MAX / SECONDS_PER_DAY * SECONDS_PER_DAY, 0, Misfit::Year),
        (DAY, i64::MIN / SECONDS_PER_DAY * SECONDS_PER_DAY, 0, Misfit::Year),
    ] {
        assert_eq!(written(format, seconds, nanos), Err(format!("{expected:?}")), "{format}");
    }
    assert_eq!(written(DAY, -12_212_553_600, 0).as_deref(), Ok("\"1583-01-01\""));
}

#[test]
fn what_is_no_format_is_refused_with_what_would_be_right() {
    let refused = |text: &str| text.parse::<TimeFormat>().err();
    for (text, run) in [
        ("YYYY-MM-dd", "YYYY"),
        ("yyyy-M-dd", "M"),
        ("yyyy-MM-ddTHH:mm", "T"),
        ("yyyy-MM-dd hh:mm a", "hh"),
        ("yyyy-MM-dd HH:mm:ss.SSSSSS", "SSSSSS"),
        ("yyyy-MM-dd XXXX", "XXXX"),
        ("epoch_us", "e"),
    ] {
        assert_eq!(refused(text), Some(Error::Letters(run.to_owned())), "{text}");
    }
    for text in ["", "yyyy", "HH:mm:ss", "'yyyy-MM-dd'"] {
        assert_eq!(refused(text), Some(Error::NoDay), "{text}");
    }
    assert_eq!(refused("yyyy-MM-dd'T"), Some(Error::OpenQuote));
    assert_eq!(refused("yyyy-MM-dd '''"), Some(Error::OpenQuote));
    assert_eq!(refused("yyyy-MM-dd\n"), Some(Error::Unreasonable));
    assert_eq!(refused(&"-".repeat(101)), Some(Error::Unreasonable));
}

proptest! {
    #[test]
    fn jiff_reads_every_time_back_as_the_same_instant(
        millis in -12_212_553_600_000_i64..253_402_300_800_000,
    ) {
        let time = EventTime::from_millis(millis);
        for format in ["yyyy-MM-dd'T'HH:mm:ss.SSSX", "yyyy-MM-dd HH:mm:ss.SSSZ"] {
            let text = written(format, time.seconds, time.nanos).unwrap_or_default();
            let read = text.trim_matches('"').parse::<jiff::Timestamp>();
            prop_assert_eq!(read.ok().map(jiff::Timestamp::as_millisecond), Some(millis));
        }
        let epoch = written("epoch_ms", time.seconds, time.nanos);
        prop_assert_eq!(epoch, Ok(millis.to_string()));
    }

    #[test]
    fn days_and_dates_are_those_of_jiff(days in -4_000_000_i64..2_900_000) {
        let date = Date::from_days(days);
        prop_assert_eq!(date.days_since_epoch(), days);
        let theirs = jiff::civil::date(1970, 1, 1)
            .checked_add(jiff::Span::new().days(days))
            .map(|date| (date.year().into(), date.month().into(), date.day().into()));
        let ours: (i64, i64, i64) = (date.year, date.month, date.day);
        prop_assert_eq!(theirs.ok(), Some(ours));
    }

    #[test]
    fn no_pattern_does_harm(
        text in "[yMdHmsSZX'T:. \\\\\"é-]{0,40}",
        seconds: i64,
        nanos in 0_u32..1_000_000_000,
    ) {
        if let Ok(format) = text.parse::<TimeFormat>() {
            let mut out = Vec::new();
            if format.write(EventTime { seconds, nanos }, &mut out).is_ok() {
                prop_assert!(serde_json::from_slice::<String>(&out).is_ok());
            } else {
                prop_assert!(out.is_empty());
            }
        }
    }
}
