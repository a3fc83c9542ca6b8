//! Handles the service's response or failure (RFC 9111 sections 3, 4.2.4 and 4.3).

use std::sync::Arc;

use pylae_http::{Framing, Method, Name, Span};

use super::condition::{is_not_modified, strongly_equal};
use super::fetch::{CachedCopy, CopiedBody, Fetch};
use super::flight::FetchOutcome;
use super::serve::{add_cache_status, serve};
use super::storable::{may_be_kept, refreshed, storable};
use super::storage::entry::Entry;
use super::visit::{CacheOutcome, StoredResponse};
use crate::{Exchange, Halt};

/// What to send after the service has responded.
#[derive(Debug)]
pub enum Settled {
    /// The service's response.
    Relay,
    /// A stored response; the service's own is dropped.
    Serve(StoredResponse),
    /// Neither: the service sent a 304 that does not match the request.
    Invalid,
}

/// Decides what to do with the response whose head is in `exchange`. It came from `service`, and its body has this
/// framing.
pub fn on_response(exchange: &mut Exchange, service: &Arc<str>, framing: Framing) -> Settled {
    let Some(mut fetch) = exchange.cache_mut().and_then(|visit| visit.fetch.take()) else { return Settled::Relay };
    let status = exchange.response.head.status;
    if status == 304 && fetch.validates {
        return on_not_modified(*fetch, exchange);
    }
    if matches!(status, 500 | 502..=504)
        && let Some(stale) = stale_on_error(&fetch, exchange)
    {
        return Settled::Serve(serve_stale(*fetch, stale, exchange));
    }
    add_cache_status(exchange, fetch.rules.cache_status, fetch.miss);
    if exchange.request.head.method == Method::Head {
        refresh_from_head(&fetch, exchange);
        return Settled::Relay;
    }
    let Some(entry) = storable(&fetch, exchange, service, framing) else {
        discard(*fetch, exchange);
        return Settled::Relay;
    };
    let length = if let Framing::Length(length) = framing { usize::try_from(length).unwrap_or(0) } else { 0 };
    let Some(body) = CopiedBody::new(&fetch.cache, length) else {
        // So many bodies are being copied that there is no memory for this one now. That says nothing about later
        // responses.
        fetch.finish(FetchOutcome::Alone);
        return Settled::Relay;
    };
    let gets = exchange.request.head.method == Method::Get;
    let cache_only =
        gets && status == 200 && is_not_modified(&exchange.response.head.fields, &exchange.response.buffer, exchange);
    if cache_only {
        exchange.response.status = 304;
        exchange.response.head.reason = Span::default();
    }
    fetch.copy = Some(CachedCopy { entry, body, most: fetch.max_body(), cache_only });
    let done = matches!(framing, Framing::None | Framing::Length(0));
    exchange.cache_visit().fetch = Some(fetch);
    if done && let Some(cache) = exchange.cache_mut() {
        cache.complete();
    }
    Settled::Relay
}

/// Handles a request that the service did not answer. Returns a stale response if one may be used instead.
pub fn on_failure(exchange: &mut Exchange, halt: &Halt) -> Option<StoredResponse> {
    let fetch = exchange.cache_mut().and_then(|visit| visit.fetch.take())?;
    match halt {
        Halt::ConnectFailed | Halt::BadGateway | Halt::GatewayTimeout | Halt::Unavailable(_) | Halt::BreakerOpen(_) => {
        }
        // Not the service's fault: another request may succeed.
        _ => return None,
    }
    if let Some(stale) = stale_on_error(&fetch, exchange) {
        return Some(serve_stale(*fetch, stale, exchange));
    }
    fetch.finish(FetchOutcome::Failed);
    None
}

/// Handles a 304: the stored response is still valid.
fn on_not_modified(fetch: Fetch, exchange: &mut Exchange) -> Settled {
    let stale = fetch.stale.clone().filter(|stale| validator_matches(stale, exchange));
    let Some(entry) = stale.and_then(|stale| refreshed(&stale, &fetch, exchange)).map(Arc::new) else {
        fetch.cache.remove(&fetch.key);
        fetch.finish(FetchOutcome::Alone);
        return Settled::Invalid;
    };
    let stays = may_be_kept(&entry, &fetch, exchange);
    if !stays {
        fetch.cache.remove(&fetch.key);
    } else if fetch.stores || exchange.request.head.method == Method::Head {
        fetch.cache.put(&fetch.key, Arc::clone(&entry));
    }
    let cache_status = fetch.rules.cache_status;
    let fresh = stays && entry.fresh_for(exchange.times.now).is_some() && !entry.control.no_cache;
    fetch.finish(if fresh { FetchOutcome::Stored } else { FetchOutcome::Alone });
    let how = cache_status.then_some(&b"pylae; fwd=stale; fwd-status=304"[..]);
    Settled::Serve(serve(entry, exchange, CacheOutcome::Revalidated, how))
}

/// Returns true if a 304 is about `stale`: their strong validators must match (section 4.3.4).
fn validator_matches(stale: &Entry, exchange: &Exchange) -> bool {
    let said = exchange.response.head.fields.get(&exchange.response.buffer, Name::Etag);
    match (said, stale.field(Name::Etag)) {
        (Some(said), Some(held)) => said == held || said.starts_with(b"W/") || held.starts_with(b"W/"),
        _ => true,
    }
}

/// Returns the stale response that may be used when the service fails (section 4.2.4, RFC 5861 section 4).
fn stale_on_error(fetch: &Fetch, exchange: &Exchange) -> Option<Arc<Entry>> {
    let usable = |entry: &&Arc<Entry>| entry.stale_for(exchange.times.now) < entry.stale_if_error;
    fetch.stale.as_ref().filter(usable).cloned()
}

fn serve_stale(fetch: Fetch, stale: Arc<Entry>, exchange: &mut Exchange) -> StoredResponse {
    let how = fetch.rules.cache_status.then_some(&b"pylae; fwd=stale"[..]);
    fetch.finish(FetchOutcome::Failed);
    serve(stale, exchange, CacheOutcome::Stale, how)
}

/// Updates or removes the response stored for GET by what the response to HEAD says (section 4.3.5).
fn refresh_from_head(fetch: &Fetch, exchange: &Exchange) {
    let Some(stale) = &fetch.stale else { return };
    if exchange.response.head.status != 200 {
        return;
    }
    let said = |name| exchange.response.head.fields.get(&exchange.response.buffer, name);
    let length = said(Name::ContentLength).is_none_or(|length| length == stale.body.len().to_string().as_bytes());
    let same = match (said(Name::Etag), stale.field(Name::Etag)) {
        (Some(said), Some(held)) => strongly_equal(said, held),
        (None, None) => {
            said(Name::LastModified).is_some() && said(Name::LastModified) == stale.field(Name::LastModified)
        }
        _ => false,
    };
    let entry = refreshed(stale, fetch, exchange).filter(|entry| length && same && may_be_kept(entry, fetch, exchange));
    match entry {
        Some(entry) => fetch.cache.put(&fetch.key, Arc::new(entry)),
        None => fetch.cache.remove(&fetch.key),
    }
}

/// Ends a fetch whose response is not stored. Requests that wait are forwarded on their own, and so are later ones,
/// unless the reason lies in this one request.
fn discard(fetch: Fetch, exchange: &Exchange) {
    let fields = &exchange.request.head.fields;
    let usual = !fields.has(Name::Cookie) && !fields.has(Name::Authorization);
    let failed = exchange.response.head.status >= 500;
    if fetch.leader.is_some() && usual && !failed {
        fetch.cache.mark_uncacheable(&fetch.key, exchange.times.now);
    }
    if fetch.stale.is_some() && exchange.response.head.status < 500 && fetch.stores && !fetch.part {
        // A full response replaces the stored one (section 4.3.3).
        fetch.cache.remove(&fetch.key);
    }
    fetch.finish(if failed { FetchOutcome::Failed } else { FetchOutcome::Alone });
}
