//! Stage: Python hooks. They stand behind all policies: what they see of a request would be forwarded, and they are the
//! first to see the response.

use pylae_core::hook::{Hooks, Step, Visit};
use pylae_core::{Answer, Exchange, Halt};

use crate::client::Client;
use crate::decide::wait_for;
use crate::respond::Reply;
use crate::snapshot::Route;
use crate::worker::Worker;

/// Calls the hooks that see requests. An answer: one of them gives it.
pub(crate) async fn request(
    route: &Route,
    client: &mut Client,
    exchange: &mut Exchange,
) -> Result<Option<Box<Answer>>, Halt> {
    let Some(hooks) = route.hooks.as_deref() else { return Ok(None) };
    let mut visit = Box::<Visit>::default();
    if route.chain.body_limit().is_some() && client.body.is_done() {
        visit.request_body = Some(client.body.kept().into());
    }
    exchange.hooks = Some(visit);
    let step = hooks.on_request(exchange);
    follow(hooks, client, exchange, step).await
}

/// Calls the hooks that see responses, where the exchange has come as far as the hooks. What is sent then.
pub(crate) async fn response<'s>(
    worker: &Worker,
    route: &Route,
    client: &mut Client,
    exchange: &mut Exchange,
    mut reply: Reply<'s>,
) -> Reply<'s> {
    let Some(hooks) = route.hooks.as_deref().filter(|hooks| hooks.sees_responses()) else { return reply };
    if !route.chain.has_met_hooks(exchange) || matches!(reply, Reply::Nobody) {
        return reply;
    }
    let visit = exchange.hooks.get_or_insert_default();
    if let Reply::Own(answer) = &reply {
        visit.response_body = Some(answer.body.clone());
    }
    let step = hooks.on_response(exchange);
    let followed = follow(hooks, client, exchange, step).await;
    let visit = exchange.hooks.get_or_insert_default();
    let body = visit.response_body.take().filter(|_| visit.body_set);
    match (followed, body) {
        (Ok(None), None) => {
            if let Reply::Own(answer) = &mut reply {
                answer.status = exchange.status;
            }
            reply
        }
        (Ok(None), Some(body)) => {
            // Its fields stay where they are, in the instance's head or among the edits.
            if matches!(reply, Reply::Taken(_)) {
                part_with(worker, exchange, reply);
            }
            exchange.body_length = Some(body.len() as u64);
            Reply::Own(Box::new(Answer { status: exchange.status, headers: Vec::new(), body }))
        }
        (Ok(Some(answer)), _) => {
            part_with(worker, exchange, reply);
            Reply::own(*answer, exchange)
        }
        (Err(halt), _) => {
            part_with(worker, exchange, reply);
            Reply::from_halt(&halt, exchange)
        }
    }
}

/// Parts with a reply that is not sent.
fn part_with(worker: &Worker, exchange: &mut Exchange, reply: Reply<'_>) {
    match reply {
        Reply::Taken(taken) => {
            exchange.cache.break_off();
            taken.let_go(worker, false);
        }
        Reply::Own(answer) => {
            answer.headers.iter().for_each(|(name, _)| exchange.response_edits.remove(name.as_bytes()))
        }
        Reply::Stored(_) | Reply::Nobody => {}
    }
}

/// Waits for hooks that are at work elsewhere, until all are done or one ends it.
async fn follow(
    hooks: &dyn Hooks,
    client: &mut Client,
    exchange: &mut Exchange,
    mut step: Step,
) -> Result<Option<Box<Answer>>, Halt> {
    loop {
        step = match step {
            Step::Continue => return Ok(None),
            Step::Answer(answer) => return Ok(Some(answer)),
            Step::Reject(rejection) => return Err(Halt::Rejected(rejection)),
            Step::Wait { mut until, patience } => {
                let waited = wait_for(patience, client, exchange, |cx| until.as_mut().poll(cx)).await?;
                drop(until);
                hooks.resume(exchange, waited.is_some())
            }
        }
    }
}
