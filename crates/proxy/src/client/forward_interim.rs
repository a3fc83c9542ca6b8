//! Forwarding of interim responses (1xx) to the client.

use std::task::{Context, Poll};

use pylae_core::Exchange;
use pylae_core::plan::Limits;
use pylae_http::Version;

use crate::client::Client;
use crate::io::socket::Socket;

impl Client {
    /// Forwards the interim response whose head is in `exchange`, with a Via field if `via`. Returns false if the
    /// client disconnected.
    ///
    /// Drops those that the client does not understand, and those that arrive before the last was written: the final
    /// response never waits for interim ones.
    pub(crate) fn forward_interim(&mut self, cx: &mut Context<'_>, exchange: &Exchange, via: bool) -> bool {
        if !accepts_interim(self, exchange) {
            return true;
        }
        self.interim.get_or_insert_default().start(exchange, via);
        !matches!(self.poll_interim(cx), Poll::Ready(false))
    }

    /// Ready with true once no interim response is partly written, or with false if the client disconnected.
    pub(crate) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.interim {
            Some(interim) => interim.poll_write(cx, &mut self.socket, &mut self.written),
            None => Poll::Ready(true),
        }
    }

    /// Writes the rest of an interim response at the minimum rate. Returns true if the final response can follow.
    pub(crate) async fn finish_interim(&mut self, limits: &Limits) -> bool {
        match self.interim.take() {
            Some(interim) => self.send_part(limits, interim.remaining(), &[], false).await,
            None => true,
        }
    }
}

/// Returns true if the interim response in `exchange` may be forwarded. HTTP/1.0 clients would take it for the final
/// response (RFC 9110 section 15.2), and clients that open a WebSocket or call gRPC for a failure.
fn accepts_interim(client: &Client, exchange: &Exchange) -> bool {
    matches!(exchange.response.head.status, 102 | 103)
        && exchange.request.head.version == Version::Http11
        && !exchange.request.upgrades
        && !exchange.is_call()
        && !matches!(client.socket, Socket::Null)
}
