//! What happens when the service has answered, or has not (RFC 9111 sections 3, 4.2.4 and 4.3).

use std::sync::Arc;

use pylae_http::{Framing, Method, Name, Span};

use super::condition::{has_it, strongly_equal};
use super::fetch::{CachedCopy, CopiedBody, Fetch};
use super::flight::FetchOutcome;
use super::serve::{say, serve};
use super::storable::{may_stay, refreshed, storable};
use super::storage::entry::Entry;
use super::visit::{CacheOutcome, StoredResponse};
use crate::{Exchange, Halt};

/// What is to be sent after the service has answered.
#[derive(Debug)]
pub enum Settled {
    /// Its answer.
    Relay,
    /// A stored response; the service's answer is of no further use.
    Serve(StoredResponse),
    /// Nothing: the answer makes no sense for what was asked.
    Senseless,
}

/// Decides what becomes of the answer whose head lies in `exchange`. It came from `service` and its body is framed so.
pub fn answered(exchange: &mut Exchange, service: &Arc<str>, framing: Framing) -> Settled {
    let Some(mut fetch) = exchange.cache_mut().and_then(|visit| visit.fetch.take()) else { return Settled::Relay };
    let status = exchange.response.head.status;
    if status == 304 && fetch.validates {
        return revalidated(*fetch, exchange);
    }
    if matches!(status, 500 | 502..=504)
        && let Some(stale) = on_error(&fetch, exchange)
    {
        return Settled::Serve(serve_stale(*fetch, stale, exchange));
    }
    say(exchange, fetch.rules.cache_status, fetch.miss);
    if exchange.request.head.method == Method::Head {
        freshen(&fetch, exchange);
        return Settled::Relay;
    }
    let Some(entry) = storable(&fetch, exchange, service, framing) else {
        give_up(*fetch, exchange);
        return Settled::Relay;
    };
    let known = if let Framing::Length(length) = framing { usize::try_from(length).unwrap_or(0) } else { 0 };
    let Some(body) = CopiedBody::new(&fetch.cache, known) else {
        // So much is passing that nothing more is kept at this moment, which says nothing about the next one.
        fetch.land(FetchOutcome::Alone);
        return Settled::Relay;
    };
    let gets = exchange.request.head.method == Method::Get;
    let muted = gets && status == 200 && has_it(&exchange.response.head.fields, &exchange.response.buffer, exchange);
    if muted {
        exchange.response.status = 304;
        exchange.response.head.reason = Span::default();
    }
    fetch.tap = Some(CachedCopy { entry, body, most: fetch.most(), muted });
    let done = matches!(framing, Framing::None | Framing::Length(0));
    exchange.cache_visit().fetch = Some(fetch);
    if done {
        if let Some(cache) = exchange.cache_mut() {
            cache.complete();
        }
    }
    Settled::Relay
}

/// Decides what becomes of a request that the service did not answer. Some: a stale response does instead.
pub fn failed(exchange: &mut Exchange, halt: &Halt) -> Option<StoredResponse> {
    let fetch = exchange.cache_mut().and_then(|visit| visit.fetch.take())?;
    match halt {
        Halt::ConnectFailed | Halt::BadGateway | Halt::GatewayTimeout | Halt::Unavailable(_) | Halt::BreakerOpen(_) => {
        }
        // Not the service's fault: another may be luckier.
        _ => return None,
    }
    if let Some(stale) = on_error(&fetch, exchange) {
        return Some(serve_stale(*fetch, stale, exchange));
    }
    fetch.land(FetchOutcome::Failed);
    None
}

/// The service says that what is stored still holds.
fn revalidated(fetch: Fetch, exchange: &mut Exchange) -> Settled {
    let stale = fetch.stale.clone().filter(|stale| speaks_of(stale, exchange));
    let Some(entry) = stale.and_then(|stale| refreshed(&stale, &fetch, exchange)).map(Arc::new) else {
        fetch.cache.remove(&fetch.key);
        fetch.land(FetchOutcome::Alone);
        return Settled::Senseless;
    };
    let stays = may_stay(&entry, &fetch, exchange);
    if !stays {
        fetch.cache.remove(&fetch.key);
    } else if fetch.stores || exchange.request.head.method == Method::Head {
        fetch.cache.put(&fetch.key, Arc::clone(&entry));
    }
    let cache_status = fetch.rules.cache_status;
    let fresh = stays && entry.fresh_for(exchange.times.now).is_some() && !entry.control.no_cache;
    fetch.land(if fresh { FetchOutcome::Stored } else { FetchOutcome::Alone });
    let how = cache_status.then_some(&b"pylae; fwd=stale; fwd-status=304"[..]);
    Settled::Serve(serve(entry, exchange, CacheOutcome::Revalidated, how))
}

/// Whether a 304 is about `stale`: its strong validator must be the same (section 4.3.4).
fn speaks_of(stale: &Entry, exchange: &Exchange) -> bool {
    let said = exchange.response.head.fields.get(&exchange.response.buffer, Name::Etag);
    match (said, stale.field(Name::Etag)) {
        (Some(said), Some(held)) => said == held || said.starts_with(b"W/") || held.starts_with(b"W/"),
        _ => true,
    }
}

/// What may be given although the service failed (section 4.2.4, RFC 5861 section 4).
fn on_error(fetch: &Fetch, exchange: &Exchange) -> Option<Arc<Entry>> {
    let usable = |entry: &&Arc<Entry>| entry.stale_for(exchange.times.now) < entry.stale_if_error;
    fetch.stale.as_ref().filter(usable).cloned()
}

fn serve_stale(fetch: Fetch, stale: Arc<Entry>, exchange: &mut Exchange) -> StoredResponse {
    let how = fetch.rules.cache_status.then_some(&b"pylae; fwd=stale"[..]);
    fetch.land(FetchOutcome::Failed);
    serve(stale, exchange, CacheOutcome::Stale, how)
}

/// The answer to HEAD says whether what is stored for GET still holds (section 4.3.5).
fn freshen(fetch: &Fetch, exchange: &Exchange) {
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
    let entry = refreshed(stale, fetch, exchange).filter(|entry| length && same && may_stay(entry, fetch, exchange));
    match entry {
        Some(entry) => fetch.cache.put(&fetch.key, Arc::new(entry)),
        None => fetch.cache.remove(&fetch.key),
    }
}

/// The answer is not kept: those who wait ask on their own, and so do the next ones, unless it was only this client's.
fn give_up(fetch: Fetch, exchange: &Exchange) {
    let fields = &exchange.request.head.fields;
    let usual = !fields.has(Name::Cookie) && !fields.has(Name::Authorization);
    let failed = exchange.response.head.status >= 500;
    if fetch.lead.is_some() && usual && !failed {
        fetch.cache.pass(&fetch.key, exchange.times.now);
    }
    if fetch.stale.is_some() && exchange.response.head.status < 500 && fetch.stores && !fetch.part {
        // A full answer takes the place of what was stored (section 4.3.3).
        fetch.cache.remove(&fetch.key);
    }
    fetch.land(if failed { FetchOutcome::Failed } else { FetchOutcome::Alone });
}
