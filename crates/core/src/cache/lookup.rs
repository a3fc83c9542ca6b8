//! Looks up requests in the cache (RFC 9111 section 4).

use std::sync::Arc;
use std::time::Duration;

use pylae_http::{Framing, Method, Name};

use super::fetch::{Fetch, strip};
use super::flight::FetchOutcome;
use super::freshness::control::RequestControl;
use super::rules::CacheRules;
use super::selection::key;
use super::selection::vary::RequestFacts;
use super::serve::{HIT, add_cache_status, serve};
use super::storage::entry::Entry;
use super::storage::shared::{Cache, CacheLookup};
use super::visit::{CacheOutcome, CacheVisit, Join, StoredResponse};
use crate::exchange::halt::Rejection;
use crate::{Exchange, Verdict};

/// Answers the request in `exchange` from the cache, or prepares the request to the service.
pub fn lookup(cache: &Arc<Cache>, rules: &Arc<CacheRules>, exchange: &mut Exchange) -> Verdict {
    let why = bypass_reason(exchange);
    if why.is_some() {
        exchange.cache_visit().outcome = Some(CacheOutcome::Bypass);
    }
    if let Some(why) = why.filter(|_| exchange.request.head.method != Method::Post || exchange.is_call()) {
        add_cache_status(exchange, rules.cache_status, why);
        return Verdict::Continue;
    }
    let mut visit = exchange.slots.take::<CacheVisit>();
    let CacheVisit { key, scratch, .. } = &mut *visit;
    key::write(rules, exchange, key, scratch);
    // A POST is forwarded whatever is stored.
    let found = if why.is_none() { cache.find(rules, exchange, key, scratch) } else { CacheLookup::Nothing };
    exchange.slots.put(visit);
    let control = if rules.client_directives {
        RequestControl::read(&exchange.request.head.fields, &exchange.request.buffer)
    } else {
        RequestControl::default()
    };
    let request = CacheRequest { cache, rules, control };
    if let Some(why) = why {
        return request.forward_post(why, exchange);
    }
    let CacheLookup::Entry(entry) = found else {
        let miss = match found {
            CacheLookup::Parts => &b"pylae; fwd=partial"[..],
            CacheLookup::Others => b"pylae; fwd=vary-miss",
            _ => b"pylae; fwd=uri-miss",
        };
        return request.fetch(None, miss, exchange);
    };
    match reuse(&entry, &request.control, exchange) {
        Reuse::Fresh => Verdict::Stored(serve(entry, exchange, CacheOutcome::Hit, request.hit())),
        Reuse::Stale => Verdict::Stored(serve(entry, exchange, CacheOutcome::Stale, request.hit())),
        Reuse::WhileRevalidating => Verdict::Stored(request.serve_and_refresh(entry, exchange)),
        Reuse::No => {
            // Only the client's directives rule it out (RFC 9211 section 2.2).
            let would_do = entry.fresh_for(exchange.times.now).is_some() && !entry.control.no_cache;
            let miss = if would_do { &b"pylae; fwd=request"[..] } else { b"pylae; fwd=stale" };
            request.fetch(Some(entry), miss, exchange)
        }
    }
}

/// How a stored response may be used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reuse {
    Fresh,
    /// It is stale, and the request or the service's failure allows that.
    Stale,
    /// It is stale and may be used while it is revalidated.
    WhileRevalidating,
    No,
}

fn reuse(entry: &Entry, control: &RequestControl, exchange: &Exchange) -> Reuse {
    let now = exchange.times.now;
    let at_most =
        |limit: Option<u32>, span: Duration| limit.is_none_or(|most| span <= Duration::from_secs(most.into()));
    if control.no_cache || entry.control.no_cache || !at_most(control.max_age, entry.age(now)) {
        return Reuse::No;
    }
    if let Some(left) = entry.fresh_for(now) {
        let long_enough = control.min_fresh.is_none_or(|least| left >= Duration::from_secs(least.into()));
        return if long_enough { Reuse::Fresh } else { Reuse::No };
    }
    let stale = entry.stale_for(now);
    if entry.control.forbids_stale() {
        Reuse::No
    } else if control.max_stale.is_some() && at_most(control.max_stale, stale) {
        Reuse::Stale
    } else if control.min_fresh.is_none() && stale < entry.stale_while_revalidate {
        Reuse::WhileRevalidating
    } else if exchange.cache().and_then(|visit| visit.joined) == Some(FetchOutcome::Failed)
        && stale < entry.stale_if_error
    {
        Reuse::Stale
    } else {
        Reuse::No
    }
}

/// Returns why a request bypasses the cache, if it does.
fn bypass_reason(exchange: &Exchange) -> Option<&'static [u8]> {
    let fields = &exchange.request.head.fields;
    if !matches!(exchange.request.head.method, Method::Get | Method::Head) {
        return Some(b"pylae; fwd=method");
    }
    // A body may change the response and is not part of the key; the conditions are for the origin alone.
    let body = !matches!(exchange.request.framing, Framing::None | Framing::Length(0));
    let other = body || fields.has(Name::IfMatch) || fields.has(Name::IfUnmodifiedSince) || fields.has(Name::Upgrade);
    other.then_some(b"pylae; fwd=bypass")
}

/// A request that the cache handles.
struct CacheRequest<'a> {
    cache: &'a Arc<Cache>,
    rules: &'a Arc<CacheRules>,
    control: RequestControl,
}

impl CacheRequest<'_> {
    /// Serves a stale response now and starts its revalidation, unless another request has started it.
    fn serve_and_refresh(&self, entry: Arc<Entry>, exchange: &mut Exchange) -> StoredResponse {
        let key = self.cache.flight_key(self.rules, exchange);
        let leader = self.cache.flights.begin(&key, exchange.times.now).ok();
        let refresh = leader.map(|leader| {
            let stale = Some(Arc::clone(&entry));
            let stores = self.may_store(exchange);
            Box::new(Fetch { leader: Some(leader), stale, stores, ..self.new_fetch(exchange) })
        });
        StoredResponse { refresh, ..serve(entry, exchange, CacheOutcome::Stale, self.hit()) }
    }

    /// Forwards a POST. Its response may also answer GET.
    fn forward_post(&self, why: &'static [u8], exchange: &mut Exchange) -> Verdict {
        let stores = !self.control.no_store && !key::overrides(exchange);
        exchange.cache_visit().fetch = Some(Box::new(Fetch { stores, miss: why, ..self.new_fetch(exchange) }));
        Verdict::Continue
    }

    /// Asks the service, or waits for another request's fetch. `miss` explains why the cache does not answer.
    fn fetch(&self, stale: Option<Arc<Entry>>, miss: &'static [u8], exchange: &mut Exchange) -> Verdict {
        if self.control.only_if_cached {
            exchange.cache_visit().outcome = Some(CacheOutcome::Miss);
            return Verdict::Reject(Box::new(Rejection {
                status: 504,
                code: "not_cached",
                message: "nothing in the cache answers this request, and it may not be forwarded".into(),
                headers: Vec::new(),
            }));
        }
        exchange.cache_visit().outcome = Some(CacheOutcome::Miss);
        let validates = stale.as_ref().is_some_and(|entry| entry.has_validator());
        let part = exchange.request.head.fields.has(Name::Range) && !validates;
        let stores = self.may_store(exchange);
        let mut fetch = Fetch { stale, stores, part, miss, ..self.new_fetch(exchange) };
        if stores && !part && !self.control.no_cache && !self.cache.is_uncacheable(&fetch.key, exchange.times.now) {
            match self.collapse(&mut fetch, exchange) {
                Some(join) => return Verdict::Join(join),
                // A conditional response would be useless to the others.
                None if fetch.leader.is_some() && !validates => strip(exchange),
                None => {}
            }
        }
        fetch.begin(exchange);
        if !stores && fetch.stale.is_none() {
            add_cache_status(exchange, self.rules.cache_status, fetch.miss);
            return Verdict::Continue;
        }
        exchange.cache_visit().fetch = Some(Box::new(fetch));
        Verdict::Continue
    }

    /// Becomes the leader of a new fetch, or returns the fetch to wait for. Does neither if waiting has already failed.
    fn collapse(&self, fetch: &mut Fetch, exchange: &mut Exchange) -> Option<Join> {
        let wait = self.rules.wait;
        if wait.is_zero()
            || !matches!(exchange.cache().and_then(|visit| visit.joined), None | Some(FetchOutcome::Abandoned))
        {
            return None;
        }
        let key = self.cache.flight_key(self.rules, exchange);
        match self.cache.flights.begin(&key, exchange.times.now) {
            Ok(leader) => {
                fetch.leader = Some(leader);
                None
            }
            // That fetch is slow already.
            Err(flight) if exchange.times.now.since(flight.began) >= wait => None,
            Err(flight) => Some(Join { flight, timeout: wait }),
        }
    }

    /// Returns true if the request allows storing its response.
    fn may_store(&self, exchange: &Exchange) -> bool {
        !self.control.no_store && exchange.request.head.method == Method::Get && !key::overrides(exchange)
    }

    fn hit(&self) -> Option<&'static [u8]> {
        self.rules.cache_status.then_some(HIT)
    }

    fn new_fetch(&self, exchange: &Exchange) -> Fetch {
        Fetch {
            cache: Arc::clone(self.cache),
            rules: Arc::clone(self.rules),
            key: exchange.cache().map_or(&[][..], |visit| &visit.key).into(),
            facts: RequestFacts::of(exchange),
            began: exchange.times.now,
            changed: None,
            leader: None,
            stale: None,
            validates: false,
            stores: true,
            part: false,
            miss: b"pylae; fwd=stale",
            copy: None,
        }
    }
}
