//! A whole meter.

use super::client::{Call, Client, Repeat};
use super::{Error, MeterVersion, Said};
use crate::mediation::export::Meter;
use crate::tenant::transport::Method;

/// The meter with all its versions.
pub async fn export(client: &Client, meter: &MeterVersion) -> Result<Said<Meter>, Error> {
    let call = Call::new(Method::Get, &[&"meters", &"export", &meter.id], Repeat::Always);
    Said::read(client.call(call).await?)
}
