//! Stage: addresses in an instance's answer become those that the client knows. The decision is `core/location`.

use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::location::{self, Asked};

use crate::snapshot::{Route, Snapshot};
use crate::upstream::answer::Taken;

/// Remembers how the instance was asked, if its answer has fields that name addresses. The cache keeps that with the answer.
pub(crate) fn note(taken: &Taken<'_>, route: &Route, exchange: &mut Exchange) {
    if exchange.response.fields.has_any(location::FIELDS) {
        let (service, instance) = (taken.service, taken.picked.instance());
        let host = service.host_for(instance, route.preserve_host, exchange);
        exchange.asked = Some(Arc::new(Asked::new(exchange, &service.name, instance, host)));
    }
}

/// Puts the addresses in the answer as the client knows them. What the gateway itself answers stays.
pub(crate) fn readdress(snapshot: &Snapshot, exchange: &mut Exchange) {
    if let Some(asked) = &exchange.asked {
        let service = snapshot.services.get(asked.service()).map(Arc::clone);
        location::readdress(exchange, service.as_ref().map(|service| &service.state));
    }
}
