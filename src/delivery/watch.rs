//! Tells the lanes that the store was changed by somebody whom they do not hear of: a command
//! that puts dead letters back, or decides about a batch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::store::reader::Reader;

/// Between two looks. A person who has typed a command waits so long.
const INTERVAL: Duration = Duration::from_secs(1);

/// Starts to look among `tasks`; ends with the last receiver.
pub fn start(reader: Arc<Mutex<Reader>>, tasks: &mut JoinSet<()>) -> watch::Receiver<i64> {
    let (tell, told) = watch::channel(0);
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tell.closed() => return,
                () = sleep(INTERVAL) => {}
            }
            let reader = Arc::clone(&reader);
            // The disk is not waited for on the runtime's threads.
            let version = tokio::task::spawn_blocking(move || {
                reader.lock().unwrap_or_else(PoisonError::into_inner).version()
            });
            // What cannot be read now is looked at again; the lanes report what stays.
            if let Ok(Ok(version)) = version.await {
                tell.send_if_modified(|seen| std::mem::replace(seen, version) != version);
            }
        }
    });
    told
}
