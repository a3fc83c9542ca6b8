//! Stage: addresses in an instance's answer become those that the client knows. The decision is `core/location`.

use std::sync::Arc;

use pylae_core::location::{self, Asked};

use crate::flow::Flow;
use crate::snapshot::Route;
use crate::upstream::answer::Forwarded;

impl Flow<'_> {
    /// Remembers how the instance was asked, if its answer has fields that name addresses. The cache keeps that with the answer.
    pub(super) fn record_address(&mut self, route: &Route, forwarded: &Forwarded<'_>) {
        let exchange = &mut *self.exchange;
        if exchange.response.head.fields.has_any(location::FIELDS) {
            let (service, instance) = (forwarded.service, forwarded.picked.instance());
            let host = service.host_for(instance, route.preserve_host, exchange);
            let asked = Arc::new(Asked::new(exchange, &service.name, instance, host));
            exchange.note_asked(asked);
        }
    }

    /// Puts the addresses in the answer as the client knows them. What the gateway itself answers stays.
    pub(super) fn readdress(&mut self) {
        if let Some(asked) = self.exchange.asked() {
            let service = self.snapshot.services.get(asked.service()).map(Arc::clone);
            location::readdress(self.exchange, service.as_ref().map(|service| &service.state));
        }
    }
}
