//! A body that passes through the hooks of a host.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pylae_core::hook::flat::FlatMessageKind;
use pylae_core::hook::{HookStream, HostedVisit};
use tokio::task::AbortHandle;

use super::lane::HostLane;
use crate::worker::hosts::turn::MOST_PIECES;

/// A body, between the worker and its hooks.
pub(super) struct HostBody {
    lane: Rc<HostLane>,
    key: u64,
    hosted: Option<Box<HostedVisit>>,
    state: RefCell<BodyState>,
    task: RefCell<Option<AbortHandle>>,
}

#[derive(Default)]
struct BodyState {
    /// Pieces from the worker, of which the last is marked.
    input: VecDeque<(Vec<u8>, bool)>,
    /// Pieces that the worker has not taken.
    untaken: usize,
    waker: Option<Waker>,
}

impl HostBody {
    /// Begins to pass a body through `stream`.
    pub(super) fn begin(
        lane: &Rc<HostLane>,
        key: u64,
        stream: Box<dyn HookStream>,
        hosted: Option<Box<HostedVisit>>,
    ) -> Rc<Self> {
        let (state, task) = (RefCell::default(), RefCell::default());
        let body = Rc::new(Self { lane: Rc::clone(lane), key, hosted, state, task });
        let passing = Rc::clone(&body);
        let task = tokio::task::spawn_local(async move {
            let mut stream = stream;
            poll_fn(|cx| passing.poll(&mut *stream, cx)).await;
        });
        *body.task.borrow_mut() = Some(task.abort_handle());
        body
    }

    /// Adds a piece from the worker.
    pub(super) fn add(&self, piece: &[u8], is_last: bool) {
        self.state.borrow_mut().input.push_back((piece.to_vec(), is_last));
        self.wake();
    }

    /// The worker has taken a piece.
    pub(super) fn give_room(&self) {
        {
            let mut state = self.state.borrow_mut();
            state.untaken = state.untaken.saturating_sub(1);
        }
        self.wake();
    }

    /// Nobody wants it any more.
    pub(super) fn end(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.state.borrow_mut().waker.take() {
            waker.wake();
        }
    }

    fn send(&self, kind: FlatMessageKind, piece: &[u8]) -> bool {
        self.lane.send(kind, self.key, |to| to.0.extend_from_slice(piece))
    }

    fn poll(&self, stream: &mut dyn HookStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        state.waker = Some(cx.waker().clone());
        while !state.input.is_empty() && stream.poll_ready(cx).is_ready() {
            if let Some((piece, is_last)) = state.input.pop_front() {
                stream.push(&piece, is_last);
                self.send(FlatMessageKind::Taken, &[]);
            }
        }
        let ended = loop {
            if state.untaken >= MOST_PIECES {
                break None;
            }
            let mut piece = Vec::new();
            match stream.poll_pull(cx, &mut piece) {
                Poll::Ready(Ok(true)) if self.send(FlatMessageKind::Piece, &piece) => state.untaken += 1,
                Poll::Ready(Ok(false)) => break Some(FlatMessageKind::LastPiece),
                Poll::Ready(Ok(true) | Err(_)) => break Some(FlatMessageKind::Broken),
                Poll::Pending => break None,
            }
        };
        for told in self.hosted.iter().flat_map(|hosted| hosted.take_told()) {
            self.lane.send(FlatMessageKind::Cost, self.key, |to| to.told(told));
        }
        let Some(end) = ended else { return Poll::Pending };
        self.send(end, &[]);
        Poll::Ready(())
    }
}
