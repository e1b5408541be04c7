//! Has the daemon compare with Mediation, as the configuration is now.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::run::Run;
use super::supervisor::Role;
use crate::control::Client;
use crate::control::reconcile::background::{self, Plan};

/// The name of the thread that compares.
const MEMBER: &str = "reconcile";

/// Ends the thread that compares.
#[derive(Debug, Default)]
pub(super) struct Reconciling(Option<CancellationToken>);

impl Run {
    /// Compares from now on, where that is wanted. Who did so before ends. A thread, because it reads
    /// and writes the store.
    pub(super) fn keep_reconciling(&mut self) {
        if let Some(until) = self.reconciling.0.take() {
            self.supervisor.expect_end(MEMBER);
            until.cancel();
        }
        let settings = &self.settings;
        let Some(every) = settings.reconcile.every else { return };
        let plan = Plan {
            settings: settings.reconcile,
            every,
            meters: settings.meters.clone(),
            directory: settings.store.directory.clone(),
            receipts_keep: settings.store.receipts_keep,
        };
        let of_tenant = &settings.delivery.tenant;
        let client = Client::of(self.tenant.clone(), of_tenant, background::PATIENCE);
        let until = self.onlookers_until.child_token();
        let (runtime, ends) = (Handle::current(), until.clone());
        let compare = move || {
            runtime.block_on(background::run(plan, client, ends));
            Ok::<(), Error>(())
        };
        match self.supervisor.thread(MEMBER, Role::Stage, compare) {
            Ok(()) => self.reconciling = Reconciling(Some(until)),
            Err(error) => self.fail(error),
        }
    }
}
