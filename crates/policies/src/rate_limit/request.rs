//! Keys of limits, as requests have them.

use std::net::IpAddr;

use pylae_core::Exchange;
use pylae_core::limit::{KeySource, LimitKey};

/// The parts of a request from which keys are written.
pub(super) struct KeyRequest<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) route: &'a str,
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
        self.route
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
    pub(super) fn write<'a>(exchange: &mut Exchange, route: &str, of: impl Fn(usize) -> Option<&'a LimitKey>) -> Self {
        let mut bytes = std::mem::take(&mut exchange.scratch);
        bytes.clear();
        let request = KeyRequest { exchange, route };
        let ends = std::array::from_fn(|index| {
            of(index).inspect(|key| key.write_key(&request, &mut bytes));
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
