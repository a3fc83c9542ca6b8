//! An exchange: one request and its response, as policies and stages see them.
//!
//! The object is used again and again; nothing in it is allocated per request once it is warm.

pub mod answer;
pub mod halt;
pub mod request;
pub mod response;
pub mod slots;
pub mod times;
pub mod transform;
pub mod user;
pub mod verdict;

use std::time::Duration;

use self::request::Request;
use self::response::Response;
use self::slots::Slots;
use self::times::Times;

/// One request and its response.
#[derive(Debug, Default)]
pub struct Exchange {
    /// What the client asks.
    pub request: Request,
    /// What it is answered.
    pub response: Response,
    /// When.
    pub times: Times,
    /// Index of the route in the plan, once there is one.
    pub route: Option<usize>,
    /// How many policies of the route's chain were entered.
    pub entered: usize,
    /// How often an instance was asked.
    pub attempts: u32,
    /// Place of the instance asked last among those of its service.
    pub instance: Option<usize>,
    /// What features remember of it.
    pub slots: Slots,
    /// Memory for the bytes of a moment. What it holds means nothing to anyone else.
    pub scratch: Vec<u8>,
}

impl Exchange {
    /// An exchange with buffers of `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let mut exchange = Self::default();
        exchange.request.buffer.reserve_exact(capacity);
        exchange.request.id.reserve_exact(36);
        exchange.response.buffer.reserve_exact(capacity);
        exchange
    }

    /// Forgets everything but the bytes of the request's buffer that no request has claimed yet, and keeps the memory. What every request
    /// brings anew is left as it is: where it comes from, the bound of its body, when it began.
    pub fn reset(&mut self) {
        let Self { request, response, times, route, entered, attempts, instance, slots, scratch: _ } = self;
        request.reset();
        response.reset();
        times.upstream = Duration::ZERO;
        *route = None;
        *entered = 0;
        *attempts = 0;
        *instance = None;
        slots.reset();
    }

    /// Forgets what an instance answered: its bytes, and all that lies in them.
    pub fn clear_response(&mut self) {
        self.slots.forget_response();
        self.response.clear();
    }
}
