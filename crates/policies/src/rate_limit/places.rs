//! Places for exchanges at once: of this node, or of the cluster, for which an exchange may have to wait.

use pylae_core::limit::concurrency::ConcurrencyIdentity;
use pylae_core::limit::{ConcurrencyPermit, PendingPlace, PlaceOutcome, PlaceVerdict, headers};
use pylae_core::{Exchange, Instant, Resume, Verdict};

use super::concurrency::{Concurrency, ConcurrencyCounter};
use super::request::write_key;
use super::{KeyRequest, RateLimit, clocks, reject};

impl RateLimit {
    /// Gets a place for the exchange, or returns the verdict: a refusal, or one that waits for the cluster, which runs
    /// this policy again.
    pub(super) fn acquire(
        &self,
        concurrency: &Concurrency,
        exchange: &mut Exchange,
    ) -> Result<ConcurrencyPermit, Verdict> {
        let mut key = std::mem::take(&mut exchange.scratch);
        key.clear();
        write_key(exchange, self.names(), &concurrency.key, &mut key);
        let permit = match &concurrency.counted {
            ConcurrencyCounter::Node(salt) => Ok(self.shared.in_flight.acquire(*salt, &key, concurrency.limit)),
            ConcurrencyCounter::Cluster(identity) => self.acquire_shared(concurrency, identity, &key, exchange),
        };
        exchange.scratch = key;
        permit?.ok_or_else(|| self.reject_concurrency(concurrency, exchange))
    }

    /// Gets a place of the cluster, None if there is none, or returns the verdict that waits for it.
    fn acquire_shared(
        &self,
        concurrency: &Concurrency,
        identity: &ConcurrencyIdentity,
        key: &[u8],
        exchange: &mut Exchange,
    ) -> Result<Option<ConcurrencyPermit>, Verdict> {
        let decided = if let Some(verdict) = exchange.admitted_mut().awaited_place.take() {
            verdict
        } else {
            let Some(shared) = &self.shared.shared_in_flight else { return Ok(None) };
            match shared.acquire(identity, key, concurrency.limit, exchange.times.now) {
                PlaceOutcome::Decided(verdict) => verdict,
                PlaceOutcome::Pending(place) => return Err(wait(place)),
            }
        };
        Ok(match decided {
            PlaceVerdict::Admitted(permit) => Some(permit),
            PlaceVerdict::Refused => None,
        })
    }

    fn reject_concurrency(&self, concurrency: &Concurrency, exchange: &mut Exchange) -> Verdict {
        if concurrency.reported {
            let mut value = Vec::new();
            headers::write_concurrency(&mut value, &concurrency.name, 0);
            self.append_headers(exchange, &value);
        }
        // Nothing tells when another exchange will end.
        reject("too many requests at the same time", b"1".to_vec())
    }

    /// Returns how many places are left for a request, as far as it is known, and a text about them.
    pub(super) fn preview_concurrency(
        &self,
        concurrency: &Concurrency,
        request: &KeyRequest<'_>,
    ) -> (Option<u32>, String) {
        let Concurrency { name, limit, key: by, .. } = concurrency;
        let mut key = Vec::new();
        by.write_key(request, &mut key);
        let left = self.places_left(concurrency, &key, clocks(request.exchange).now);
        let known = left.map_or("an unknown number".to_owned(), |left| left.to_string());
        (left, format!("`{name}`: {limit} at once by {by}, {known} left"))
    }

    /// Returns how many places are left for a key, as far as it is known here.
    pub(super) fn places_left(&self, concurrency: &Concurrency, key: &[u8], now: Instant) -> Option<u32> {
        match &concurrency.counted {
            ConcurrencyCounter::Node(salt) => {
                Some(concurrency.limit.saturating_sub(self.shared.in_flight.count(*salt, key)))
            }
            ConcurrencyCounter::Cluster(identity) => {
                self.shared.shared_in_flight.as_ref().and_then(|shared| shared.left(identity, key, now))
            }
        }
    }
}

/// Waits for a place, and runs the policy again.
fn wait(place: PendingPlace) -> Verdict {
    Verdict::Wait(Box::pin(async move {
        let verdict = place.await;
        Box::new(move |exchange: &mut Exchange| {
            exchange.admitted_mut().awaited_place = Some(verdict);
            exchange.entered -= 1;
            Verdict::Continue
        }) as Resume
    }))
}
