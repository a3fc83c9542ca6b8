//! Keys of limits, as requests have them.

use std::net::IpAddr;

use pylae_core::Exchange;
use pylae_core::limit::KeySource;

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
