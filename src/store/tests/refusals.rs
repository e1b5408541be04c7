//! What was delivered and is refused later: filed once, counted once, whoever reads it and when.

use super::*;
use crate::quantity::Quantity;
use crate::store::editor::Editor;
use crate::store::reconciliations::{Reconciled, Span};
use crate::store::refusals::{Filed, Filing, Refusal, Repeated};

const ORIGIN: Origin = Origin(0xab);
const DELAY: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

/// A filing `seconds` behind [`NOW`].
fn filing(seconds: u64) -> Filing {
    let now = at(seconds);
    Filing {
        meter: "m".into(),
        is_sole_sender: false,
        delay: DELAY,
        settled_until: now.before(DELAY),
        now,
    }
}

/// Mediation refused the event at this place of our stream.
fn refusal(position: u64, seconds: u64) -> Refusal {
    Refusal {
        event_id: format!("{ORIGIN}-{position}"),
        error_at: at(seconds),
        code: Some("70000000".to_owned()),
        detail: "Mediation: no".to_owned(),
        quantity: Quantity::read(b"1.5"),
        event: b"{}".to_vec(),
    }
}

/// A store with ten delivered events of a stream of ours, each with a quantity of 1.5.
fn ten_delivered(settings: &Settings) -> Result<Store, Box<dyn std::error::Error>> {
    let meter = meter("m");
    let mut store = Store::open(settings, "a")?;
    let mut ten = group(&meter, 10, 0, 1);
    ten.origins = vec![("app".into(), ORIGIN)];
    for batch in &mut ten.batches {
        batch.quantity = Quantity::read(b"15");
    }
    commit(&mut store, &[ten], &[])?;
    commit(&mut store, &[], &[&delivered(1, &meter)])?;
    Ok(store)
}

fn counted(settings: &Settings) -> Result<(i64, i64), Error> {
    let equation = Reader::open(&settings.directory)?.status(NOW, None)?.equation;
    assert!(equation.holds, "{equation:?}");
    Ok((equation.delivered, equation.dead_lettered))
}

#[test]
fn a_refusal_is_filed_once_whoever_reads_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let _store = ten_delivered(&settings)?;
    let (mut one, mut other) =
        (Editor::open(&settings.directory)?, Editor::open(&settings.directory)?);
    // The event was sent twice, and refused twice.
    let refusals = [refusal(1, 0), refusal(1, 1), refusal(2, 1)];
    let filed = one.file(&filing(100), &refusals)?;
    assert_eq!(filed, Filed { filed: 2, known: 1, ..Filed::default() });
    assert_eq!(other.file(&filing(100), &refusals)?, Filed { known: 3, ..Filed::default() });
    assert_eq!(counted(&settings)?, (8, 2));
    let reader = Reader::open(&settings.directory)?;
    let letters = reader.dead_letters(&Filter::default(), 0, 10)?;
    let letter = letters.first().ok_or("a letter")?;
    assert_eq!((letter.reason.as_str(), letter.source.as_str()), ("refused_after_delivery", "app"));
    assert_eq!((letter.attempts, letter.outcome_unknown_attempts), (1, 0));
    assert_eq!(letter.event_id.as_deref(), Some("00000000000000ab-1"));
    Ok(())
}

#[test]
fn an_old_refusal_is_no_new_one_after_the_letter_went_and_a_later_one_is() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let _store = ten_delivered(&settings)?;
    let mut editor = Editor::open(&settings.directory)?;
    assert_eq!(editor.file(&filing(100), &[refusal(1, 0)])?.filed, 1);
    editor.discard(&Filter::default(), 0, "a test", at(101))?;
    let (old, sibling, new) = (refusal(1, 0), refusal(1, 89), refusal(1, 101));
    let filed = editor.file(&filing(200), &[old, sibling, new.clone()])?;
    assert_eq!(filed, Filed { filed: 1, known: 2, ..Filed::default() });
    // Put back after the first one: a repeat that was dropped since then may be all there was.
    let repeats = [("00000000000000ab-1".to_owned(), at(150)), ("x".to_owned(), at(150))];
    assert_eq!(editor.repeated("m", &repeats)?, Repeated { stamped: 1, put_back: 1 });
    assert_eq!(editor.repeated("n", &repeats)?, Repeated { stamped: 1, put_back: 0 });
    Ok(())
}

#[test]
fn what_may_be_somebody_elses_is_left_alone() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let _store = ten_delivered(&settings)?;
    let mut editor = Editor::open(&settings.directory)?;
    let foreign = ["00000000000000ac-1", "event-1", ""].map(|id| {
        let event_id = id.to_owned();
        Refusal { event_id, ..refusal(1, 0) }
    });
    let filed = editor.file(&filing(100), &foreign)?;
    assert_eq!((filed, counted(&settings)?), (Filed { foreign: 3, ..Filed::default() }, (10, 0)));
    let sole = Filing { is_sole_sender: true, ..filing(100) };
    assert_eq!(editor.file(&sole, &foreign)?.filed, 3);
    assert_eq!(counted(&settings)?, (7, 3));
    Ok(())
}

#[test]
fn while_an_outcome_is_unknown_its_refusals_wait() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = ten_delivered(&settings)?;
    let meter = meter("m");
    commit(&mut store, &[group(&meter, 1, 0, 2)], &[])?;
    let unknown = Settlement::Attempted { batch: BatchId(2), outcome_unknown: true };
    commit(&mut store, &[], &[&unknown])?;
    let mut editor = Editor::open(&settings.directory)?;
    let filed = editor.file(&filing(100), &[refusal(1, 0)])?;
    assert_eq!(filed, Filed { postponed: 1, ..Filed::default() });
    commit(&mut store, &[], &[&delivered(2, &meter)])?;
    assert_eq!(editor.file(&filing(100), &[refusal(1, 0)])?.filed, 1);
    Ok(())
}

#[test]
fn books_tell_what_is_within_and_what_may_be() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let _store = ten_delivered(&settings)?;
    let mut editor = Editor::open(&settings.directory)?;
    editor.file(&filing(100), &[refusal(1, 0), refusal(2, 0)])?;
    editor.discard(&Filter::of_ids(vec![1]), 0, "a test", at(101))?;
    let second = Duration::from_secs(1);
    let mut check = |from: Timestamp, to: Timestamp, expected: [u64; 5]| -> TestResult {
        let books = editor.books("m", &Span { from, to, delay: DELAY })?;
        let found = [
            books.sent.events,
            books.refused.events,
            books.waiting.events,
            books.maybe_within,
            books.younger,
        ];
        assert_eq!(found, expected, "{from} {to}");
        Ok(())
    };
    check(NOW, NOW.after(second), [10, 2, 1, 0, 0])?;
    check(NOW.after(second), NOW.after(second * 60), [0, 2, 1, 10, 0])?;
    check(NOW.before(second), NOW, [0, 2, 1, 10, 10])?;
    check(NOW.after(second * 30), NOW.after(second * 60), [0, 0, 0, 0, 0])?;
    check(NOW.before(second * 60), NOW.before(second * 30), [0, 0, 0, 0, 10])?;
    let books = editor.books("m", &Span { from: NOW, to: NOW.after(second), delay: DELAY })?;
    assert_eq!(books.sent.total.sum.to_string(), "15");
    assert_eq!(books.refused.total.sum.to_string(), "3");
    assert_eq!(books.waiting.total.sum.to_string(), "1.5");
    Ok(())
}

#[test]
fn the_latest_comparison_is_kept() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let _store = ten_delivered(&settings)?;
    let mut editor = Editor::open(&settings.directory)?;
    let found = |seconds, waiting| Reconciled {
        at: NOW,
        from: NOW,
        to: at(seconds),
        delivered: 10,
        output: 10,
        refused: 0,
        waiting,
        repeats: 0,
        unexplained: 0,
        even: true,
    };
    for (seconds, waiting) in [(5, 1), (5, 2), (4, 3)] {
        editor.keep("m", &found(seconds, waiting))?;
    }
    let status = Reader::open(&settings.directory)?.status(NOW, None)?;
    let kept = status.meters.get("m").and_then(|meter| meter.reconciled.clone());
    assert_eq!(kept, Some(found(5, 2)));
    Ok(())
}

#[test]
fn what_is_filed_is_forgotten_with_old_receipts_once_its_letter_is_gone() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = ten_delivered(&settings)?;
    let mut editor = Editor::open(&settings.directory)?;
    editor.file(&filing(100), &[refusal(1, 0), refusal(2, 0)])?;
    editor.discard(&Filter::of_ids(vec![1]), 0, "a test", at(101))?;
    store.prune(at(100_000))?;
    let left = |table| -> Result<i64, Error> {
        let query = format!("SELECT count(*) FROM {table}");
        Ok(store.connection.query_row(&query, [], |row| row.get(0))?)
    };
    assert_eq!((left("refusals")?, left("origins")?, left("receipts")?), (1, 0, 0));
    assert_eq!(counted(&settings)?, (8, 1));
    Ok(())
}
