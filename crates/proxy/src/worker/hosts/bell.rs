//! Descriptors of events, by which the two sides wake each other.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::unix::AsyncFd;

/// Wakes whoever waits for it.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn of(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    pub(crate) fn ring(&self) {
        // Fails only if it was rung 2^64 times, and wakes then too.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        // Fails only if it was not rung, which a host may claim.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    /// Has this thread's runtime watch it.
    pub(crate) fn watch(&self) -> io::Result<WatchedBell> {
        let own = Self(self.0.try_clone()?);
        // SAFETY: a `Bell` owns its descriptor until it is dropped, and nobody replaces one in an `AsyncFd`.
        Ok(WatchedBell(unsafe { AsyncFd::register(own) }?))
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A bell that the runtime watches.
#[derive(Debug)]
pub(crate) struct WatchedBell(AsyncFd<Bell>);

impl WatchedBell {
    /// Waits until it is rung.
    pub(crate) async fn rung(&self) {
        if let Ok(mut ready) = self.0.readable().await {
            self.0.get_ref().clear();
            ready.clear_ready();
        }
    }
}
