//! A whole meter.

use super::client::{Call, Client, Repeat};
use super::{Error, MeterVersion, Said};
use crate::mediation::export::Meter;
use crate::tenant::transport::Method;

/// The meter with all its versions.
pub async fn export(client: &Client, meter: &MeterVersion) -> Result<Said<Meter>, Error> {
    let path: [&dyn std::fmt::Display; 3] = [&"meters", &"export", &meter.id];
    Said::read(client.call(Call::new(Method::Get, &path, Repeat::Always)).await?)
}
