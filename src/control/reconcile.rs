//! Compares what was delivered with what Mediation made of it: a 200 is not a bill.
//!
//! For a meter and a span of time: receipts beside the summary's output, and every error of the
//! audit trail that is about an event of ours is filed as a dead letter, once, whoever reads it and
//! how often. Repeats that Mediation dropped are harmless and counted. What is younger than the
//! processing delay is never looked at, and what could not be seen is said.
//!
//! A page of the trail is filed in one transaction. Whatever ends this in between leaves what was
//! filed, and the next time goes on.

pub mod background;
mod report;
mod trail;

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::summary::summary;
use super::{Error as CallError, MeterVersion, audit};
use crate::clock::Timestamp;
use crate::mediation::audit::{ExportType, PAGE_SIZE_MAX, Page, Query};
use crate::mediation::error::DUPLICATE_EVENT;
use crate::mediation::form::{Envelope, Loose};
use crate::mediation::summary::{Dimension, Request, Row, RunType};
use crate::mediation::time::ApiTime;
use crate::meter::Meter;
use crate::store::editor::Editor;
use crate::store::reconciliations::Span;
use crate::store::{self, refusals::Filing};
use crate::units::Period;

pub use report::{Report, Shown};
use trail::Trail;

/// Times are told to Mediation in whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// `[reconcile]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How often the daemon compares; none: never by itself.
    pub every: Option<Duration>,
    /// How long Mediation may take with an event, and its clock be off. Default 15 minutes.
    pub delay: Duration,
    /// How much is compared when nothing else is asked for. Default a day.
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every: None,
            delay: Duration::from_secs(15 * 60),
            window: Duration::from_secs(86_400),
        }
    }
}

/// Why nothing came of a comparison.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mediation did not answer as it should.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is nothing that could be seen by now.
    #[error(
        "nothing to compare: deliveries can be looked at once they are two delays old, {}",
        Period::new(*.0 * 2)
    )]
    TooYoung(Duration),
}

impl Settings {
    /// The span from `from` to `to` in whole seconds, as far as it can be looked at by `now`.
    pub fn span(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Span, Error> {
        // What is delivered until `to` was processed by a delay after it, and what Mediation said
        // of it until then is a delay old: nothing that is looked at can still change.
        let latest = now.before(self.delay * 2 + SECOND);
        let to = whole_second(to.unwrap_or(latest).min(latest));
        let from = whole_second(from.unwrap_or_else(|| to.before(self.window)));
        if from < to {
            Ok(Span { from, to, delay: self.delay })
        } else {
            Err(Error::TooYoung(self.delay))
        }
    }
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().div_euclid(1000).saturating_mul(1000))
}

/// What is compared with what.
#[derive(Debug)]
pub struct Comparison<'c> {
    /// The configured meter.
    pub meter: &'c Arc<Meter>,
    /// The same in Mediation.
    pub version: &'c MeterVersion,
    /// Which deliveries.
    pub span: Span,
    /// How long receipts are kept.
    pub receipts_keep: Duration,
}

impl Comparison<'_> {
    /// Files what Mediation refused, compares, and keeps what came of it for `status`.
    pub async fn run(&self, client: &Client, editor: &mut Editor) -> Result<Report, Error> {
        let now = Timestamp::now();
        let trail = self.file(client, editor, now).await?;
        let said = self.ask(client).await?;
        let books = editor.books(&self.meter.name, &self.span)?;
        let report = Report::new(self, now, &trail, &said, &books);
        editor.keep(&self.meter.name, &report.kept())?;
        Ok(report)
    }

    /// When Mediation may have processed what was delivered: both ends belong to it.
    fn processed(&self) -> (ApiTime, ApiTime) {
        let Span { from, to, delay } = self.span;
        (ApiTime(from.before(delay)), ApiTime(to.after(delay)))
    }

    /// Reads the audit trail to its end and files what is new in it, page by page.
    async fn file(
        &self,
        client: &Client,
        editor: &mut Editor,
        now: Timestamp,
    ) -> Result<Trail, Error> {
        let (from, to) = self.processed();
        let query = Query {
            export_type: ExportType::Error,
            run_type: RunType::Normal,
            from,
            to,
            session_id: None,
            operator_id: None,
            page_size: Some(PAGE_SIZE_MAX),
        };
        let filing = Filing {
            meter: Arc::clone(&self.meter.name),
            is_sole_sender: self.meter.is_sole_sender,
            delay: self.span.delay,
            settled_until: now.before(self.span.delay),
            now,
        };
        let mut trail = Trail::default();
        let take = |page: &Page<'_>| {
            trail.take(page, self.meter, &filing, editor)?;
            Ok::<bool, Error>(true)
        };
        audit::entries(client, self.version, &query, take).await?;
        Ok(trail)
    }

    /// Asks for the counts.
    async fn ask(&self, client: &Client) -> Result<Said, Error> {
        let (from, to) = self.processed();
        let request = |operator: Option<&Arc<str>>, dimension| Request {
            run_type: RunType::Normal,
            session_ids: Vec::new(),
            operator_ids: operator.iter().map(ToString::to_string).collect(),
            group_by: vec![dimension],
            query_from_time: Some(from),
            query_to_time: Some(to),
        };
        let operator = self.meter.output_operator.as_ref();
        let dimension = operator.map_or(Dimension::SessionId, |_| Dimension::ProcessorId);
        let mut said = Said::default();
        let output = summary(client, self.version, &request(operator, dimension)).await?.told;
        said.is_cut = output.next_page.is_some();
        for row in rows(&output) {
            said.output += count(row.output.as_ref());
        }
        let errors = summary(client, self.version, &request(None, Dimension::ErrorCode)).await?;
        said.is_cut |= errors.told.next_page.is_some();
        for row in rows(&errors.told) {
            let errors = count(row.total_error_count.as_ref());
            let code = row.dimensions.get(Dimension::ErrorCode.name());
            if code.is_some_and(|code| code.as_str() == Some(DUPLICATE_EVENT)) {
                said.repeats += errors;
            } else {
                said.errors += errors;
            }
        }
        Ok(said)
    }
}

/// What Mediation counts.
#[derive(Debug, Default)]
struct Said {
    /// Events that came out.
    output: i64,
    /// Errors that are no repeats.
    errors: i64,
    /// Repeats that were dropped.
    repeats: i64,
    /// There is more than was fetched.
    is_cut: bool,
}

fn rows(answer: &Envelope<crate::mediation::summary::Summary>) -> impl Iterator<Item = &Row> {
    answer.known().into_iter().flat_map(|summary| &summary.output).filter_map(Loose::known)
}

fn count(number: Option<&Loose<i64>>) -> i64 {
    number.and_then(Loose::number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_younger_than_two_delays_is_looked_at() {
        let settings = Settings { delay: Duration::from_secs(10), ..Settings::default() };
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000 + 900);
        let check = |from: Option<i64>, to: Option<i64>, expected: Option<(i64, i64)>| {
            let span = settings.span(from.map(at), to.map(at), at(100_000)).ok();
            let found = span.map(|span| (span.from.as_millis(), span.to.as_millis()));
            let expected = expected.map(|(from, to)| (from * 1000, to * 1000));
            assert_eq!(found, expected, "{from:?} {to:?}");
        };
        check(None, None, Some((99_979 - 86_400, 99_979)));
        check(Some(7), None, Some((7, 99_979)));
        check(Some(7), Some(99), Some((7, 99)));
        check(None, Some(100_000), Some((99_979 - 86_400, 99_979)));
        check(Some(99_979), None, None);
        check(Some(9), Some(9), None);
    }
}
