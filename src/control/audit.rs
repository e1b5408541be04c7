//! The audit trail, page by page.

use super::client::{Call, Client, Repeat};
use super::{Error, MeterVersion};
use crate::mediation::audit::{Page, Query};
use crate::tenant::transport::Method;

/// Gives every page to `take`, in order, until there is none left or `take` wants no more.
pub async fn entries<E: From<Error>>(
    client: &Client,
    meter: &MeterVersion,
    query: &Query,
    mut take: impl FnMut(&Page<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    let mut cursor: Option<String> = None;
    loop {
        let path: [&dyn std::fmt::Display; 4] = [&"meters", &meter.id, &"auditTrail", &"entries"];
        let call = Call::new(Method::Get, &path, Repeat::Always);
        let body = client.call(call.query(&query.pairs(cursor.as_deref()))).await?;
        let page = Page::read(&body).map_err(|error| Error::Unreadable(error.to_string()))?;
        let goes_on = take(&page)?;
        let next = page.next_page.filter(|_| goes_on);
        match next {
            // A cursor that leads to itself would never end.
            Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
            _ => return Ok(()),
        }
    }
}
