//! An exchange: one request and its response, as policies and stages see them.
//!
//! The object is reused from one request to the next; once it is warm, a request allocates nothing in it.

pub mod answer;
pub mod filter;
pub mod halt;
pub mod request;
pub mod response;
pub mod slots;
pub mod times;
pub mod timing;
pub mod transform;
pub mod user;
pub mod verdict;

use std::time::Duration;

use self::request::Request;
use self::response::Response;
use self::slots::Slots;
use self::times::Times;
use crate::trace::context::TraceContext;

/// One request and its response.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// The response.
    pub response: Response,
    /// Start, current time and time spent upstream.
    pub times: Times,
    /// Index of the matched route in the plan.
    pub route: Option<usize>,
    /// Number of policies of the route's chain that were entered.
    pub entered: usize,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Index of the instance asked last, among the instances of its service.
    pub instance: Option<usize>,
    /// True once any of the request may have reached an instance, which may then have acted on it.
    pub sent: bool,
    /// True if the steps of the exchange are recorded. Most exchanges are not.
    pub recorded: bool,
    /// The trace that it belongs to, if traces are switched on.
    pub trace_context: TraceContext,
    /// True if what its policies cost is measured. Of most exchanges it is not.
    pub timed: bool,
    /// Per-exchange state of the features.
    pub slots: Slots,
    /// Scratch memory. Its content is only valid within the function that fills it.
    pub scratch: Vec<u8>,
}

impl Exchange {
    /// Creates an exchange with buffers of `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let mut exchange = Self::default();
        exchange.request.buffer.reserve_exact(capacity);
        exchange.request.id.reserve_exact(36);
        exchange.response.buffer.reserve_exact(capacity);
        exchange
    }

    /// Prepares for the next request and keeps the memory. Bytes in the request's buffer that belong to no request yet
    /// stay, and so does what every request sets anyway: its origin, the limit of its body, its start time.
    pub fn reset(&mut self) {
        let Self { request, response, times, route, entered, attempts, instance, sent, .. } = self;
        let Self { recorded, trace_context, timed, slots, scratch: _, .. } = self;
        request.reset();
        response.reset();
        times.upstream = Duration::ZERO;
        *route = None;
        *entered = 0;
        *attempts = 0;
        *instance = None;
        *sent = false;
        *recorded = false;
        trace_context.trace_id = 0;
        trace_context.sampled = false;
        *timed = false;
        slots.reset();
    }

    /// Drops the instance's response: its bytes and everything that refers to them.
    pub fn clear_response(&mut self) {
        self.response.clear();
    }
}
