//! Where a version stands, now and as it changes.

use std::time::Duration;

use tokio::time::sleep;

use super::client::{Call, Client, Repeat};
use super::{Error, MeterVersion, Said};
use crate::mediation::status::{Answer, RunStatus, Status};
use crate::tenant::transport::Method;

/// Where the version stands.
pub async fn status(client: &Client, meter: &MeterVersion) -> Result<Said<Answer>, Error> {
    let path: [&dyn std::fmt::Display; 4] = [&"meters", &meter.id, &meter.version, &"runStatus"];
    Said::read(client.call(Call::new(Method::Get, &path, Repeat::Always)).await?)
}

/// Looks every `interval` and tells each change, until `is_over`.
pub async fn follow(
    client: &Client,
    meter: &MeterVersion,
    interval: Duration,
    is_over: impl Fn(&RunStatus) -> bool,
    mut tell: impl FnMut(&Said<Answer>),
) -> Result<Status, Error> {
    let mut last = None;
    loop {
        let said = status(client, meter).await?;
        let now = said.told.known().cloned().unwrap_or_default();
        if last.as_ref() != Some(&now) {
            tell(&said);
        }
        if now.run_status.as_ref().is_some_and(&is_over) {
            return Ok(now);
        }
        last = Some(now);
        sleep(interval).await;
    }
}
