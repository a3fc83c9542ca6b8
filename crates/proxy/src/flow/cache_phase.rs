//! Stage: shows the service's response to the cache.

use pylae_core::Halt;
use pylae_core::cache::{self, Settled};
use pylae_http::Framing;

use crate::flow::Flow;
use crate::io::clock;
use crate::reply::Reply;
use crate::upstream::answer::Forwarded;

impl<'a> Flow<'a> {
    /// Decides what is sent to the client once the request was forwarded: the response itself or a stored one.
    pub(super) fn cache_phase(&mut self, result: Result<Forwarded<'a>, Halt>) -> Result<Reply<'a>, Halt> {
        let (worker, snapshot, exchange) = (self.worker, self.snapshot, &mut *self.exchange);
        let Some(cache) =
            snapshot.cache.as_ref().filter(|_| exchange.is_fetching() || !exchange.request.head.method.is_safe())
        else {
            return result.map(Reply::Forwarded);
        };
        exchange.times.now = clock::now();
        let forwarded = match result {
            Ok(forwarded) => forwarded,
            Err(halt) => {
                let stored = cache::on_failure(exchange, &halt);
                if stored.is_some() {
                    self.record_cache();
                }
                return stored.map(Reply::Stored).ok_or(halt);
            }
        };
        cache::invalidate_changed(cache, exchange);
        let status = exchange.response.head.status;
        let clean =
            forwarded.response.framing == Framing::None && exchange.response.buffer.len() == exchange.response.head.len;
        let persists = exchange.response.options.persists(exchange.response.head.version);
        let framing = match forwarded.response.framing {
            // An HTTP/2 stream marks the end of its body, so that a truncated body is noticed.
            Framing::Close if forwarded.response.connection.is_stream() => Framing::Chunked,
            framing => framing,
        };
        match cache::on_response(exchange, &forwarded.service.name, framing) {
            Settled::Relay => Ok(Reply::Forwarded(forwarded)),
            Settled::Serve(stored) => {
                // The connection of a response without a body can be reused.
                forwarded.release(worker, status == 304 && clean && persists);
                self.record_cache();
                Ok(Reply::Stored(stored))
            }
            Settled::Invalid => Err(Halt::BadGateway),
        }
    }
}
