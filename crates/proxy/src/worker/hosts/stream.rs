//! A response body that passes through the hooks of a host.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use pylae_core::hook::flat::FlatMessageKind;
use pylae_core::hook::{HookFailed, HookStream};
use pylae_core::limit::ReservedCosts;

use super::exchange::HostedExchange;
use super::lane::Lane;
use super::turn::{MOST_PIECES, Turn};

/// The worker's end of a body.
pub(super) struct HostedStream {
    exchange: Arc<HostedExchange>,
    /// The body, as the host knows it.
    key: u64,
    reserved: Option<Arc<ReservedCosts>>,
    /// The last piece was sent.
    has_sent_all: bool,
}

impl HostedStream {
    pub(super) fn new(exchange: Arc<HostedExchange>, key: u64, reserved: Option<Arc<ReservedCosts>>) -> Self {
        Self { exchange, key, reserved, has_sent_all: false }
    }

    fn lane(&self) -> Option<Rc<Lane>> {
        Lane::known(&self.exchange.link)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Turn) -> T) -> Option<T> {
        self.lane()?.with(self.key, look)
    }
}

impl HookStream for HostedStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waits = self.with(|turn| {
            let waits = turn.untaken >= MOST_PIECES && !turn.ended && !turn.broken && !turn.lost;
            if waits {
                turn.register(cx);
            }
            waits
        });
        if waits == Some(true) { Poll::Pending } else { Poll::Ready(()) }
    }

    fn push(&mut self, piece: &[u8], end: bool) {
        self.has_sent_all |= end;
        // After the generators have ended, the rest of the body is discarded.
        let goes_on = self.with(|turn| {
            let goes_on = !turn.ended && !turn.broken && !turn.lost;
            turn.untaken += usize::from(goes_on);
            goes_on
        });
        let Some(lane) = self.lane().filter(|_| goes_on == Some(true)) else { return };
        let kind = if end { FlatMessageKind::LastPiece } else { FlatMessageKind::Piece };
        if !lane.send(kind, self.key, |to| to.0.extend_from_slice(piece)) {
            lane.with(self.key, |turn| turn.broken = true);
        }
    }

    fn poll_pull(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<bool, HookFailed>> {
        let Some(lane) = self.lane() else { return Poll::Ready(Err(HookFailed)) };
        let (key, has_sent_all, reserved) = (self.key, self.has_sent_all, self.reserved.as_ref());
        let pulled = lane.with(key, |turn| {
            for (limit, cost) in turn.told.drain(..) {
                if let Some(reserved) = reserved {
                    reserved.tell(limit, cost);
                }
            }
            if let Some(piece) = turn.pieces.pop_front() {
                out.extend_from_slice(&piece);
                return Poll::Ready(Ok(true));
            }
            // A host that is lost after its last piece has done all it had to.
            if turn.broken || (turn.lost && !turn.ended) {
                return Poll::Ready(Err(HookFailed));
            }
            // The instance's body is still read to its end, so that its connection can be reused.
            if turn.ended && has_sent_all {
                return Poll::Ready(Ok(false));
            }
            turn.register(cx);
            Poll::Pending
        });
        match pulled {
            Some(Poll::Ready(Ok(true))) => {
                lane.send(FlatMessageKind::Taken, key, |_| {});
                Poll::Ready(Ok(true))
            }
            Some(other) => other,
            None => Poll::Ready(Err(HookFailed)),
        }
    }
}

impl Drop for HostedStream {
    fn drop(&mut self) {
        if let Some(lane) = self.lane() {
            lane.take(self.key);
            lane.send(FlatMessageKind::End, self.key, |_| {});
        }
    }
}

/// A body that no host takes.
pub(super) struct BrokenStream;

impl HookStream for BrokenStream {
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn push(&mut self, _piece: &[u8], _end: bool) {}

    fn poll_pull(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) -> Poll<Result<bool, HookFailed>> {
        Poll::Ready(Err(HookFailed))
    }
}
