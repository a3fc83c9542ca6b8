//! A pool of buffers, which are lent out only while bytes are in flight.

use std::cell::RefCell;

use pylae_core::Exchange;

/// Size of the buffers for heads and small bodies.
pub(crate) const SMALL: usize = 16 * 1024;
/// Size of the buffers for large bodies.
pub(crate) const BULK: usize = 128 * 1024;
/// Most small buffers, and most exchanges, kept per worker.
const KEPT: usize = 256;
/// Most bulk buffers kept per worker.
const KEPT_BULK: usize = 16;

/// The pool of one worker.
#[derive(Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    bulk: RefCell<Vec<Vec<u8>>>,
    #[expect(clippy::vec_box, reason = "an exchange is a kilobyte, and is lent out and given back for every request")]
    exchanges: RefCell<Vec<Box<Exchange>>>,
}

impl Buffers {
    pub(crate) fn small(&self) -> Vec<u8> {
        self.small.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    pub(crate) fn bulk(&self) -> Vec<u8> {
        self.bulk.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BULK))
    }

    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let (stock, kept) = match buffer.capacity() {
            SMALL => (&self.small, KEPT),
            BULK => (&self.bulk, KEPT_BULK),
            _ => return,
        };
        let mut stock = stock.borrow_mut();
        if stock.len() < kept {
            stock.push(buffer);
        }
    }

    pub(crate) fn exchange(&self) -> Box<Exchange> {
        self.exchanges.borrow_mut().pop().unwrap_or_else(|| Box::new(Exchange::new(SMALL)))
    }

    pub(crate) fn give_back_exchange(&self, mut exchange: Box<Exchange>) {
        exchange.reset();
        for buffer in [&mut exchange.request.buffer, &mut exchange.response.buffer] {
            buffer.clear();
            buffer.shrink_to(SMALL);
            // A tunnel may have returned the buffer already.
            buffer.reserve_exact(SMALL);
        }
        exchange.scratch.shrink_to(SMALL);
        let mut stock = self.exchanges.borrow_mut();
        if stock.len() < KEPT {
            stock.push(exchange);
        }
    }
}
