//! Idle HTTP/1 connections to instances, per worker, in LIFO order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use foldhash::HashMap;
use pylae_core::Instant;

use crate::io::socket::Socket;

struct Idle {
    socket: Socket,
    since: Instant,
    timeout: Duration,
}

/// How long an idle connection is fresh, that is safe for a request that cannot be resent: a quarter of the idle
/// timeout. Later the instance's own keep-alive may close it just as the request is sent.
pub(crate) fn fresh_for(idle_timeout: Duration) -> Duration {
    idle_timeout / 4
}

/// Pools of one worker, one per instance. Only connections whose last exchange was flawless are pooled.
#[derive(Default)]
pub(crate) struct Pools {
    by_instance: RefCell<HashMap<u64, VecDeque<Idle>>>,
}

impl Pools {
    /// Returns the most recently used connection that is reusable. Closes those that are too old, have ended or have
    /// unexpected input.
    ///
    /// `must_be_fresh`: the connection must not close during the request. So it must have been used recently, and the
    /// kernel is asked whether it has ended, because the event loop may not know yet.
    pub(crate) fn acquire(&self, instance: u64, now: Instant, must_be_fresh: bool) -> Option<Socket> {
        let mut pools = self.by_instance.borrow_mut();
        let pool = pools.get_mut(&instance)?;
        // The others are older.
        if must_be_fresh && pool.back().is_some_and(|last| now.since(last.since) >= fresh_for(last.timeout)) {
            return None;
        }
        while let Some(mut idle) = pool.pop_back() {
            if now.since(idle.since) < idle.timeout
                && idle.socket.is_reusable()
                && (!must_be_fresh || idle.socket.peek_open())
            {
                return Some(idle.socket);
            }
        }
        None
    }

    /// Returns a connection to the pool, which keeps at most `max` of them, each for `idle_timeout`.
    pub(crate) fn release(&self, instance: u64, socket: Socket, now: Instant, idle_timeout: Duration, max: usize) {
        if socket.is_stream() {
            // The connection of a stream is pooled in `http2`.
            return;
        }
        let mut pools = self.by_instance.borrow_mut();
        let pool = pools.entry(instance).or_default();
        while pool.len() >= max.max(1) {
            pool.pop_front();
        }
        if max > 0 {
            pool.push_back(Idle { socket, since: now, timeout: idle_timeout });
        }
    }

    /// Closes connections that were idle for too long or have ended.
    pub(crate) fn sweep(&self, now: Instant) {
        self.by_instance.borrow_mut().retain(|_, pool| {
            pool.retain_mut(|idle| now.since(idle.since) < idle.timeout && idle.socket.is_reusable());
            !pool.is_empty()
        });
    }

    /// Closes up to `count` idle connections, of each instance the oldest first. Returns how many.
    pub(crate) fn close_idle(&self, count: usize) -> usize {
        let mut closed = 0;
        self.by_instance.borrow_mut().retain(|_, pool| {
            let some = pool.len().min(count - closed);
            pool.drain(..some);
            closed += some;
            !pool.is_empty()
        });
        closed
    }

    /// Number of idle connections.
    pub(crate) fn len(&self) -> usize {
        self.by_instance.borrow().values().map(VecDeque::len).sum()
    }
}
