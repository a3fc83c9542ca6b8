//! What a client is told before its answer.

use std::task::{Context, Poll};

use pylae_core::Exchange;
use pylae_core::plan::Limits;
use pylae_http::Version;

use crate::client::Client;
use crate::io::socket::Socket;

impl Client {
    /// Sends on the interim answer whose head lies in `exchange`, as far as the client takes it at once; `via`: with a word about this
    /// gateway. One that is not the client's concern is dropped, and so is one that comes while the client has not taken the last:
    /// the answer is never kept waiting for these. False: the client is gone.
    pub(crate) fn forward_interim(&mut self, cx: &mut Context<'_>, exchange: &Exchange, via: bool) -> bool {
        if !accepts_interim(self, exchange) {
            return true;
        }
        self.interim.get_or_insert_default().start(exchange, via);
        !matches!(self.poll_interim(cx), Poll::Ready(false))
    }

    /// Ready once no interim answer is left half written; with whether the client is still there.
    pub(crate) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.interim {
            Some(interim) => interim.poll_write(cx, &mut self.socket, &mut self.written),
            None => Poll::Ready(true),
        }
    }

    /// Writes the rest of an interim answer, no slower than the client must read. Whether the answer can follow.
    pub(crate) async fn finish_interim(&mut self, limits: &Limits) -> bool {
        match self.interim.take() {
            Some(interim) => self.send_part(limits, interim.remaining(), &[], false).await,
            None => true,
        }
    }
}

/// Whether the interim answer in `exchange` is one that its client is told of. Clients of HTTP/1.0 would take it for the answer (section 15.2),
/// and those that open a WebSocket or make a call of gRPC for a wrong one.
fn accepts_interim(client: &Client, exchange: &Exchange) -> bool {
    matches!(exchange.response.head.status, 102 | 103)
        && exchange.request.head.version == Version::Http11
        && !exchange.request.upgrades
        && !exchange.is_call()
        && !matches!(client.socket, Socket::Null)
}
