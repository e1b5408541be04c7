//! To test a version of a meter.

use super::client::{Call, Client, Repeat};
use super::{Error, MeterVersion, Said};
use crate::mediation::debug::{Answer, Request};
use crate::tenant::transport::Method;

/// Starts a test. One whose answer was lost is started again: a test changes nothing.
pub async fn test(
    client: &Client,
    meter: &MeterVersion,
    request: &Request,
) -> Result<Said<Answer>, Error> {
    let path: [&dyn std::fmt::Display; 4] = [&"meters", &"debug", &meter.id, &meter.version];
    let call = Call::new(Method::Post, &path, Repeat::Always).json(request)?;
    Said::read(client.call(call).await?)
}
