//! What a person decides, beside the daemon's own writes.

use super::*;
use crate::store::decisions::Objection;
use crate::store::editor::Editor;

/// Which batches of the meter are undecided, as the lane and as a person sees it.
fn check_undecided(reader: &Reader, expected: &[i64]) -> TestResult {
    let listed = reader.batches(Some("m"), true, 0, 10)?;
    let listed: Vec<i64> =
        listed.iter().filter(|batch| batch.undecided).map(|batch| batch.batch).collect();
    assert_eq!(listed, expected);
    let found = reader.undecided("m", 1)?;
    assert_eq!(found.count, expected.len() as u64);
    assert_eq!(found.track_ids.len(), expected.len().min(1));
    for batch in listed {
        let head = reader.batch(BatchId(batch))?.ok_or("a batch")?;
        assert!(head.is_undecided());
    }
    Ok(())
}

#[test]
fn a_decision_holds_for_the_attempts_that_were_made_and_for_the_halves() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let meter = meter("m");
    let mut store = Store::open(&settings, "a")?;
    commit(&mut store, &[group(&meter, 2, 0, 1), group(&meter, 2, 0, 2)], &[])?;
    let reader = Reader::open(&settings.directory)?;
    let mut editor = Editor::open(&settings.directory)?;
    let unknown = Settlement::Attempted { batch: BatchId(1), outcome_unknown: true };
    check_undecided(&reader, &[])?;
    commit(&mut store, &[], &[&unknown])?;
    check_undecided(&reader, &[1])?;
    let known = vec![Objection::Known("2".into())];
    assert_eq!(editor.resend(&["1".into(), "2".into()])?, known);
    check_undecided(&reader, &[1])?;
    let track_id = reader.batch(BatchId(1))?.ok_or("a batch")?.track_id;
    assert_eq!(editor.resend(&[track_id])?, []);
    check_undecided(&reader, &[])?;
    commit(&mut store, &[], &[&unknown])?;
    check_undecided(&reader, &[1])?;
    assert_eq!((editor.resend_all(Some("other"))?, editor.resend_all(Some("m"))?), (0, 1));
    check_undecided(&reader, &[])?;
    let halves = [group(&meter, 1, 0, 1), group(&meter, 1, 0, 1)];
    let halves = halves.into_iter().flat_map(|group| group.batches).collect();
    commit(&mut store, &[], &[&Settlement::Split { batch: BatchId(1), halves }])?;
    check_undecided(&reader, &[])?;
    assert_eq!(reader.batches(None, true, 0, 10)?.len(), 2);
    // The halves are known to have been sent twice by then.
    let half = reader.batch(BatchId(3))?.ok_or("a half")?;
    assert_eq!((half.outcome_unknown_attempts, half.decided_attempts), (2, 2));
    Ok(())
}

#[test]
fn a_confirmed_batch_is_delivered_once_whatever_comes_later() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let meter = meter("m");
    let mut store = Store::open(&settings, "a")?;
    commit(&mut store, &[group(&meter, 2, 0, 1)], &[])?;
    let unknown = Settlement::Attempted { batch: BatchId(1), outcome_unknown: true };
    commit(&mut store, &[], &[&unknown])?;
    let mut editor = Editor::open(&settings.directory)?;
    let names = ["1".to_owned()];
    assert_eq!(editor.confirm(&names, NOW)?, []);
    let missing = vec![Objection::Missing("1".into())];
    assert_eq!((editor.confirm(&names, NOW)?, editor.resend(&names)?), (missing.clone(), missing));
    // What a request that was under way came to.
    let halves = group(&meter, 1, 0, 1).batches;
    let split = Settlement::Split { batch: BatchId(1), halves };
    commit(&mut store, &[], &[&unknown, &split, &delivered(1, &meter)])?;
    assert!(store.is_drained()?);
    let mut reader = Reader::open(&settings.directory)?;
    let receipt = reader.receipt("1")?.ok_or("a receipt")?;
    assert_eq!((receipt.status, receipt.attempts, receipt.outcome_unknown_attempts), (0, 1, 1));
    let equation = reader.status(NOW, None)?.equation;
    assert_eq!((equation.delivered, equation.stored, equation.holds), (2, 0, true));
    Ok(())
}
