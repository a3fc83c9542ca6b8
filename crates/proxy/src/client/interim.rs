//! An interim answer on its way from an instance to the client (RFC 9110 section 15.2).

use std::task::{Context, Poll, ready};

use pylae_core::Exchange;
use pylae_http::encode::{self, FieldSource, StatusLine};
use pylae_http::{Edits, Framing};

use crate::io::socket::Socket;

/// Interim answers that go on to the client, over all attempts of an exchange.
const MAX_FORWARDED: u32 = 8;

/// What an exchange's client is told before its answer.
#[derive(Default)]
pub(crate) struct Interim {
    /// How many were sent on.
    count: u32,
    /// The one that the connection is taking; what it has begun to take must be whole before anything else is written.
    out: Vec<u8>,
    written: usize,
}

impl Interim {
    /// Takes the interim answer whose head lies in `exchange`, unless the connection has not taken the last, or there were too many.
    /// `via`: with a word about this gateway.
    pub(super) fn start(&mut self, exchange: &Exchange, via: bool) {
        if self.count == MAX_FORWARDED || !self.out.is_empty() {
            return;
        }
        self.count += 1;
        let line = StatusLine {
            status: exchange.response.head.status,
            reason: exchange.response.head.reason.of(&exchange.response.buffer),
            stated_length: None,
            close: false,
            keep_alive: false,
            upgrade: false,
            via: via.then_some(exchange.response.via),
        };
        // Those of policies are for the answer.
        let edits = Edits::default();
        let source = FieldSource { edits: &edits, ..exchange.response.fields() };
        encode::response(&mut self.out, line, source, Framing::None);
    }

    /// Ready once nothing is left half written; with whether the client is still there. Adds to `written` what was.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, socket: &mut Socket, written: &mut u64) -> Poll<bool> {
        while self.written < self.out.len() {
            match ready!(socket.poll_write(cx, &self.out[self.written..])) {
                Ok(n) if n > 0 => {
                    self.written += n;
                    *written += n as u64;
                }
                _ => return Poll::Ready(false),
            }
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(true)
    }

    /// What is still to be written.
    pub(super) fn remaining(&self) -> &[u8] {
        &self.out[self.written..]
    }
}
