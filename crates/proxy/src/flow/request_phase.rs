//! Stage: the request policies of the route.

use std::sync::Arc;

use pylae_core::cache::{Landing, Stored};
use pylae_core::request::{max_forwards, websocket};
use pylae_core::route::Lookup;
use pylae_core::{Answer, Exchange, Halt, Verdict};
use pylae_http::Method;
use tracing::debug;

use crate::client::Client;
use crate::flow::buffer_body::gather;
use crate::flow::python_hooks;
use crate::snapshot::{Route, Snapshot};
use crate::worker::Worker;

/// What the request policies decided.
pub(crate) enum Decided {
    /// The request is to be forwarded.
    Forward,
    /// The gateway answers.
    Answer(Box<Answer>),
    /// The cache answers.
    Stored(Stored),
}

/// Looks at a WebSocket handshake, where the route allows one, and runs the request policies: all request halves, then, where one wants to see the body, that and the body halves; and
/// behind them the hooks.
pub(crate) async fn decide(
    worker: &Worker,
    snapshot: &Snapshot,
    route: &Route,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Decided, Halt> {
    let decided = run(worker, snapshot, route, client, exchange).await;
    if let Some(cache) = exchange.cache.outcome {
        debug!(id = %exchange.id.escape_ascii(), ?cache, "looked up in the cache");
    }
    match &decided {
        Ok(Decided::Forward) => {}
        // Those who wait for the answer of the service: one of them takes over from a client that has gone. What stands
        // behind the cache and has ended the exchange is to judge the others one by one, not one after the other.
        Err(Halt::ClientGone) => exchange.cache.call_off(Landing::Abandoned),
        _ => exchange.cache.call_off(Landing::Alone),
    }
    decided
}

async fn run(
    worker: &Worker,
    snapshot: &Snapshot,
    route: &Route,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Decided, Halt> {
    if route.websocket.is_some() {
        websocket::admit(exchange)?;
    }
    let mut verdict = route.chain.request(exchange);
    // Which body half is next, once the body is in memory.
    let mut next = None;
    loop {
        verdict = match verdict {
            Verdict::Continue => match route.chain.body_limit().filter(|_| next.is_none()) {
                None => {
                    return match python_hooks::request(route, client, exchange).await? {
                        Some(answer) => Ok(Decided::Answer(answer)),
                        None if max_forwards::count(exchange)? => last_stop(worker, snapshot, exchange),
                        None => Ok(Decided::Forward),
                    };
                }
                Some(limit) => {
                    gather(worker, snapshot, route, client, exchange, limit).await?;
                    look(route, client, exchange, next.insert(0))
                }
            },
            Verdict::Answer(answer) => {
                debug!(
                    id = %exchange.id.escape_ascii(), policy = route.chain.before(next.unwrap_or(exchange.entered)),
                    status = answer.status, "answered by a policy"
                );
                return Ok(Decided::Answer(answer));
            }
            Verdict::Stored(stored) => return Ok(Decided::Stored(stored)),
            Verdict::Reject(rejection) => {
                debug!(
                    id = %exchange.id.escape_ascii(), policy = route.chain.before(next.unwrap_or(exchange.entered)),
                    code = rejection.code, "rejected by a policy"
                );
                return Err(Halt::Rejected(rejection));
            }
            Verdict::Wait(mut wait) => {
                let waited = client.wait_for(route.timeout, exchange, |cx| wait.as_mut().poll(cx)).await?;
                let resume = waited.ok_or(Halt::PolicyTimeout)?;
                match &mut next {
                    None => route.chain.resume(exchange, resume),
                    Some(next) => match resume(exchange) {
                        Verdict::Continue => look(route, client, exchange, next),
                        verdict => verdict,
                    },
                }
            }
            Verdict::Join(join) => {
                let landing = client.wait_for(join.patience, exchange, |cx| join.flight.poll(cx)).await?;
                exchange.cache.joined = Some(landing.unwrap_or(Landing::Alone));
                route.chain.again(exchange)
            }
        };
    }
}

/// The answer to a request that may go no further than here.
fn last_stop(worker: &Worker, snapshot: &Snapshot, exchange: &Exchange) -> Result<Decided, Halt> {
    if exchange.head.method == Method::Trace {
        // What came is not shown: pages must not learn what browsers add to it.
        return Err(Halt::NotImplemented);
    }
    let allow = snapshot.router.allow(&Lookup::of(exchange), &mut worker.scratch.borrow_mut()).into();
    Ok(Decided::Answer(Box::new(Answer { status: 204, headers: vec![("Allow".into(), allow)], body: Arc::default() })))
}

/// Runs the body halves from `next` on.
fn look(route: &Route, client: &Client, exchange: &mut Exchange, next: &mut usize) -> Verdict {
    route.chain.body(next, exchange, client.body.kept(), client.body.is_done())
}
