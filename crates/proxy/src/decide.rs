//! Stage: the request policies of the route.

use std::rc::Rc;
use std::task::Poll;

use pylae_core::{Answer, Exchange, Halt, Verdict};

use crate::client::Client;
use crate::clock;
use crate::snapshot::Route;

/// Runs the request policies. `None`: the request is to be forwarded.
pub(crate) async fn decide(
    route: &Route,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Option<Box<Answer>>, Halt> {
    let mut verdict = route.chain.request(exchange);
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
        verdict = route.chain.resume(exchange, resume);
    }
}
