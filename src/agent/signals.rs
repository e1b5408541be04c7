//! SIGTERM and SIGINT as requests to stop. SIGHUP, which would end the process, asks for a reload.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Request;

/// Passes each of these signals on as a request, for as long as somebody receives.
pub fn requests() -> io::Result<mpsc::Receiver<Request>> {
    let (tell, requests) = mpsc::channel(2);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                _ = terminate.recv() => Request::Stop,
                _ = interrupt.recv() => Request::Stop,
                _ = hang_up.recv() => Request::Reload,
                () = tell.closed() => return,
            };
            if tell.send(request).await.is_err() {
                return;
            }
        }
    });
    Ok(requests)
}
