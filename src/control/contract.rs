//! Fetches the schemas of meters with their exports, keeps them, and puts them in force.
//!
//! A schema is in the store before anything is validated with it: what is stored names the one that
//! it was validated with, and after a restart that is the one that is kept. When Mediation cannot be
//! reached, or has no schema that can be used, the last one serves.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::export::export;
use super::{Error, MeterVersion};
use crate::clock::Timestamp;
use crate::meter::Meter;
use crate::schema::difference::{described, differences};
use crate::schema::edition::Edition;
use crate::schema::export::{self, Exported};
use crate::schema::{FieldType, Schema};
use crate::settlement::{Posting, Settlement};
use crate::store;
use crate::store::reader::Reader;
use crate::tenant::backoff;

/// How failures are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The wait after the first failure.
    pub backoff_base: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

/// Why a schema did not come.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Control(#[from] Error),
    #[error("the export has no schema that can be used: {0}")]
    Schema(#[from] export::Error),
    /// Nothing can be kept any more: the agent ends.
    #[error("the store takes nothing")]
    Ended,
}

/// Puts the kept schema of each of `meters` in force that has its schema from its export. One that
/// was never fetched has none afterwards.
pub fn take_kept(reader: &Reader, meters: &[Arc<Meter>]) -> Result<(), store::Error> {
    for meter in meters.iter().filter(|meter| meter.schema.refresh().is_some()) {
        let kept = reader.schema(&meter.name)?;
        // What cannot be read any more is as good as none: it is fetched again.
        let read = kept.and_then(|kept| export::read(kept.document.as_bytes(), |_| ()).ok());
        if let Some(exported) = read {
            meter.schema.set(edition(meter, exported.schema));
        }
    }
    Ok(())
}

/// An edition for `meter`, which may be of no use to it.
fn edition(meter: &Meter, schema: Schema) -> Edition {
    let flaw = flaw(meter, &schema);
    Edition::exported(schema, flaw)
}

/// Why events of `meter` cannot be what `schema` asks for, whatever they hold.
pub fn flaw(meter: &Meter, schema: &Schema) -> Option<String> {
    let id = meter.event_id_field.as_ref();
    let id = id.and_then(|name| schema.fields().iter().find(|field| field.name == *name));
    if let Some(field) = id.filter(|it| !matches!(it.kind, FieldType::String | FieldType::Any)) {
        let described = described(field);
        return Some(format!(
            "event_id_field is {:?}, in the schema a field of type {described}: event ids are texts",
            field.name
        ));
    }
    let limits = meter.guards.event_age_max.or(meter.guards.event_ahead_max);
    (limits.is_some() && schema.event_time().is_none()).then(|| {
        "event_age_max or event_ahead_max is set, and the schema has no field of type datetime"
            .to_owned()
    })
}

/// Fetches the schema of each of `meters` that has it from its export, now and again, until `until`.
pub async fn keep(
    client: Client,
    meters: Vec<Arc<Meter>>,
    postings: Sender<Posting>,
    timing: Timing,
    until: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    let client = Arc::new(client);
    // A meter that does not answer must not delay another.
    let mut tasks = JoinSet::new();
    for meter in meters {
        let Some(refresh) = meter.schema.refresh() else { continue };
        let keeper = Keeper {
            client: Arc::clone(&client),
            meter,
            refresh,
            postings: postings.clone(),
            timing,
            failures: 0,
        };
        tasks.spawn(keeper.run());
    }
    // The committer waits for these senders.
    drop(postings);
    until.cancelled().await;
    tasks.shutdown().await;
    Ok(())
}

struct Keeper {
    client: Arc<Client>,
    meter: Arc<Meter>,
    refresh: Duration,
    postings: Sender<Posting>,
    timing: Timing,
    /// Failures in a row.
    failures: u32,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let meter = Arc::clone(&self.meter);
            let name = &*meter.name;
            let wait = match self.fetch().await {
                Ok(()) => {
                    if self.failures > 0 {
                        tracing::info!(meter = name, "the schema comes again");
                    }
                    self.failures = 0;
                    self.refresh
                }
                Err(Failure::Ended) => return,
                Err(error) => {
                    if self.failures == 0 {
                        tell(name, &error, meter.schema.now().is_some());
                    }
                    self.failures += 1;
                    let Timing { backoff_base, backoff_max } = self.timing;
                    backoff::wait(backoff_base, backoff_max, self.failures, None, fastrand::f64())
                }
            };
            sleep(wait).await;
        }
    }

    async fn fetch(&self) -> Result<(), Failure> {
        let meter = &self.meter;
        // The configuration was checked for it.
        let Some(id) = meter.id.clone() else { return Err(Failure::Ended) };
        let version = MeterVersion { id, version: Arc::clone(&meter.version) };
        let said = export(&self.client, &version).await?;
        let mut warnings = Vec::new();
        let exported = export::read(&said.body, |warning| warnings.push(warning))?;
        self.take(exported, &warnings).await
    }

    async fn take(&self, exported: Exported, warnings: &[String]) -> Result<(), Failure> {
        let meter = &self.meter;
        let Exported { schema, document, .. } = exported;
        let edition = edition(meter, schema);
        let Some(hash) = edition.hash else { return Ok(()) };
        let at = Timestamp::now();
        let (name, document) = (Arc::clone(&meter.name), document.into());
        let (committed, wait) = oneshot::channel();
        let settlement = Settlement::Schema { meter: name, hash, document, at };
        self.postings.send(Posting { settlement, committed }).map_err(|_| Failure::Ended)?;
        // In the store before anything is validated with it.
        wait.await.map_err(|_| Failure::Ended)?;
        let before = meter.schema.now();
        let name = &*meter.name;
        if before.as_ref().and_then(|before| before.hash) == Some(hash) {
            return Ok(());
        }
        for warning in warnings {
            tracing::warn!(meter = name, warning, "odd in the schema");
        }
        match before {
            None => {
                let fields = edition.schema.fields().len();
                tracing::info!(meter = name, fields, "the schema has come");
            }
            Some(before) => {
                let differences = differences(&before.schema, &edition.schema).join("; ");
                tracing::warn!(meter = name, differences, "the schema has changed");
            }
        }
        meter.schema.set(edition);
        Ok(())
    }
}

fn tell(meter: &str, error: &Failure, is_served: bool) {
    if is_served {
        tracing::warn!(meter, %error, "cannot fetch the schema, the last one serves");
    } else {
        tracing::error!(meter, %error, "cannot fetch the schema, the sources of the meter wait");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;

    #[test]
    fn a_schema_with_which_no_event_of_the_meter_can_go_out_is_flawed() {
        let field =
            |name: &str, kind| Field { name: name.into(), kind, required: false, format: None };
        let check = |kind, age: Option<u64>, expected: Option<&str>| {
            let schema = Schema::new(vec![field("Id", kind), field("At", FieldType::String)]);
            let mut meter = Meter::new("m", String::new());
            meter.event_id_field = Some("Id".into());
            meter.guards.event_age_max = age.map(Duration::from_secs);
            let found = schema.ok().and_then(|schema| flaw(&meter, &schema));
            let found = found.as_deref().map(|words| words.split(' ').next().unwrap_or_default());
            assert_eq!(found, expected, "{kind:?}");
        };
        check(FieldType::String, None, None);
        check(FieldType::Any, None, None);
        check(FieldType::Number, None, Some("event_id_field"));
        check(FieldType::DateTime, Some(1), Some("event_id_field"));
        check(FieldType::String, Some(1), Some("event_age_max"));
    }
}
