//! Compares every meter again and again, beside delivery and within the same budget.
//!
//! What is found is told when it changes, not each time that it is found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Comparison, Error, Report, Settings};
use crate::clock::Timestamp;
use crate::control::{Client, MeterVersion};
use crate::meter::Meter;
use crate::store::editor::Editor;

/// How long each request is tried; the next round tries again.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is compared, and where the books are.
#[derive(Debug)]
pub struct Plan {
    /// Which time.
    pub settings: Settings,
    /// From one round to the next.
    pub every: Duration,
    /// The meters; those without an id are left out.
    pub meters: Vec<Arc<Meter>>,
    /// The directory of the store.
    pub directory: PathBuf,
    /// How long receipts are kept.
    pub receipts_keep: Duration,
}

/// Compares until `until` is cancelled. It reads and writes the store: it needs a thread of its own.
pub async fn run(plan: Plan, client: Client, until: CancellationToken) {
    let mut rounds = interval(plan.every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: BTreeMap<Arc<str>, Told> = BTreeMap::new();
    let repeat = async {
        loop {
            rounds.tick().await;
            for meter in &plan.meters {
                let Some(id) = meter.id.clone() else { continue };
                let version = MeterVersion { id, version: Arc::clone(&meter.version) };
                let found = plan.compare(meter, &version, &client).await;
                told.entry(Arc::clone(&meter.name)).or_default().tell(meter, found);
            }
        }
    };
    tokio::select! {
        // Without this arm the end of the agent would wait for Mediation. What is cut off between
        // two transactions goes on in the first round of the next run.
        () = until.cancelled() => {}
        () = repeat => {}
    }
}

impl Plan {
    async fn compare(
        &self,
        meter: &Arc<Meter>,
        version: &MeterVersion,
        client: &Client,
    ) -> Result<Report, Error> {
        let span = self.settings.span(None, None, Timestamp::now())?;
        let mut editor = Editor::open(&self.directory)?;
        let comparison = Comparison { meter, version, span, receipts_keep: self.receipts_keep };
        comparison.run(client, &mut editor).await
    }
}

/// What was told of a meter.
#[derive(Debug, Default)]
struct Told {
    has_failed: bool,
    /// Events that nothing explains.
    unexplained: i64,
}

impl Told {
    fn tell(&mut self, meter: &Meter, found: Result<Report, Error>) {
        let meter = &*meter.name;
        let report = match found {
            Ok(report) => report,
            Err(error) => {
                if !self.has_failed {
                    tracing::warn!(meter, %error, "failed to reconcile, trying again");
                }
                self.has_failed = true;
                return;
            }
        };
        if std::mem::take(&mut self.has_failed) {
            tracing::info!(meter, "reconciled again");
        }
        if report.filed > 0 {
            let events = report.filed;
            tracing::error!(meter, events, "Mediation refused events after it had accepted them");
        }
        let unexplained = if report.is_explained() { 0 } else { report.unexplained };
        if unexplained != self.unexplained {
            let (from, to) = (report.from, report.to);
            if unexplained == 0 {
                tracing::info!(meter, %from, %to, "delivered and put out are even again");
            } else {
                tracing::error!(
                    meter,
                    unexplained,
                    %from,
                    %to,
                    "what was delivered is not what Mediation put out"
                );
            }
        }
        self.unexplained = unexplained;
    }
}
