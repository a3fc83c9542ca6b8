//! Stage: the request policies of the route.

use std::rc::Rc;
use std::task::Poll;

use pylae_core::{Answer, Exchange, Halt, Verdict};

use crate::client::Client;
use crate::clock;
use crate::gather::gather;
use crate::snapshot::{Route, Snapshot};
use crate::worker::Worker;

/// Runs the request policies. `None`: the request is to be forwarded.
pub(crate) async fn decide(
    worker: &Worker,
    snapshot: &Snapshot,
    route: &Route,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Option<Box<Answer>>, Halt> {
    let answer = settle(route, client, exchange, |_, exchange| route.chain.request(exchange)).await?;
    let Some(limit) = route.chain.body_limit().filter(|_| answer.is_none()) else { return Ok(answer) };
    gather(worker, snapshot, route, client, exchange, limit).await?;
    let mut next = 0;
    let halves = |client: &Client, exchange: &mut Exchange| {
        route.chain.body(&mut next, exchange, client.body.kept(), client.body.is_done())
    };
    settle(route, client, exchange, halves).await
}

/// Lets `next` decide, waits where it says so and goes on behind that. `None`: everything lets the request pass.
async fn settle(
    route: &Route,
    client: &mut Client,
    exchange: &mut Exchange,
    mut next: impl FnMut(&Client, &mut Exchange) -> Verdict,
) -> Result<Option<Box<Answer>>, Halt> {
    let mut verdict = next(client, exchange);
    loop {
        let mut wait = match verdict {
            Verdict::Continue => return Ok(None),
            Verdict::Answer(answer) => return Ok(Some(answer)),
            Verdict::Reject(rejection) => return Err(Halt::Rejected(rejection)),
            Verdict::Wait(wait) => wait,
        };
        let deadline = Rc::clone(&client.deadline);
        deadline.set(clock::coarse().saturating_add(route.timeout));
        let waited = deadline
            .within(|cx| match wait.as_mut().poll(cx) {
                Poll::Ready(resume) => Poll::Ready(Ok(resume)),
                Poll::Pending => client.poll_gone(cx, exchange).map(|()| Err(Halt::ClientGone)),
            })
            .await;
        let resume = waited.unwrap_or(Err(Halt::PolicyTimeout))?;
        exchange.now = clock::now();
        verdict = match resume(exchange) {
            Verdict::Continue => next(client, exchange),
            verdict => verdict,
        };
    }
}
