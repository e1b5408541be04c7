//! What a comparison came to, in numbers, and what it could not see, in words.

use serde::Serialize;

use super::trail::Trail;
use super::{Comparison, Said};
use crate::clock::Timestamp;
use crate::quantity::Quantity;
use crate::store::reconciliations::{Amount, Books, Reconciled};

/// Events and what their quantities sum up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Shown {
    /// How many.
    pub events: i64,
    /// The sum; none: it is not known.
    pub quantity: Option<Quantity>,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The configured meter.
    pub meter: String,
    /// Deliveries from here
    pub from: Timestamp,
    /// and before this were compared.
    pub to: Timestamp,
    /// When.
    pub at: Timestamp,
    /// Events with a receipt.
    pub sent: Shown,
    /// Events that Mediation refused after the 200, and that are or were dead letters for it.
    pub refused: Shown,
    /// Those that became dead letters by this comparison.
    pub filed: u64,
    /// Those that are dead letters still.
    pub waiting: Shown,
    /// Events that Mediation dropped because it had them: no harm.
    pub repeats: Shown,
    /// Events that Mediation put out.
    pub output: i64,
    /// Delivered events that did not come out: those that wait as dead letters, and those that
    /// nothing explains.
    pub difference: Shown,
    /// Delivered events that neither came out nor were refused; negative: more came out.
    pub unexplained: i64,
    /// Events outside the span that Mediation may have counted in it.
    pub maybe_within: u64,
    /// Events of the span that Mediation may have counted before it.
    pub maybe_before: u64,
    /// Repeats that may have a receipt of their own: their ids are not this agent's.
    pub maybe_repeats: u64,
    /// Whether nothing waits and nothing is unexplained, as far as could be seen.
    pub even: bool,
    /// What could not be seen.
    pub unseen: Vec<String>,
}

impl Report {
    pub(super) fn new(
        comparison: &Comparison<'_>,
        at: Timestamp,
        trail: &Trail,
        said: &Said,
        books: &Books,
    ) -> Self {
        let has_quantity = comparison.meter.quantity_field.is_some();
        let shown = |amount: &Amount| Shown {
            events: amount.events.cast_signed(),
            quantity: (has_quantity && amount.total.unknown == 0).then_some(amount.total.sum),
        };
        let (refused, waiting) = (shown(&books.refused), shown(&books.waiting));
        let unexplained = shown(&books.sent).events - refused.events - said.output;
        let mut report = Self {
            meter: comparison.meter.name.to_string(),
            from: comparison.span.from,
            to: comparison.span.to,
            at,
            sent: shown(&books.sent),
            refused,
            filed: trail.filed.filed,
            waiting,
            repeats: shown(&trail.repeats),
            output: said.output,
            difference: Shown {
                events: waiting.events + unexplained,
                // Of what nothing explains only the number is known.
                quantity: waiting.quantity.filter(|_| unexplained == 0),
            },
            unexplained,
            maybe_within: books.maybe_within,
            maybe_before: books.maybe_before,
            maybe_repeats: trail.written_twice(),
            even: false,
            unseen: unseen(comparison, at, trail, said, books),
        };
        report.even = waiting.events == 0 && report.is_explained();
        report
    }

    /// Whether what could not be seen may be all that is unexplained.
    pub fn is_explained(&self) -> bool {
        let missing_max = self.maybe_before + self.maybe_repeats;
        (-self.maybe_within.cast_signed()..=missing_max.cast_signed()).contains(&self.unexplained)
    }

    /// What is kept of it for `status`.
    pub(super) fn kept(&self) -> Reconciled {
        Reconciled {
            at: self.at,
            from: self.from,
            to: self.to,
            delivered: self.sent.events - self.refused.events,
            output: self.output,
            refused: self.refused.events,
            waiting: self.waiting.events,
            repeats: self.repeats.events,
            unexplained: self.unexplained,
            even: self.even,
        }
    }
}

/// Everything that would make the numbers other than they are.
fn unseen(
    comparison: &Comparison<'_>,
    now: Timestamp,
    trail: &Trail,
    said: &Said,
    books: &Books,
) -> Vec<String> {
    let mut unseen = Vec::new();
    let mut note = |count: u64, words: &str| {
        if count > 0 {
            unseen.push(format!("{count} {words}"));
        }
    };
    note(books.younger, "delivered events are younger than what was compared");
    note(
        books.maybe_within,
        "events from before or behind may be in Mediation's counts: less came out than it seems, \
         by that at most",
    );
    note(
        books.maybe_before,
        "events were sent long before their receipt came: Mediation may have counted them earlier",
    );
    note(
        trail.written_twice(),
        "repeats may be events that an application wrote twice: those have a receipt each",
    );
    note(trail.nameless, "refused events have no event id and cannot be told from those of others");
    note(
        trail.filed.foreign,
        "refused events are not known to be ours and were left alone; with `sole_sender = true` in \
         [meters] they are filed whatever their ids",
    );
    note(
        trail.filed.postponed,
        "refused events may be in batches that wait with an unknown outcome; they are looked at \
         again once those are delivered",
    );
    note(
        trail.repeated.put_back,
        "events that had been refused and put back were dropped as repeats: they were sent twice, \
         or the deduplicator stands before the operator that refused them, and they never came out",
    );
    if comparison.meter.quantity_field.is_some() {
        note(books.sent.total.unknown, "receipts have no sum of quantities");
        note(books.refused.total.unknown, "refused events have no quantity that can be summed");
    }
    let listed = trail.refusals() + trail.repeats.events;
    let counted = (said.errors + said.repeats).max(0).unsigned_abs();
    note(counted.saturating_sub(listed), "errors are counted that the audit trail does not list");
    if comparison.meter.event_id_field.is_none() {
        unseen.push("the meter has no event_id_field: refused events cannot be filed".to_owned());
    }
    if comparison.span.from < now.before(comparison.receipts_keep) {
        unseen.push("receipts of the beginning may be forgotten: see store.receipts_keep".into());
    }
    if said.is_cut {
        unseen.push("Mediation's summary has more pages than were read".to_owned());
    }
    unseen
}
