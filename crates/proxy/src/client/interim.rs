//! Interim answers on their way from an instance to the client (RFC 9110 section 15.2).

use std::task::{Context, Poll, ready};

use pylae_core::Exchange;
use pylae_core::plan::Limits;
use pylae_http::encode::{self, FieldSource, StatusLine};
use pylae_http::{Edits, Framing, Version};

use crate::client::Client;
use crate::io::socket::Socket;

/// Interim answers that go on to the client, over all attempts of an exchange.
const MOST_FORWARDED: u32 = 8;

/// What an exchange's client is told before its answer.
#[derive(Default)]
pub(crate) struct Interim {
    /// How many were sent on.
    count: u32,
    /// The one that the connection is taking; what it has begun to take must be whole before anything else is written.
    out: Vec<u8>,
    written: usize,
}

impl Client {
    /// Sends on the interim answer whose head lies in `exchange`, as far as the client takes it at once; `via`: with a word about this
    /// gateway. One that is not the client's concern is dropped, and so is one that comes while the client has not taken the last:
    /// the answer is never kept waiting for these. False: the client is gone.
    pub(crate) fn inform(&mut self, cx: &mut Context<'_>, exchange: &Exchange, via: bool) -> bool {
        if !concerns(self, exchange) {
            return true;
        }
        let interim = self.interim.get_or_insert_default();
        if interim.count == MOST_FORWARDED || !interim.out.is_empty() {
            return true;
        }
        interim.count += 1;
        let line = StatusLine {
            status: exchange.response.status,
            reason: exchange.response.reason.of(&exchange.response_buffer),
            stated_length: None,
            close: false,
            keep_alive: false,
            upgrade: false,
            via: via.then_some(exchange.response_via),
        };
        // Those of policies are for the answer.
        let edits = Edits::default();
        let source = FieldSource { edits: &edits, ..exchange.response_fields() };
        encode::response(&mut interim.out, line, source, Framing::None);
        !matches!(self.poll_informed(cx), Poll::Ready(false))
    }

    /// Ready once no interim answer is left half written; with whether the client is still there.
    pub(crate) fn poll_informed(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(interim) = &mut self.interim else { return Poll::Ready(true) };
        while interim.written < interim.out.len() {
            match ready!(self.socket.poll_write(cx, &interim.out[interim.written..])) {
                Ok(n) if n > 0 => {
                    interim.written += n;
                    self.written += n as u64;
                }
                _ => return Poll::Ready(false),
            }
        }
        interim.out.clear();
        interim.written = 0;
        Poll::Ready(true)
    }

    /// Writes the rest of an interim answer, no slower than the client must read. Whether the answer can follow.
    pub(crate) async fn finish_informing(&mut self, limits: &Limits) -> bool {
        match self.interim.take() {
            Some(interim) => self.send_on(limits, &interim.out[interim.written..], &[], false).await,
            None => true,
        }
    }
}

/// Whether the interim answer in `exchange` is one that its client is told of. Clients of HTTP/1.0 would take it for the answer (section 15.2),
/// and those that open a WebSocket or make a call of gRPC for a wrong one.
fn concerns(client: &Client, exchange: &Exchange) -> bool {
    matches!(exchange.response.status, 102 | 103)
        && exchange.head.version == Version::Http11
        && !exchange.upgrades
        && !exchange.is_call()
        && !matches!(client.socket, Socket::Nobody)
}
