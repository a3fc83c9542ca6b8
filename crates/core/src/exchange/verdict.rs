//! What a policy decides.

use std::pin::Pin;

use super::Exchange;
use super::answer::Answer;
use super::halt::Rejection;
use crate::cache::{Join, StoredResponse};

/// What a policy makes of a request.
pub enum Verdict {
    /// Let it pass.
    Continue,
    /// Refuse it.
    Reject(Box<Rejection>),
    /// Answer it here.
    Answer(Box<Answer>),
    /// Answer it with a stored response, whose head lies in the exchange.
    Stored(StoredResponse),
    /// Ask this policy again once another exchange's fetch is over, or has taken too long.
    Join(Join),
    /// Not known yet: for what must wait for something outside the worker. Costs an allocation, so never on a common path.
    Wait(Pin<Box<dyn Future<Output = Resume>>>),
}

/// What is done with the exchange once a [`Verdict::Wait`] is over; its verdict stands for the policy's.
pub type Resume = Box<dyn FnOnce(&mut Exchange) -> Verdict>;
