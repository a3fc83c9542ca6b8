//! What an unsafe method does to what is stored (RFC 9111 section 4.4), and when its answer is one that GET would have
//! (RFC 9110 section 9.3.3).

use pylae_http::{Method, Name};

use super::freshness::control::ResponseControl;
use super::storage::shared::Cache;
use crate::{Exchange, Instant};

/// Makes invalid what is stored for the target of the request in `exchange` if that may have changed it, whatever its
/// query: the method is not safe and the answer, whose head lies there, is a success.
pub fn changed(cache: &Cache, exchange: &mut Exchange) {
    if exchange.request.head.method.is_safe() || !(200..400).contains(&exchange.response.head.status) {
        return;
    }
    let now = exchange.times.now;
    let before = cache.invalidate(&exchange.request.host, &exchange.request.target.path, now);
    if let Some(fetch) = exchange.cache_mut().and_then(|visit| visit.fetch.as_mut()) {
        // What others have changed or purged meanwhile may be newer than this answer.
        fetch.stores &= before.max(cache.purged()) < fetch.began;
        fetch.changed = Some(Instant::from_nanos(now.as_nanos() + 1));
    }
}

/// Whether the answer in `exchange` is to GET, or to a POST and explicitly what GET would have.
pub(super) fn is_for_get(exchange: &Exchange, control: &ResponseControl) -> bool {
    let (method, response) = (exchange.request.head.method, &exchange.response.head);
    let stated = control.s_maxage.or(control.max_age).is_some() || response.fields.has(Name::Expires);
    method == Method::Get || method == Method::Post && response.status == 200 && stated && is_at_target(exchange)
}

/// Whether Content-Location is the path and query that the service was asked for.
fn is_at_target(exchange: &Exchange) -> bool {
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
