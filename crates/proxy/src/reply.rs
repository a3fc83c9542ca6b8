//! What an exchange has come to, and how its head is written. Data and encoding; no stage.

pub(crate) mod head;

use pylae_core::cache::StoredResponse;
use pylae_core::exchange::answer;
use pylae_core::{Answer, Exchange, Halt, location};

use crate::client::After;
use crate::io::clock;
use crate::upstream::answer::Forwarded;

/// What the exchange came to.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and a box would be an allocation per request"
)]
pub(crate) enum Reply<'s> {
    /// An instance's answer.
    Forwarded(Forwarded<'s>),
    /// The gateway's own.
    Own(Box<Answer>),
    /// A stored one.
    Stored(StoredResponse),
    /// Nothing: nobody is left to be answered.
    Disconnected,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) after: After,
    /// Whether the response reached the client completely.
    pub(crate) complete: bool,
    /// Whether its duration says how fast it was answered, and not how long its ends wanted to stay connected.
    pub(crate) timed: bool,
}

impl Sent {
    /// Nothing was sent, and the connection cannot go on.
    pub(crate) const NOTHING: Self = Self { after: After::Abort, complete: false, timed: true };
}

impl Reply<'_> {
    /// The one place where an early exit becomes a response. Sets the status that response policies and logs see.
    pub(crate) fn from_halt(halt: &Halt, exchange: &mut Exchange) -> Self {
        exchange.response.status = halt.status();
        exchange.response.code = Some(halt.code());
        match halt {
            Halt::ClientGone => Self::Disconnected,
            _ => Self::own(answer::to_halt(halt, exchange, clock::wall()), exchange),
        }
    }

    /// The gateway's own answer. Its fields become edits, so that response policies see them like any other.
    pub(crate) fn own(answer: Answer, exchange: &mut Exchange) -> Self {
        exchange.response.status = answer.status;
        exchange.response.body_length = Some(answer.body.len() as u64);
        location::forget(exchange);
        exchange.clear_response();
        for (name, value) in &answer.headers {
            // Fields of an answer were validated where they were made; one that is refused all the same is left out.
            let _ = exchange.response.edits.append(name.as_bytes(), value);
        }
        Self::Own(Box::new(answer))
    }
}
