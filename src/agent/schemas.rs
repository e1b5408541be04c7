//! Has the schemas fetched of those meters that have them from their exports, as the configuration
//! is now.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::run::Run;
use super::supervisor::Role;
use crate::control::{Client, contract};

/// The name of the task that fetches them.
const MEMBER: &str = "schemas";

/// Ends the task that fetches them.
#[derive(Debug, Default)]
pub(super) struct Keeping(Option<CancellationToken>);

impl Run {
    /// Fetches them from now on, for as long as lanes may have to wait for one. Who did so before ends.
    pub(super) fn keep_schemas(&mut self) {
        if let Some(until) = self.schemas.0.take() {
            self.supervisor.expect_end(MEMBER);
            until.cancel();
        }
        let is_exported = |meter: &&Arc<_>| crate::meter::Meter::is_exported(meter);
        let meters: Vec<_> = self.settings.meters.iter().filter(is_exported).cloned().collect();
        let Some(postings) = self.postings.clone().filter(|_| !meters.is_empty()) else { return };
        let of_tenant = &self.settings.delivery.tenant;
        // Each failure is told and waited for by who keeps the schemas.
        let client = Client::of(self.tenant.clone(), of_tenant, Duration::ZERO);
        let timing = contract::Timing {
            backoff_base: of_tenant.backoff_base,
            backoff_max: of_tenant.backoff_max,
        };
        let until = self.onlookers_until.child_token();
        let keep = contract::keep(client, meters, postings, timing, until.clone());
        self.supervisor.task(MEMBER, Role::Stage, keep);
        self.schemas = Keeping(Some(until));
    }
}
