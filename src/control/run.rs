//! To run and to stop a version of a meter.

use super::client::{Call, Client, Repeat};
use super::{Error, MeterVersion, Said};
use crate::mediation::run::{self, Answer, Request, Stopped, is_duplicate_key};
use crate::tenant::transport::Method;

/// What came of a request to run.
#[derive(Debug)]
pub enum Started {
    /// It was started.
    Now(Box<Said<Answer>>),
    /// There was a run with the unique key already: by this request, whose answer was lost, or by
    /// one before.
    Before,
}

/// Starts a run. With a unique key it is started once, however often that has to be tried;
/// without, a request of which nobody knows the outcome is not repeated.
pub async fn run(
    client: &Client,
    meter: &MeterVersion,
    request: &Request,
) -> Result<Started, Error> {
    let has_key = request.unique_key.is_some();
    let repeat = if has_key { Repeat::Always } else { Repeat::UnlessDone };
    let path: [&dyn std::fmt::Display; 4] = [&"meters", &"run", &meter.id, &meter.version];
    let call = Call::new(Method::Post, &path, repeat).json(request)?;
    match client.call(call).await {
        Ok(body) => Ok(Started::Now(Box::new(Said::read(body)?))),
        Err(Error::Refused { errors, .. }) if has_key && errors.iter().any(is_duplicate_key) => {
            Ok(Started::Before)
        }
        Err(error) => Err(error),
    }
}

/// What came of a request to stop.
#[derive(Debug)]
pub enum Stop {
    /// It was accepted.
    Accepted(Said<Stopped>),
    /// It stops, or stands: by this request, whose answer was lost.
    Before,
}

/// Asks a version to stop: with a savepoint, or at once, which may lose data that is under way.
pub async fn stop(client: &Client, meter: &MeterVersion, is_forced: bool) -> Result<Stop, Error> {
    let path: [&dyn std::fmt::Display; 4] = [&"meters", &"stop", &meter.id, &meter.version];
    let call = Call::new(Method::Post, &path, Repeat::Always);
    let call = call.query(&[("forceStop", is_forced.to_string())]);
    match client.call(call).await {
        Ok(body) => Ok(Stop::Accepted(Said::read(body)?)),
        Err(Error::Refused { errors, may_be_done: true, .. })
            if errors.iter().any(run::is_stopped) =>
        {
            Ok(Stop::Before)
        }
        Err(error) => Err(error),
    }
}
