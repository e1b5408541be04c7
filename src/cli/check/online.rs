//! `meterd check --online`: token, meters, schemas. Nothing is sent but questions.

use std::sync::Arc;
use std::time::Duration;

use super::Error as CheckError;
use crate::agent;
use crate::cli::runtime::Runtime;
use crate::control::doctor::{Definitions, Seen, look};
use crate::control::{Client, Error, MeterVersion};
use crate::meter::Meter;

/// What was found, and how it ends.
pub(super) struct Report {
    pub(super) lines: Vec<String>,
    /// Problems in the lines.
    pub(super) problems: usize,
    /// Whether something was not answered in time.
    pub(super) is_unreachable: bool,
}

/// Asks for a token, and for each meter with an id its run status and its schema.
pub(super) fn look_at(
    settings: &agent::Settings,
    patience: Duration,
) -> Result<Report, CheckError> {
    let runtime = Runtime::start().map_err(CheckError::Runtime)?;
    let client = {
        let _inside = runtime.enter();
        Client::connect(&settings.delivery.tenant, patience).map_err(CheckError::Client)?
    };
    let mut report = Report { lines: Vec::new(), problems: 0, is_unreachable: false };
    runtime.block_on(async {
        let token = client.token().await;
        if !report.take("token", token.map(|()| "there is one".to_owned())) {
            return;
        }
        for meter in &settings.meters {
            report.look_at(&client, meter).await;
        }
    });
    Ok(report)
}

impl Report {
    async fn look_at(&mut self, client: &Client, meter: &Arc<Meter>) {
        let name = format!("meter {}", meter.name);
        let Some(id) = meter.id.clone() else {
            self.lines.push(format!("{name}: not looked at, it has no `id`"));
            return;
        };
        let version = MeterVersion { id, version: Arc::clone(&meter.version) };
        let Seen { definition, status, .. } = look(client, &version).await;
        self.take(&name, status.map(|status| status.to_string()));
        match definition {
            Ok(Definitions { schema: Ok(exported), .. }) => {
                let fields = exported.schema.fields().len();
                self.lines.push(format!("{name}: its schema has {fields} fields"));
            }
            Ok(Definitions { schema: Err(error), .. }) => {
                self.lines.push(format!("problem: {name}: its export: {error}"));
                self.problems += 1;
            }
            Err(error) => {
                self.take(&name, Err(error));
            }
        }
    }

    /// Notes what was answered; false when it is a problem.
    fn take(&mut self, what: &str, answer: Result<String, Error>) -> bool {
        match answer {
            Ok(words) => self.lines.push(format!("{what}: {words}")),
            Err(error) => {
                self.is_unreachable |= matches!(error, Error::Unreachable(_) | Error::Unknown(_));
                self.problems += 1;
                self.lines.push(format!("problem: {what}: {error}"));
                return false;
            }
        }
        true
    }
}
