//! Idle connections to instances, per worker, last used first.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use foldhash::HashMap;
use pylae_core::Instant;

use crate::io::socket::Socket;

struct Idle {
    socket: Socket,
    since: Instant,
    idle_timeout: Duration,
}

/// How long an idle connection is sure enough for a request that may not be sent again: a quarter of the time that it is kept. Around
/// its own keep-alive an instance closes it at the moment at which the request is sent.
pub(crate) fn fresh_for(idle_timeout: Duration) -> Duration {
    idle_timeout / 4
}

/// Per-worker pools, one per instance. A connection is put here only after an exchange without any oddity.
#[derive(Default)]
pub(crate) struct Pools {
    by_instance: RefCell<HashMap<u64, VecDeque<Idle>>>,
}

impl Pools {
    /// The connection used last that is still quiet. Whatever is too old, has died or said something unasked is closed.
    ///
    /// `surely`: it must not end under the request. So it was used of late, and the kernel is asked whether it has ended, which the
    /// event loop may not have heard of yet.
    pub(crate) fn acquire(&self, instance: u64, now: Instant, must_be_fresh: bool) -> Option<Socket> {
        let mut pools = self.by_instance.borrow_mut();
        let pool = pools.get_mut(&instance)?;
        // The others were used before it.
        if must_be_fresh && pool.back().is_some_and(|last| now.since(last.since) >= fresh_for(last.idle_timeout)) {
            return None;
        }
        while let Some(mut idle) = pool.pop_back() {
            if now.since(idle.since) < idle.idle_timeout
                && idle.socket.is_reusable()
                && (!must_be_fresh || idle.socket.peek_open())
            {
                return Some(idle.socket);
            }
        }
        None
    }

    /// Keeps a connection for at most `keep`, and at most `most` of them.
    pub(crate) fn release(&self, instance: u64, socket: Socket, now: Instant, idle_timeout: Duration, max: usize) {
        if socket.is_stream() {
            // Its connection is kept where it is shared.
            return;
        }
        let mut pools = self.by_instance.borrow_mut();
        let pool = pools.entry(instance).or_default();
        while pool.len() >= max.max(1) {
            pool.pop_front();
        }
        if max > 0 {
            pool.push_back(Idle { socket, since: now, idle_timeout });
        }
    }

    /// Closes what has been idle for too long, and whatever has died.
    pub(crate) fn sweep(&self, now: Instant) {
        self.by_instance.borrow_mut().retain(|_, pool| {
            pool.retain_mut(|idle| now.since(idle.since) < idle.idle_timeout && idle.socket.is_reusable());
            !pool.is_empty()
        });
    }

    /// Number of idle connections.
    pub(crate) fn len(&self) -> usize {
        self.by_instance.borrow().values().map(VecDeque::len).sum()
    }
}
