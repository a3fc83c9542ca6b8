//! The runtime of a thread.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::io::dns;
use crate::telemetry::log::Log;

/// The pause before another try to build a runtime.
const RETRY: Duration = Duration::from_secs(1);

/// Builds the runtime of a thread.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(dns::THREADS).build()
}

/// Builds the runtime of a thread that starts again: the panic may have left the last one without its parts. Tries
/// until it succeeds, or returns None once the thread is to end.
pub(crate) fn rebuild_runtime(log: &Log, mut is_stopped: impl FnMut() -> bool) -> Option<Runtime> {
    loop {
        match runtime() {
            Ok(runtime) => return Some(runtime),
            Err(error) => {
                log.write("error", "thread_failed", format!("a thread could not be started again: {error}"));
            }
        }
        if is_stopped() {
            return None;
        }
        std::thread::sleep(RETRY);
    }
}
