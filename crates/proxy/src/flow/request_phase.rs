//! Stage: runs the request policies of the route.

use std::sync::Arc;

use pylae_core::cache::{FetchOutcome, StoredResponse};
use pylae_core::request::{max_forwards, websocket};
use pylae_core::route::RouteQuery;
use pylae_core::trace::{StepKind, WaitedFor};
use pylae_core::{Answer, Halt, Verdict};
use pylae_http::Method;
use tracing::debug;

use crate::flow::Flow;
use crate::reply::Reply;
use crate::snapshot::Route;

impl<'a> Flow<'a> {
    /// Checks a WebSocket handshake if the route allows one, then runs the request halves, the body halves if a policy
    /// inspects the body, and the hooks. Returns None if the request should be forwarded.
    pub(super) async fn request_phase(&mut self, route: &'a Route) -> Result<Option<Reply<'a>>, Halt> {
        let result = self.request_policies(route).await;
        let exchange = &mut *self.exchange;
        if tracing::enabled!(tracing::Level::DEBUG) {
            if let Some(why) = exchange.no_session() {
                let reason = why.name();
                debug!(id = %exchange.request.id.escape_ascii(), reason, "the session cookie counts as none");
            }
            if let Some(cache) = exchange.cache_outcome() {
                debug!(id = %exchange.request.id.escape_ascii(), ?cache, "looked up in the cache");
            }
        }
        let cancelled = match &result {
            // Without a fetch of its own there is nothing to cancel.
            Ok(None | Some(Reply::Stored(_))) => None,
            // Other exchanges may wait for this fetch. If the client disconnected, one of them takes over. If something
            // after the cache ended this exchange, each proceeds on its own and in parallel, because it must be judged
            // by itself.
            Err(Halt::ClientGone) => Some(FetchOutcome::Abandoned),
            _ => Some(FetchOutcome::Alone),
        };
        if let Some(outcome) = cancelled
            && let Some(cache) = exchange.cache_mut()
        {
            cache.cancel(outcome);
        }
        result
    }

    async fn request_policies(&mut self, route: &'a Route) -> Result<Option<Reply<'a>>, Halt> {
        if route.websocket.is_some() {
            websocket::admit(self.exchange)?;
        }
        let service = || route.own_target(self.exchange).map(|service| &*service.name);
        let mut refusal = self.worker.maintenance().rejection(Some(&route.name), service);
        let mut verdict = match refusal {
            None => route.chain.request(self.exchange),
            // Those before it still decide, so that a barred client learns nothing, and pages can read the answer.
            Some(_) => route.chain.request_before_users(self.exchange),
        };
        // Index of the next body half, once the body is buffered.
        let mut next = None;
        loop {
            verdict = match verdict {
                Verdict::Continue if refusal.is_some() => {
                    debug!(id = %self.exchange.request.id.escape_ascii(), route = %route.name, "switched to maintenance");
                    return Err(refusal.take().map_or(Halt::NoService, Halt::Rejected));
                }
                Verdict::Continue => match route.chain.body_limit().filter(|_| next.is_none()) {
                    None => return self.after_policies(route).await,
                    Some(limit) => {
                        self.wait_for_body(limit).await?;
                        self.body_policies(route, next.insert(0))
                    }
                },
                Verdict::Answer(answer) => {
                    debug!(
                        id = %self.exchange.request.id.escape_ascii(),
                        policy = route.chain.name_before(next.unwrap_or(self.exchange.entered)), status = answer.status,
                        "answered by a policy"
                    );
                    self.count_answer(next.unwrap_or(self.exchange.entered), answer.status);
                    return Ok(Some(Reply::own(*answer, self.exchange)));
                }
                Verdict::Stored(stored) => return Ok(Some(self.stored(stored))),
                Verdict::Reject(rejection) => {
                    debug!(
                        id = %self.exchange.request.id.escape_ascii(),
                        policy = route.chain.name_before(next.unwrap_or(self.exchange.entered)), code = rejection.code,
                        "rejected by a policy"
                    );
                    self.count_refusal(next.unwrap_or(self.exchange.entered), rejection.status);
                    return Err(Halt::Rejected(rejection));
                }
                Verdict::Wait(mut wait) => {
                    let began = self.wait_began();
                    let waited = self.client.wait_for(route.timeout, self.exchange, |cx| wait.as_mut().poll(cx)).await;
                    self.wait_ended(&route.chain, next, began);
                    let resume = waited?.ok_or_else(|| self.timed_out(next))?;
                    match &mut next {
                        None if refusal.is_some() => match resume(self.exchange) {
                            Verdict::Continue => route.chain.request_before_users(self.exchange),
                            verdict => verdict,
                        },
                        None => route.chain.resume(self.exchange, resume),
                        Some(next) => match resume(self.exchange) {
                            Verdict::Continue => self.body_policies(route, next),
                            verdict => verdict,
                        },
                    }
                }
                Verdict::Join(join) => {
                    let began = self.wait_began();
                    let outcome = self.client.wait_for(join.timeout, self.exchange, |cx| join.flight.poll(cx)).await;
                    self.fetch_ended(&route.chain, began);
                    self.exchange.cache_visit().joined = Some(outcome?.unwrap_or(FetchOutcome::Alone));
                    route.chain.rerun_last(self.exchange)
                }
            };
        }
    }

    /// Reads the body for policies that see it whole.
    async fn wait_for_body(&mut self, limit: usize) -> Result<(), Halt> {
        let began = self.step_began();
        let read = self.buffer_body(limit).await;
        self.step_ended(StepKind::Wait(WaitedFor::Body), began);
        read
    }

    fn stored(&mut self, stored: StoredResponse) -> Reply<'a> {
        self.record_cache();
        Reply::Stored(stored)
    }

    /// Counts a policy that has waited in vain; `next` as in [`Self::request_policies`].
    fn timed_out(&mut self, next: Option<usize>) -> Halt {
        self.count_refusal(next.unwrap_or(self.exchange.entered), Halt::PolicyTimeout.status());
        Halt::PolicyTimeout
    }

    /// Runs what follows the policies: the hooks and `Max-Forwards`.
    async fn after_policies(&mut self, route: &Route) -> Result<Option<Reply<'a>>, Halt> {
        if let Some(answer) = self.request_hooks(route).await? {
            return Ok(Some(Reply::own(*answer, self.exchange)));
        }
        if let Some(service) = self.exchange.hooks().and_then(|hooks| hooks.service.as_deref())
            && let Some(maintenance) = self.worker.maintenance().in_force()
            && let Some(rejection) = maintenance.rejection_of_service(service)
        {
            return Err(Halt::Rejected(Box::new(rejection)));
        }
        if max_forwards::decrement(self.exchange)? {
            return self.max_forwards_reached().map(|answer| Some(Reply::own(answer, self.exchange)));
        }
        Ok(None)
    }

    /// Answers a request whose `Max-Forwards` is zero.
    fn max_forwards_reached(&self) -> Result<Answer, Halt> {
        if self.exchange.request.head.method == Method::Trace {
            // The request is not echoed: a page must not learn which fields the browser added to it.
            return Err(Halt::NotImplemented);
        }
        let query = RouteQuery::of(self.exchange);
        let allow = self.snapshot.router.allow(&query, &mut self.worker.scratch.borrow_mut()).into();
        Ok(Answer { status: 204, headers: vec![("Allow".into(), allow)], body: Arc::default() })
    }

    /// Runs the body halves from `next` on.
    fn body_policies(&mut self, route: &Route, next: &mut usize) -> Verdict {
        let body = &self.client.body;
        route.chain.body(next, self.exchange, body.buffered(), body.is_done())
    }
}
