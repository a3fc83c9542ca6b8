//! The future of a request that waits for the store.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::ticket::{Ticket, TicketPhase};
use super::views::Views;
use crate::limit::charge::ChargeDecisions;

/// Yields the decisions. Dropped before that, it gives back what was charged.
#[derive(Debug)]
pub(super) struct StoreWait {
    pub(super) views: Arc<Views>,
    pub(super) ticket: Arc<Ticket>,
}

impl Future for StoreWait {
    type Output = ChargeDecisions;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut ticket = self.ticket.state.lock();
        if ticket.phase == TicketPhase::Waiting {
            ticket.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        ticket.phase = TicketPhase::Over;
        Poll::Ready(ticket.decisions())
    }
}

impl Drop for StoreWait {
    fn drop(&mut self) {
        self.views.abandon(&self.ticket);
    }
}
