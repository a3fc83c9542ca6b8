//! What probes are told of the gateway.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the gateway answers clients, and whether it takes new ones. Nothing here waits: probes ask when all else is
/// stuck.
#[derive(Debug)]
pub struct Liveness {
    /// False while no worker answers.
    live: AtomicBool,
    /// False from when a stop was asked for.
    ready: AtomicBool,
    /// True while the gateway does not know yet what is revoked in its cluster.
    joining: AtomicBool,
    /// True while a hook keeps all other Python code from running.
    held: AtomicBool,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            live: AtomicBool::new(true),
            ready: AtomicBool::new(true),
            joining: AtomicBool::new(false),
            held: AtomicBool::new(false),
        }
    }
}

impl Liveness {
    /// Says whether any worker answers.
    pub fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Relaxed);
    }

    /// Says whether the gateway must still learn what is revoked in its cluster before it is ready.
    pub fn set_joining(&self, joining: bool) {
        self.joining.store(joining, Ordering::Relaxed);
    }

    /// Says whether a hook keeps all other Python code from running.
    pub fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// True while a hook keeps all other Python code from running.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Says that a stop was asked for.
    pub fn stop(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }

    /// True from when a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        !self.ready.load(Ordering::Relaxed)
    }

    /// The status for `/live`: `live` is good, `stuck` is not.
    pub fn live(&self) -> &'static str {
        if self.live.load(Ordering::Relaxed) { "live" } else { "stuck" }
    }

    /// The status for `/ready`: `ready` is good, `stopping`, `stuck` and `joining` are not.
    pub fn ready(&self) -> &'static str {
        if self.is_stopping() {
            return "stopping";
        }
        match (self.live.load(Ordering::Relaxed), self.joining.load(Ordering::Relaxed)) {
            (false, _) => "stuck",
            (true, true) => "joining",
            (true, false) => "ready",
        }
    }
}
