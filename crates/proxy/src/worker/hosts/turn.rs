//! What a worker knows of a call, or of a body that passes, in a host.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use pylae_core::hook::ToldCost;

use super::link::HostLink;

/// Most pieces of a body that are on their way in each direction.
pub(crate) const MOST_PIECES: usize = 4;

/// A call that the host has not answered, or a body that passes through it.
#[derive(Debug)]
pub(crate) struct Turn {
    link: Arc<HostLink>,
    /// What the hooks have come to.
    pub(crate) done: Option<Vec<u8>>,
    /// The host is lost.
    pub(crate) lost: bool,
    /// Pieces that have come back.
    pub(crate) pieces: VecDeque<Vec<u8>>,
    /// Pieces that were sent and not taken yet.
    pub(crate) untaken: usize,
    /// The last piece has come back.
    pub(crate) ended: bool,
    /// A hook has failed in the middle of the body.
    pub(crate) broken: bool,
    /// True costs that hooks have told while the body passes.
    pub(crate) told: Vec<ToldCost>,
    waker: Option<Waker>,
}

impl Turn {
    /// Begins a call.
    pub(crate) fn new(link: &Arc<HostLink>) -> Self {
        link.in_flight.fetch_add(1, Ordering::Relaxed);
        link.calls.fetch_add(1, Ordering::Relaxed);
        Self {
            link: Arc::clone(link),
            done: None,
            lost: false,
            pieces: VecDeque::new(),
            untaken: 0,
            ended: false,
            broken: false,
            told: Vec::new(),
            waker: None,
        }
    }

    /// Registers the task to wake when anything changes.
    pub(crate) fn register(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.link.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
