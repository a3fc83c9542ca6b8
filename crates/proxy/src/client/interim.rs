//! An interim response on its way from an instance to the client (RFC 9110 section 15.2).

use std::task::{Context, Poll, ready};

use pylae_core::Exchange;
use pylae_http::encode::{self, FieldSource, StatusLine};
use pylae_http::{Edits, Framing};

use crate::io::socket::Socket;

/// Most interim responses forwarded in an exchange, over all attempts.
const MAX_FORWARDED: u32 = 8;

/// The interim responses of an exchange.
#[derive(Default)]
pub(crate) struct Interim {
    /// Number of interim responses forwarded.
    count: u32,
    /// The one being written. It must be complete before anything else is written.
    out: Vec<u8>,
    written: usize,
}

impl Interim {
    /// Encodes the interim response whose head is in `exchange`, with a Via field if `via`. Does nothing if the last
    /// one is not written yet or the limit is reached.
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
        // The edits of policies apply to the final response only.
        let edits = Edits::default();
        let source = FieldSource { edits: &edits, ..exchange.response.fields() };
        encode::response(&mut self.out, line, source, Framing::None);
    }

    /// Ready with true once it is written, or with false if the client disconnected. Adds the bytes to `written`.
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

    /// The bytes that are not written yet.
    pub(super) fn remaining(&self) -> &[u8] {
        &self.out[self.written..]
    }
}
