//! SIGTERM and SIGINT as requests to stop. SIGHUP, which would end the process, is only logged.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Passes each SIGTERM and SIGINT on as a message, for as long as somebody receives.
pub fn stops() -> io::Result<mpsc::Receiver<()>> {
    let (tell, stops) = mpsc::channel(2);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {
                    tracing::warn!("the configuration is read at the start only: restart to reload");
                    continue;
                }
                () = tell.closed() => return,
            }
            if tell.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(stops)
}
