//! Receipts: which are found, and which are forgotten.

use super::*;
use crate::store::receipts::Filter;

/// A receipt a second, for batches 1, 2 ... of the meters "even" and "odd".
fn deliver(store: &mut Store, count: u32) -> TestResult {
    let (even, odd) = (meter("even"), meter("odd"));
    let of = |number: u32| if number.is_multiple_of(2) { &even } else { &odd };
    let groups: Vec<PackedGroup> = (1..=count).map(|number| group(of(number), 1, 0, 1)).collect();
    commit(store, &groups, &[])?;
    let unknown = Settlement::Attempted { batch: BatchId(3), outcome_unknown: true };
    commit(store, &[], &[&unknown])?;
    let settlements: Vec<Settlement> = (1..=count)
        .map(|number| Settlement::Delivered {
            batch: BatchId(number.into()),
            meter: Arc::clone(&of(number).name),
            attempts: 1,
            status: 200,
            is_duplicate: false,
            at: NOW.after(Duration::from_secs(number.into())),
        })
        .collect();
    Ok(commit(store, &[], &settlements.iter().collect::<Vec<_>>())?)
}

#[test]
fn receipts_are_found_by_time_meter_and_doubt_a_page_at_a_time() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = Store::open(&settings, "a")?;
    deliver(&mut store, 9)?;
    let reader = Reader::open(&settings.directory)?;
    let at = |seconds| Some(NOW.after(Duration::from_secs(seconds)));
    let check = |filter: Filter, expected: &[i64]| -> TestResult {
        let mut found = Vec::new();
        let (first, last) = reader.receipts_span(&filter)?.unwrap_or((1, 0));
        let mut after = first - 1;
        loop {
            let page = reader.receipts(&filter, after..last, 2)?;
            let Some(end) = page.last() else { break };
            after = end.batch;
            assert!(page.len() <= 2);
            found.extend(page.into_iter().map(|receipt| receipt.batch));
        }
        assert_eq!(found, expected, "{filter:?}");
        Ok(())
    };
    let all = Filter::default;
    check(all(), &[1, 2, 3, 4, 5, 6, 7, 8, 9])?;
    check(Filter { meter: Some("even".into()), ..all() }, &[2, 4, 6, 8])?;
    check(Filter { meter: Some("none".into()), ..all() }, &[])?;
    check(Filter { is_unknown: true, ..all() }, &[3])?;
    check(Filter { from: at(4), ..all() }, &[4, 5, 6, 7, 8, 9])?;
    check(Filter { to: at(4), ..all() }, &[1, 2, 3])?;
    check(Filter { from: at(4), to: at(4), ..all() }, &[])?;
    check(Filter { from: at(10), ..all() }, &[])?;
    check(Filter { from: at(2), to: at(7), meter: Some("odd".into()), ..all() }, &[3, 5])
}

#[test]
fn old_receipts_are_forgotten_some_at_a_time_and_still_counted() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = Store::open(&settings, "a")?;
    let count = PRUNED_MAX + 10;
    deliver(&mut store, count)?;
    let mut reader = Reader::open(&settings.directory)?;
    let first = |reader: &Reader| -> Result<Option<i64>, Error> {
        let page = reader.receipts(&Filter::default(), 0..i64::MAX, 1)?;
        Ok(page.first().map(|receipt| receipt.batch))
    };
    let old = |number: u32| {
        let delivered_at = NOW.after(Duration::from_secs(number.into()));
        delivered_at.after(settings.receipts_keep + Duration::from_millis(1))
    };
    assert!(!store.prune(old(0))?);
    assert_eq!(first(&reader)?, Some(1));
    assert!(!store.prune(old(5))?);
    assert_eq!(first(&reader)?, Some(6));
    assert!(store.prune(old(count))?);
    assert_eq!(first(&reader)?, Some(i64::from(PRUNED_MAX) + 6));
    assert!(!store.prune(old(count))?);
    assert_eq!(first(&reader)?, None);
    let equation = reader.status(NOW, None)?.equation;
    assert_eq!((equation.delivered, equation.holds), (count.into(), true));
    Ok(())
}
