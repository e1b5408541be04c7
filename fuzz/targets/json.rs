//! Lines are events or dead letters, as a parser that shares nothing with the agent's says; events
//! go out in the bytes in which they came.

use std::sync::{Arc, LazyLock};

use meterd::meter::Meter;
use meterd::schema::Schema;

use super::formats::{self, group};
use super::oracle::{Judged, judge, trimmed};

/// A meter that asks for nothing: what is refused is refused for its JSON.
static ANYTHING: LazyLock<Arc<Meter>> = LazyLock::new(|| {
    let schema = Schema::new(Vec::new()).expect("a schema without fields");
    let plain = Meter::new("m", String::new());
    Arc::new(Meter { schema: schema.into(), quantity_field: None, ..plain })
});

static DOCUMENTED: LazyLock<Arc<Meter>> =
    LazyLock::new(|| Arc::new(Meter::new("m", String::new())));

/// Runs the target on `input`.
pub(super) fn run(input: &[u8]) {
    anything(input);
    documented(input);
}

fn anything(input: &[u8]) {
    let packed = formats::packed(&group(&ANYTHING, None, input));
    let mut events = packed.events.iter();
    let mut letters = packed.letters.iter();
    for line in input.split(|byte| *byte == b'\n') {
        let shown = String::from_utf8_lossy(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        match judge(line) {
            Judged::Event => {
                let json = trimmed(line);
                assert_eq!(events.next().map(Vec::as_slice), Some(json), "{shown}");
            }
            Judged::Refused(reason) => {
                let letter = letters.next();
                let event = letter.map(|letter| letter.event.as_slice());
                assert_eq!(event, Some(line.strip_suffix(b"\r").unwrap_or(line)), "{shown}");
                let found = letter.map(|letter| letter.reason);
                assert!(reason.is_none() || found == reason, "{shown}: {found:?}");
            }
        }
    }
    assert_eq!((events.next(), letters.next()), (None, None));
}

/// A schema refuses more, and takes nothing more.
fn documented(input: &[u8]) {
    let packed = formats::packed(&group(&DOCUMENTED, None, input));
    let fields = ["CustomerId", "UsageIdentifier", "UsageDate", "Quantity"];
    for event in &packed.events {
        let shown = String::from_utf8_lossy(event);
        assert!(matches!(judge(event), Judged::Event), "{shown}");
        // A number that is beyond `serde_json`'s is still one.
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(event) else { continue };
        assert!(fields.iter().all(|field| !value[field].is_null()), "{shown}");
        assert!(value["Quantity"].is_number() && value["CustomerId"].is_string(), "{shown}");
    }
}
