//! Audit entries, page by page.

use serde::Serialize;
use url::form_urlencoded;

use super::super::meters::Meters;
use super::super::meters::trail::{Entry, Filter};
use super::Call;
use super::reply::{Refused, Reply};
use super::summary::{is_debug, time};

/// Entries of a page.
const PAGE_SIZE: usize = 30;
const PAGE_SIZE_MAX: usize = 500;

/// What a cursor begins with: it is nobody's business what stands behind it.
const CURSOR: &str = "cursor-";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entries<'a> {
    success: bool,
    data: &'a [&'a Entry],
    previous_page: &'static str,
    next_page: String,
}

/// What is asked for.
#[derive(Default)]
struct Query {
    filter: Filter,
    is_error: Option<bool>,
    has_run_type: bool,
    page_size: Option<usize>,
    start: usize,
}

/// `GET /meters/{meterId}/auditTrail/entries`
pub(super) fn entries(meters: &mut Meters, id: &str, call: &Call) -> Result<Reply, Refused> {
    let query = Query::read(&call.query)?;
    let missing = |name: &str| Refused::bad("70000000", format!("{name} is missing."));
    let is_error = query.is_error.ok_or_else(|| missing("exportType"))?;
    if !query.has_run_type {
        return Err(missing("runType"));
    }
    if query.filter.from.is_none() || query.filter.to.is_none() {
        return Err(missing("queryFromTime or queryToTime"));
    }
    let meter = meters.find(id, None)?;
    let entries = meter.trail.entries(&query.filter, is_error);
    let end = (query.start + query.page_size.unwrap_or(PAGE_SIZE)).min(entries.len());
    let data = entries.get(query.start..end).unwrap_or_default();
    let next_page = if end < entries.len() { format!("{CURSOR}{end}") } else { "null".to_owned() };
    Ok(Reply::ok(&Entries { success: true, data, previous_page: "null", next_page }))
}

impl Query {
    fn read(text: &str) -> Result<Self, Refused> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            query.take(&name, &value)?;
        }
        Ok(query)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let bad = || Refused::bad("70000000", format!("{name} should not be {value}."));
        match name {
            "exportType" => {
                self.is_error = Some(match value {
                    "ERROR" => true,
                    "SAMPLE" => false,
                    _ => return Err(bad()),
                });
            }
            "runType" => (self.filter.is_debug, self.has_run_type) = (is_debug(value)?, true),
            "queryFromTime" => self.filter.from = Some(time(value)?),
            "queryToTime" => self.filter.to = Some(time(value)?),
            "sessionId" => self.filter.sessions.push(value.to_owned()),
            "operatorId" => self.filter.operators.push(value.to_owned()),
            "pageSize" => {
                let size = value.parse().ok().filter(|size| (1..=PAGE_SIZE_MAX).contains(size));
                self.page_size = Some(size.ok_or_else(bad)?);
            }
            "cursor" => {
                let start = value.strip_prefix(CURSOR).and_then(|start| start.parse().ok());
                self.start = start.ok_or_else(bad)?;
            }
            _ => return Err(bad()),
        }
        Ok(())
    }
}
