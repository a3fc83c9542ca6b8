//! What an HTTP/2 client costs: the frames that it sends, and how fast it reads.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pylae_core::connection::flood::{Flood, FloodLimits};
use pylae_core::plan::Limits;
use pylae_core::{Delivery, Instant, Pace};
use pylae_http::http2::connection::Http2Connection;

use crate::io::clock;

/// Tracks the frames that a client sends and how fast it reads.
pub(crate) struct ClientWatch {
    flood: RefCell<Flood>,
    delivery: RefCell<Delivery>,
    /// How long it may read nothing.
    patience: Duration,
}

impl ClientWatch {
    pub(crate) fn new(limits: &Limits) -> Rc<Self> {
        let flood = FloodLimits { resets: limits.http2.max_resets, idle_frames: limits.http2.max_idle_frames };
        let flood = Flood::new(flood, clock::coarse());
        let delivery = Delivery::new(Pace::new(limits.min_rate, limits.body_grace.0));
        let patience = limits.keep_alive.0.max(limits.body_grace.0);
        Rc::new(Self { flood: RefCell::new(flood), delivery: RefCell::new(delivery), patience })
    }

    /// Hands `bytes` to the connection and counts their frames, until the client has exceeded a limit.
    pub(crate) fn receive(&self, connection: &mut Http2Connection, bytes: &[u8]) {
        let (mut flood, now) = (self.flood.borrow_mut(), clock::coarse());
        connection.receive(bytes, |frame| {
            flood.on_frame(frame, now);
            !flood.is_breached()
        });
        flood.on_faults(connection.take_faults(), now);
        if !connection.is_within_head() {
            flood.on_frame_complete();
        }
    }

    /// When the client counts as too slow in reading, or None while the kernel accepts all writes. Each stream watches
    /// its own windows.
    pub(crate) fn slow_deadline(&self, unacknowledged: impl FnOnce() -> u64) -> Option<Instant> {
        let (now, mut rest) = (clock::coarse(), None);
        let mut delivery = self.delivery.borrow_mut();
        let due = delivery.due(now, self.patience, || *rest.insert(unacknowledged()));
        if rest == Some(0) {
            // Nothing is left to write: the stream was reset.
            delivery.stop_waiting(now);
            return None;
        }
        due
    }

    /// Records the result of a write to the client.
    pub(crate) fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let mut delivery = self.delivery.borrow_mut();
        match written {
            Poll::Ready(Ok(n)) => {
                self.flood.borrow_mut().on_sent(*n);
                delivery.send(*n);
                if delivery.is_waiting() {
                    delivery.stop_waiting(clock::coarse());
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => delivery.start_waiting(clock::coarse()),
        }
    }

    /// Records that an exchange was completed.
    pub(crate) fn served(&self) {
        self.flood.borrow_mut().on_served();
    }

    /// Returns true if the client exceeded a limit.
    pub(crate) fn is_breached(&self) -> bool {
        self.flood.borrow().is_breached()
    }

    /// When the client began the head that is incomplete.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.flood.borrow().head_since()
    }
}
