//! Keys of limits, as requests have them.

use std::net::IpAddr;

use std::cell::RefCell;

use pylae_core::Exchange;
use pylae_core::expression::{Expression, ExpressionPlace, ExpressionScope, RouteNames};
use pylae_core::limit::{KeySource, LimitKey};

/// The parts of a request from which keys are written.
pub(super) struct KeyRequest<'a> {
    pub(super) exchange: &'a Exchange,
    names: RouteNames<'a>,
    /// Why an expression could not be told.
    failed: RefCell<Option<String>>,
}

impl<'a> KeyRequest<'a> {
    pub(super) fn new(exchange: &'a Exchange, names: RouteNames<'a>) -> Self {
        Self { exchange, names, failed: RefCell::default() }
    }
}

/// Appends the key of a request.
pub(super) fn write_key(exchange: &mut Exchange, names: RouteNames<'_>, key: &LimitKey, out: &mut Vec<u8>) {
    let request = KeyRequest::new(exchange, names);
    key.write_key(&request, out);
    if let Some(told) = request.failed.take() {
        exchange.record_failure(ExpressionPlace::Key, told);
    }
}

impl KeySource for KeyRequest<'_> {
    fn user_id(&self) -> Option<&[u8]> {
        self.exchange.request.user.as_ref().map(|user| user.id.as_bytes())
    }

    fn client_ip(&self) -> IpAddr {
        self.exchange.request.origin.client
    }

    fn header<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.exchange.request.head.fields.values(&self.exchange.request.buffer, name).next()
    }

    fn route(&self) -> &str {
        self.names.route
    }

    fn write_expression(&self, expression: &Expression, out: &mut Vec<u8>) -> bool {
        let scope = ExpressionScope { exchange: self.exchange, names: self.names, conclusion: None };
        match expression.write_key(&scope, out) {
            Ok(()) => true,
            Err(failure) => {
                *self.failed.borrow_mut() = Some(expression.tell(&failure));
                false
            }
        }
    }
}

/// The keys of all limits of a policy for one request. `N` is at least the number of limits.
pub(super) struct LimitKeys<const N: usize> {
    /// The exchange's scratch memory, until it is given back.
    pub(super) bytes: Vec<u8>,
    ends: [usize; N],
}

impl<const N: usize> LimitKeys<N> {
    /// Writes the keys of the limits `of` returns by their positions, into the exchange's scratch memory.
    #[inline]
    pub(super) fn write<'a>(
        exchange: &mut Exchange,
        names: RouteNames<'_>,
        of: impl Fn(usize) -> Option<&'a LimitKey>,
    ) -> Self {
        let mut bytes = std::mem::take(&mut exchange.scratch);
        bytes.clear();
        let ends = std::array::from_fn(|index| {
            if let Some(key) = of(index) {
                write_key(exchange, names, key, &mut bytes);
            }
            bytes.len()
        });
        Self { bytes, ends }
    }

    #[inline]
    pub(super) fn of(&self, index: usize) -> &[u8] {
        let start = if index > 0 { self.ends[index - 1] } else { 0 };
        &self.bytes[start..self.ends[index]]
    }
}
