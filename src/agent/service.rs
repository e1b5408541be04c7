//! What systemd is told. Without systemd every call does nothing, and the two tasks are not started.
//!
//! The watchdog is fed by progress: by nothing while a stage is stuck, and by nothing when the
//! runtime is, on which the feeding itself runs.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::supervisor::{Role, Supervisor};
use crate::clock::Timestamp;
use crate::store::reader::Reader;
use crate::store::tallies::Equation;
use crate::telemetry::{STUCK, Vitals};

/// What systemd shows in `systemctl status` is so old at most.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Sources are open and the store takes writes.
pub fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; to be followed by [`tell_ready`].
pub fn tell_reloading() {
    // Without the time systemd would not take it for a reload.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "failed to notify the service manager"),
    }
}

/// The agent drains and ends.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Starts what tells systemd of the agent, as far as systemd wants to hear it, until `until`.
pub(super) fn start(
    vitals: Arc<Vitals>,
    (directory, refused): (PathBuf, watch::Receiver<Vec<String>>),
    until: &CancellationToken,
    supervisor: &mut Supervisor,
) {
    if let Some(limit) = sd_notify::watchdog_enabled() {
        let feeding = feed(vitals, limit, until.clone());
        supervisor.task("watchdog", Role::Stage, feeding);
    }
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        supervisor.task(
            "service status",
            Role::Stage,
            tell_status(directory, refused, until.clone()),
        );
    }
}

/// Feeds the watchdog three times within `limit`, but for while a stage is stuck.
async fn feed(
    vitals: Arc<Vitals>,
    limit: Duration,
    until: CancellationToken,
) -> Result<(), Infallible> {
    let mut is_starving = false;
    loop {
        let stuck = vitals.stuck_for(STUCK);
        if stuck.is_empty() {
            tell(&[NotifyState::Watchdog]);
        } else if !is_starving {
            tracing::error!(stages = stuck.join(", "), "no progress: the watchdog is not fed");
        }
        is_starving = !stuck.is_empty();
        tokio::select! {
            // Without this arm the end of the agent would wait for the next meal.
            () = until.cancelled() => return Ok(()),
            () = sleep(limit / 3) => {}
        }
    }
}

/// Tells what waits and how fast it goes.
async fn tell_status(
    directory: PathBuf,
    mut refused: watch::Receiver<Vec<String>>,
    until: CancellationToken,
) -> Result<(), Infallible> {
    let mut before: Option<(Instant, i64)> = None;
    loop {
        let directory = directory.clone();
        let read = move || Reader::open(&directory)?.status(Timestamp::now(), None);
        // Cancelled: the runtime ends.
        if let Ok(read) = tokio::task::spawn_blocking(read).await {
            match read {
                Ok(status) => {
                    let (now, delivered) = (Instant::now(), status.equation.delivered);
                    let since = before.replace((now, delivered));
                    let rate = since.map(|(then, had)| (now - then, delivered - had));
                    let line = line(&status.equation, rate, refused.borrow().len());
                    tell(&[NotifyState::Status(&line)]);
                }
                Err(error) => tracing::debug!(%error, "failed to read the status for systemd"),
            }
        }
        tokio::select! {
            // Without this arm the end of the agent would wait for the next look.
            () = until.cancelled() => return Ok(()),
            () = sleep(STATUS_INTERVAL) => {}
            // Who asked for a reload looks at once.
            Ok(()) = refused.changed() => {}
        }
    }
}

/// The status in a line; `delivered` is a time and how many events were delivered in it, `refused`
/// the problems for which the last reload was.
fn line(equation: &Equation, delivered: Option<(Duration, i64)>, refused: usize) -> String {
    let Equation { stored, dead_lettered, .. } = equation;
    let refused = match refused {
        0 => String::new(),
        1 => "reload refused: 1 problem, see the log; ".to_owned(),
        problems => format!("reload refused: {problems} problems, see the log; "),
    };
    let waiting = format!("{refused}{stored} events wait, {dead_lettered} dead letters");
    match delivered {
        Some((time, events)) if !time.is_zero() => {
            let thousandths = i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1);
            format!("{waiting}, {} delivered a second", events.saturating_mul(1000) / thousandths)
        }
        _ => waiting,
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "failed to notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_a_rate_once_there_is_one() {
        let equation = Equation {
            read: 20,
            delivered: 5,
            dead_lettered: 3,
            ignored: 0,
            discarded: 0,
            stored: 12,
            holds: true,
        };
        let check = |delivered, expected: &str| assert_eq!(line(&equation, delivered, 0), expected);
        check(None, "12 events wait, 3 dead letters");
        check(Some((Duration::ZERO, 5)), "12 events wait, 3 dead letters");
        let times = [(Duration::from_millis(500), 5), (Duration::from_secs(5), 50)];
        for time in times {
            check(Some(time), "12 events wait, 3 dead letters, 10 delivered a second");
        }
        let refused = "reload refused: 2 problems, see the log; 12 events wait, 3 dead letters";
        assert_eq!(line(&equation, None, 2), refused);
    }
}
