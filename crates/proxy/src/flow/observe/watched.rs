//! Exchanges that somebody wants to see: those that a watch waits for, and those whose request has a good token.

use pylae_core::Exchange;
use pylae_core::request::trace_token::TraceToken;
use pylae_http::Name;
use pylae_policies::access_log::Completion;

use crate::flow::explain::live::LiveScope;
use crate::flow::{Flow, Watched};
use crate::io::clock;
use crate::worker::Worker;

/// Takes the token of a request, if it has one. Must be called before the head is admitted, which removes it.
#[inline]
pub(crate) fn take_token(worker: &Worker, exchange: &Exchange) -> Option<TraceToken> {
    let has_one = exchange.request.head.fields.has(Name::XPylaeTrace);
    if has_one { take_any_token(worker, exchange) } else { None }
}

#[cold]
fn take_any_token(worker: &Worker, exchange: &Exchange) -> Option<TraceToken> {
    let mut lines = exchange.request.values(Name::XPylaeTrace.as_str());
    let (first, more) = (lines.next().unwrap_or_default(), lines.next());
    let text = if more.is_some() { &[][..] } else { first };
    let tokens = &worker.watches().tokens;
    tokens.take(text, clock::wall()).map_err(|why| tokens.report(why, worker.log(), clock::coarse())).ok()
}

impl Flow<'_> {
    /// Has everything about the exchange recorded, if somebody wants to see it.
    #[inline]
    pub(crate) fn begin_watch(&mut self, token: Option<TraceToken>) {
        if token.is_some() || self.worker.watches().wants(self.exchange) {
            self.watched = Some(Watched(token));
            self.exchange.recorded = true;
            self.exchange.time_policies(0, clock::now);
        }
    }

    /// Keeps the trace of a watched exchange that is over.
    #[cold]
    pub(super) fn keep_trace(&self, Watched(token): Watched, completion: Completion<'_>) {
        let Self { worker, snapshot, route, exchange, .. } = self;
        let name = route.map(|route| &*route.name);
        worker.watches().offer(exchange, name, (token, worker.random()), |id| {
            let service = self.target();
            LiveScope { id, snapshot, route: *route, service, exchange, completion }.describe()
        });
    }
}
