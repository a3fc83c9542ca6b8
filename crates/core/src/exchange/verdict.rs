//! The decision of a policy.

use std::pin::Pin;

use super::Exchange;
use super::answer::Answer;
use super::halt::Rejection;
use crate::cache::{Join, StoredResponse};

/// What to do with a request after a policy has run.
pub enum Verdict {
    /// Continue with the next policy.
    Continue,
    /// Refuse the request.
    Reject(Box<Rejection>),
    /// Send this response instead of forwarding the request.
    Answer(Box<Answer>),
    /// Send a stored response, whose head is in the exchange.
    Stored(StoredResponse),
    /// Run this policy again once another exchange's fetch is over or has timed out.
    Join(Join),
    /// The decision needs something outside the worker: await this future first. It costs an allocation, so no common
    /// path uses it.
    Wait(Pin<Box<dyn Future<Output = Resume>>>),
}

/// Runs on the exchange once a [`Verdict::Wait`] is over; its verdict is the policy's verdict.
pub type Resume = Box<dyn FnOnce(&mut Exchange) -> Verdict>;
