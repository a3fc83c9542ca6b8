//! Streams the body of an instance's response through hooks.

use std::task::{Context, Poll};

use pylae_core::Exchange;
use pylae_core::hook::HookStream;

use crate::io::body_reader::BodyReader;
use crate::io::buffers::SMALL;
use crate::io::socket::Socket;
use crate::upstream::failure::RelayError;

/// The hooks that stream a response body.
pub(crate) struct Streamed {
    stream: Box<dyn HookStream>,
    /// Input of the hooks.
    raw: Vec<u8>,
    complete: bool,
}

impl Streamed {
    /// Starts the stream. `ended`: the instance's body is empty.
    pub(crate) fn new(mut stream: Box<dyn HookStream>, ended: bool) -> Self {
        if ended {
            stream.push(&[], true);
        }
        Self { stream, raw: Vec::with_capacity(SMALL), complete: false }
    }

    /// Returns true once the hooks have produced everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Feeds the hooks and appends a piece of their output. Ready with the number of bytes appended.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut BodyReader,
        instance: &mut Socket,
        exchange: &mut Exchange,
        out: &mut Vec<u8>,
    ) -> Poll<Result<usize, RelayError>> {
        while !source.is_done() && self.stream.poll_ready(cx).is_ready() {
            self.raw.clear();
            match source.poll_data(cx, instance, &mut exchange.response.buffer, &mut self.raw, SMALL) {
                Poll::Ready(Ok(_)) => {
                    // The cache stores bodies as instances send them.
                    if let Some(cache) = exchange.cache_mut() {
                        cache.copy_body(&self.raw);
                    }
                    self.stream.push(&self.raw, source.is_done());
                    if source.is_done()
                        && let Some(cache) = exchange.cache_mut()
                    {
                        cache.complete();
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(RelayError::Instance)),
                Poll::Pending => break,
            }
        }
        let before = out.len();
        match self.stream.poll_pull(cx, out) {
            Poll::Ready(Ok(more)) => {
                self.complete = !more;
                Poll::Ready(Ok(out.len() - before))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(RelayError::Hook)),
            Poll::Pending => Poll::Pending,
        }
    }
}
