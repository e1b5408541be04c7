//! Counts of a meter.

use super::client::{Call, Client, Repeat};
use super::{Error, MeterVersion, Said};
use crate::mediation::summary::{Answer, Request};
use crate::tenant::transport::Method;

/// The counts that are asked for.
pub async fn summary(
    client: &Client,
    meter: &MeterVersion,
    request: &Request,
) -> Result<Said<Answer>, Error> {
    let path: [&dyn std::fmt::Display; 3] = [&"meters", &meter.id, &"summary"];
    let call = Call::new(Method::Post, &path, Repeat::Always).json(request)?;
    Said::read(client.call(call).await?)
}
