//! What systemd is told. Without systemd every call does nothing.

use sd_notify::NotifyState;

/// Sources are open and the store takes writes.
pub fn tell_ready() {
    tell(NotifyState::Ready);
}

/// The agent drains and ends.
pub fn tell_stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "failed to notify the service manager");
    }
}
