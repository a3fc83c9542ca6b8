//! Invalidation by unsafe methods (RFC 9111 section 4.4), and responses to POST that also answer GET (RFC 9110 section
//! 9.3.3).

use pylae_http::{Method, Name};

use super::freshness::control::ResponseControl;
use super::storage::shared::Cache;
use crate::{Exchange, Instant};

/// Invalidates everything stored for the target path of the request in `exchange`, whatever the query, if the method is
/// unsafe and the response was successful.
pub fn invalidate_changed(cache: &Cache, exchange: &mut Exchange) {
    if exchange.request.head.method.is_safe() || !(200..400).contains(&exchange.response.head.status) {
        return;
    }
    let now = exchange.times.now;
    let before = cache.invalidate(&exchange.request.host, &exchange.request.target.path, now);
    cache.tell(&exchange.request.host, &exchange.request.target.path);
    if let Some(fetch) = exchange.cache_mut().and_then(|visit| visit.fetch.as_mut()) {
        // Another request may have changed or purged the target since; then this response may be outdated.
        fetch.stores &= before.max(cache.purged()) < fetch.began;
        fetch.changed = Some(Instant::from_nanos(now.as_nanos() + 1));
    }
}

/// Returns true for a response to GET, and for one to POST that explicitly answers GET too.
pub(super) fn is_for_get(exchange: &Exchange, control: &ResponseControl) -> bool {
    let (method, response) = (exchange.request.head.method, &exchange.response.head);
    let stated = control.s_maxage.or(control.max_age).is_some() || response.fields.has(Name::Expires);
    method == Method::Get || method == Method::Post && response.status == 200 && stated && names_target(exchange)
}

/// Returns true if Content-Location is the path and query that the service was asked for.
fn names_target(exchange: &Exchange) -> bool {
    let mut said = exchange.response.head.fields.values(&exchange.response.buffer, "content-location");
    let (Some(place), None) = (said.next(), said.next()) else { return false };
    let path = if exchange.request.forward_path.is_empty() {
        &exchange.request.target.path
    } else {
        &exchange.request.forward_path
    };
    match place.iter().position(|byte| *byte == b'?') {
        Some(at) => place[..at] == path[..] && Some(&place[at + 1..]) == exchange.request.sent_query(),
        None => *place == path[..] && exchange.request.sent_query().is_none(),
    }
}
