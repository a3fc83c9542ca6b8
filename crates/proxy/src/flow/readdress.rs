//! Stage: rewrites addresses in an instance's response to those that the client knows. `core/location` decides.

use std::sync::Arc;

use pylae_core::location::{self, Asked};

use crate::flow::Flow;
use crate::snapshot::Route;
use crate::upstream::answer::Forwarded;

impl Flow<'_> {
    /// Records the address that the request was sent to if the response has fields with addresses. The cache stores it
    /// with the response.
    pub(super) fn record_address(&mut self, route: &Route, forwarded: &Forwarded<'_>) {
        let exchange = &mut *self.exchange;
        if exchange.response.head.fields.has_any(location::FIELDS) {
            let (service, instance) = (forwarded.service, forwarded.picked.instance());
            let host = service.host_for(instance, route.preserve_host, exchange);
            let asked = Arc::new(Asked::new(exchange, &service.name, instance, host));
            exchange.set_asked(Some(asked));
        }
    }

    /// Rewrites the addresses in an instance's response. The gateway's own responses stay as they are.
    pub(super) fn readdress(&mut self) {
        if let Some(asked) = self.exchange.asked() {
            let service = self.snapshot.services.get(asked.service()).map(Arc::clone);
            location::rewrite(self.exchange, service.as_ref().map(|service| &service.state));
        }
    }
}
