//! Cursors: which file is which, and when nothing of one is left.

use super::*;
use crate::store::batches::{METERS, OLDEST};
use crate::store::cursors::IS_DELIVERED;
use crate::store::decisions::UNDECIDED;
use crate::store::tallies::SUMS;

#[test]
fn a_forgotten_file_leaves_the_one_of_another_device() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut store = Store::open(&settings(directory.path()), "a")?;
    let meter = meter("m");
    let mut other = cursor(70);
    other.file.identity.device = 1;
    let moved = |cursor: Cursor| PackedGroup {
        cursors: vec![("app".into(), cursor)],
        ..group(&meter, 0, 0, 0)
    };
    let mut forgotten = cursor(50);
    forgotten.file.is_forgotten = true;
    let groups = [group(&meter, 0, 0, 50), moved(other.clone()), moved(forgotten)];
    commit(&mut store, &groups, &[])?;
    assert_eq!(store.cursors("app")?, [other]);
    Ok(())
}

#[test]
fn a_dead_letter_belongs_to_its_file_whatever_the_name() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = Store::open(&settings, "a")?;
    let mut group = group(&meter("m"), 0, 1, 50);
    commit(&mut store, std::slice::from_ref(&group), &[])?;
    let reader = Reader::open(&settings.directory)?;
    let is_delivered = |offset| reader.is_delivered("app", cursor(offset).file.identity, offset);
    assert!(is_delivered(50)?, "the letter is another file's");
    assert!(!is_delivered(49)?);
    group.dead_letters[0].event_id = Some(format!("{}-40", Origin(u64::MAX)));
    commit(&mut store, &[group], &[])?;
    assert!(!is_delivered(50)?);
    Ok(())
}

#[test]
fn what_is_asked_again_and_again_is_asked_of_indexes() -> TestResult {
    let directory = tempfile::tempdir()?;
    let store = Store::open(&settings(directory.path()), "a")?;
    let plan = |query: &str| -> rusqlite::Result<Vec<String>> {
        let mut explain = store.connection.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
        explain.raw_query().mapped(|row| row.get("detail")).collect()
    };
    let is_delivered = plan(IS_DELIVERED)?;
    let of_letters = "SEARCH dead_letters USING COVERING INDEX dead_letters_by_origin";
    assert!(is_delivered.iter().any(|step| step.starts_with(of_letters)), "{is_delivered:?}");
    let of_batches = "SEARCH batches USING COVERING INDEX batches_by_time";
    assert!(is_delivered.iter().any(|step| step.starts_with(of_batches)), "{is_delivered:?}");
    assert_eq!(plan(SUMS)?, ["SCAN sums"]);
    assert_eq!(plan(OLDEST)?, ["SEARCH batches USING COVERING INDEX batches_by_age (meter=?)"]);
    let undecided = plan(UNDECIDED)?;
    let of_undecided = "SEARCH batches USING INDEX batches_undecided (meter=?)";
    assert!(undecided.iter().any(|step| step == of_undecided), "{undecided:?}");
    let meters = plan(METERS)?;
    assert!(meters.iter().all(|step| !step.starts_with("SCAN batches")), "{meters:?}");
    Ok(())
}
