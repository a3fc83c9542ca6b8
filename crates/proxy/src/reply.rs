//! The reply of an exchange and the encoding of its head. Data and encoding, no stage.

pub(crate) mod head;

use pylae_core::cache::StoredResponse;
use pylae_core::exchange::answer::{self, FoundPages};
use pylae_core::plan::ErrorPages;
use pylae_core::{Answer, Exchange, Halt, location};

use crate::client::After;
use crate::io::clock;
use crate::upstream::answer::Forwarded;

/// The result of an exchange.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and a box would be an allocation per request"
)]
pub(crate) enum Reply<'s> {
    /// An instance's response.
    Forwarded(Forwarded<'s>),
    /// A response of the gateway itself.
    Own(Box<Answer>),
    /// A response from the cache.
    Stored(StoredResponse),
    /// None, because the client has disconnected.
    Disconnected,
}

/// What became of the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) after: After,
    /// True if the response was written completely.
    pub(crate) complete: bool,
    /// True if the duration counts as response time. False for tunnels and event streams.
    pub(crate) timed: bool,
}

impl Sent {
    /// Nothing was sent, and the connection cannot go on.
    pub(crate) const NOTHING: Self = Self { after: After::Abort, complete: false, timed: true };
}

impl Reply<'_> {
    /// Turns an early exit into a response. This is the only place. Sets the status that response policies and logs
    /// see. `layers` are the error pages, those that go before others first.
    pub(crate) fn from_halt(halt: &Halt, exchange: &mut Exchange, layers: &[&ErrorPages]) -> Self {
        let status = halt.status();
        exchange.response.status = status;
        exchange.response.code = Some(halt.code());
        if *halt == Halt::ClientGone {
            return Self::Disconnected;
        }
        let pages = FoundPages::of(status, layers);
        let reply = Self::own(answer::to_halt(halt, exchange, clock::wall(), pages), exchange);
        if pages.is_some() && !exchange.is_call() {
            exchange.response.vary("Accept");
        }
        reply
    }

    /// Makes a response of the gateway. Its fields become edits, so that response policies see them like any other.
    pub(crate) fn own(answer: Answer, exchange: &mut Exchange) -> Self {
        exchange.response.status = answer.status;
        exchange.response.body_length = Some(answer.body.len() as u64);
        location::undo(exchange);
        exchange.clear_response();
        for (name, value) in &answer.headers {
            // The fields were validated where they were made. One that is refused nevertheless is left out.
            let _ = exchange.response.edits.append(name.as_bytes(), value);
        }
        Self::Own(Box::new(answer))
    }
}
