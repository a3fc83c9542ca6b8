//! Stage: Python hooks. Those of a route run after all request policies, on a request that would be forwarded, and are
//! the first to see the response. Early ones (`python_hooks/early.rs`) are called by the same functions.

mod early;

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pylae_core::hook::{self, BodyForm, HookStream, Hooks, Step};
use pylae_core::{Answer, Exchange, Halt, Rejection};
use pylae_http::{Framing, Method, Name};
use pylae_policies::Policy;
use pylae_policies::hooks::Hooked;

use crate::client::Client;
use crate::flow::Flow;
use crate::io::body_reader::BodyReader;
use crate::io::buffers::SMALL;
use crate::io::clock;
use crate::reply::Reply;
use crate::snapshot::Route;
use crate::upstream::answer::UpstreamResponse;
use crate::worker::Worker;

/// Time limit for streaming a buffered body through hooks.
const STREAM_TIMEOUT: Duration = Duration::from_secs(30);

/// What response hooks are called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseCall {
    /// The answer to a request.
    Request,
    /// One of which only fields can change: there is a protocol behind it.
    Fixed,
    /// The answer to what is no request.
    Refusal,
}

impl<'a> Flow<'a> {
    /// Calls the request hooks of the route. Returns the response if one of them answers the request.
    pub(super) async fn request_hooks(&mut self, route: &Route) -> Result<Option<Box<Answer>>, Halt> {
        let Some(hooks) = route.hooks.as_deref() else { return Ok(None) };
        self.ask_for_uncoded(route.chain.outlet());
        self.call_request_hooks(hooks, route.chain.outlet()).await
    }

    /// Asks the instance for a body that hooks can read, if they do. What the client accepts stays what it is.
    fn ask_for_uncoded(&mut self, policy: Option<&Hooked>) {
        if policy.is_some_and(Hooked::reads_response_body) {
            // Cannot fail: the value is a constant.
            let _ = self.exchange.request.edits.set_known(Name::AcceptEncoding, b"identity");
        }
    }

    /// Calls request hooks. Returns the response if one of them answers the request.
    async fn call_request_hooks(
        &mut self,
        hooks: &dyn Hooks,
        policy: Option<&Hooked>,
    ) -> Result<Option<Box<Answer>>, Halt> {
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        let mut body = None;
        if let Some(limit) = policy.and_then(Policy::body_limit) {
            if !client.body.is_done() || client.body.buffered().len() > limit {
                return Err(Halt::BodyTooLarge(limit as u64));
            }
            body = Some(client.body.buffered().into());
        }
        exchange.hook_visit().request_body = body;
        let step = hooks.on_request(exchange);
        wait_for_hooks(hooks, client, exchange, step).await
    }

    /// Calls the response hooks of the route if the exchange reached them. Returns the reply to send.
    pub(super) async fn response_hooks(&mut self, route: &Route, reply: Reply<'a>) -> Reply<'a> {
        match route.hooks.as_deref() {
            Some(hooks) if route.chain.has_reached::<Hooked>(self.exchange) => {
                self.call_response_hooks(hooks, route.chain.outlet(), ResponseCall::Request, reply).await
            }
            _ => reply,
        }
    }

    /// Calls response hooks. Returns the reply to send.
    async fn call_response_hooks(
        &mut self,
        hooks: &dyn Hooks,
        policy: Option<&Hooked>,
        call: ResponseCall,
        mut reply: Reply<'a>,
    ) -> Reply<'a> {
        if !hooks.sees_responses() || matches!(reply, Reply::Disconnected) {
            return reply;
        }
        let limit = policy.and_then(|policy| policy.response_limit().or_else(|| self.error_limit(policy, &reply)));
        if let Some(limit) = limit {
            reply = match self.buffer_response(reply, limit).await {
                Ok(reply) => reply,
                Err(halt) => self.fail(&halt),
            };
            if matches!(reply, Reply::Disconnected) {
                return reply;
            }
        }
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        // Here, because hooks on other threads do not see the transforms.
        let form = if exchange.response.is_coded() { BodyForm::Coded } else { BodyForm::Plain };
        let state = exchange.hook_visit();
        state.body_form = form;
        if let Reply::Own(answer) = &reply {
            state.response_body = Some(answer.body.clone());
        }
        let status = exchange.response.status;
        let step = match call {
            ResponseCall::Refusal => hooks.on_refusal(exchange),
            ResponseCall::Request | ResponseCall::Fixed => hooks.on_response(exchange),
        };
        let mut outcome = wait_for_hooks(hooks, client, exchange, step).await;
        let state = exchange.hook_visit();
        let body = state.response_body.take().filter(|_| state.body_set);
        if call == ResponseCall::Fixed
            && (!matches!(outcome, Ok(None)) || body.is_some() || exchange.response.status != status)
        {
            outcome = Err(Halt::Rejected(Box::new(hook::failure())));
        }
        let result = self.reply_after_hooks(hooks, reply, outcome, body).await;
        result.unwrap_or_else(|halt| self.fail(&halt))
    }

    /// Returns the reply after response hooks, which have come to `outcome` and may have set the body.
    async fn reply_after_hooks(
        &mut self,
        hooks: &dyn Hooks,
        mut reply: Reply<'a>,
        outcome: Result<Option<Box<Answer>>, Halt>,
        body: Option<Arc<[u8]>>,
    ) -> Result<Reply<'a>, Halt> {
        let (worker, client, exchange) = (self.worker, &mut *self.client, &mut *self.exchange);
        match (outcome, body) {
            (Ok(None), None) => {
                if let Reply::Own(answer) = &mut reply {
                    answer.status = exchange.response.status;
                }
                apply_body_hooks(hooks, exchange, reply, client).await
            }
            (Ok(None), Some(body)) => {
                // The header fields stay where they are: in the instance's head or among the edits.
                if matches!(reply, Reply::Forwarded(_)) {
                    discard_reply(worker, exchange, reply);
                }
                exchange.response.body_length = Some(body.len() as u64);
                let reply =
                    Reply::Own(Box::new(Answer { status: exchange.response.status, headers: Vec::new(), body }));
                apply_body_hooks(hooks, exchange, reply, client).await
            }
            (Ok(Some(answer)), _) => {
                discard_reply(worker, exchange, reply);
                Ok(Reply::own(*answer, exchange))
            }
            (Err(halt), _) => {
                discard_reply(worker, exchange, reply);
                Err(halt)
            }
        }
    }

    /// Returns the limit for the body of an error that hooks look at: if there is one, its length is known and within
    /// the limit, and it is not coded.
    fn error_limit(&self, policy: &Hooked, reply: &Reply<'_>) -> Option<usize> {
        let limit = policy.error_limit()?;
        let response = &self.exchange.response;
        let length = match reply {
            Reply::Forwarded(forwarded) => match forwarded.response.framing {
                Framing::Length(length) => length,
                _ => return None,
            },
            Reply::Stored(stored) => stored.part.len() as u64,
            _ => return None,
        };
        let is_readable = response.status >= 400
            && length <= limit
            && self.exchange.request.head.method != Method::Head
            && !response.is_event_stream()
            && !response.is_coded();
        is_readable.then_some(limit as usize)
    }

    /// Buffers the body of an instance's response, if it has one.
    async fn buffer_response(&mut self, reply: Reply<'a>, limit: usize) -> Result<Reply<'a>, Halt> {
        let (worker, idle_timeout) = (self.worker, self.idle_timeout());
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        let mut forwarded = match reply {
            Reply::Forwarded(forwarded) if forwarded.response.framing != Framing::None && !exchange.is_cache_only() => {
                forwarded
            }
            Reply::Stored(stored) => {
                exchange.hook_visit().response_body = Some(stored.entry.body[stored.part.clone()].into());
                return Ok(Reply::Stored(stored));
            }
            reply => {
                exchange.hook_visit().response_body = Some([].into());
                return Ok(reply);
            }
        };
        let framing = forwarded.response.framing;
        let mut body = Vec::new();
        let mut source = BodyReader::default();
        source.start(framing, exchange.response.head.len, &forwarded.response.connection);
        let deadline = Rc::clone(&client.deadline);
        deadline.set(clock::coarse().saturating_add(idle_timeout));
        let UpstreamResponse { connection, upload, .. } = &mut forwarded.response;
        let read = deadline
            .within(|cx| {
                while !source.is_done() {
                    upload.poll_remaining(cx, client, exchange, connection);
                    if body.len() > limit {
                        return Poll::Ready(Err(too_large()));
                    }
                    body.reserve(SMALL);
                    match source.poll_data(cx, connection, &mut exchange.response.buffer, &mut body, SMALL) {
                        Poll::Ready(Ok(_)) => deadline.set(clock::coarse().saturating_add(idle_timeout)),
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Halt::BadGateway)),
                        Poll::Pending => return client.poll_disconnect(cx, exchange).map(|()| Err(Halt::ClientGone)),
                    }
                }
                Poll::Ready(if body.len() > limit { Err(too_large()) } else { Ok(()) })
            })
            .await;
        if let Err(halt) = read.unwrap_or(Err(Halt::GatewayTimeout)) {
            if let Some(cache) = exchange.cache_mut() {
                cache.abort();
            }
            forwarded.release(worker, false);
            return Err(halt);
        }
        if let Some(cache) = exchange.cache_mut() {
            cache.copy_body(&body);
        }
        if let Some(cache) = exchange.cache_mut() {
            cache.complete();
        }
        let whole = framing != Framing::Close && source.consumed() == exchange.response.buffer.len();
        let persists = exchange.response.options.persists(exchange.response.head.version);
        forwarded.release(worker, whole && persists);
        exchange.response.body_length = Some(body.len() as u64);
        Ok(Reply::Own(Box::new(Answer { status: exchange.response.status, headers: Vec::new(), body: body.into() })))
    }
}

fn too_large() -> Halt {
    let message = "the service's response is larger than a hook may read".into();
    Halt::Rejected(Box::new(Rejection { status: 502, code: "response_too_large", message, headers: Vec::new() }))
}

/// Attaches the hooks that stream the body, or runs a buffered body through them.
async fn apply_body_hooks<'s>(
    hooks: &dyn Hooks,
    exchange: &mut Exchange,
    mut reply: Reply<'s>,
    client: &mut Client,
) -> Result<Reply<'s>, Halt> {
    match &mut reply {
        Reply::Forwarded(forwarded) if forwarded.response.framing != Framing::None && !exchange.is_cache_only() => {
            let stream = hooks.stream(exchange);
            exchange.hook_visit().stream = stream;
        }
        Reply::Own(answer) if exchange.response.is_relayed() && !answer.body.is_empty() => {
            if let Some(stream) = hooks.stream(exchange) {
                let body = run_body_hooks(stream, client, exchange, &answer.body).await?;
                exchange.response.body_length = Some(body.len() as u64);
                answer.body = body.into();
            }
        }
        _ => {}
    }
    Ok(reply)
}

/// Streams a buffered body through the hooks and returns the result.
async fn run_body_hooks(
    mut stream: Box<dyn HookStream>,
    client: &mut Client,
    exchange: &mut Exchange,
    body: &[u8],
) -> Result<Vec<u8>, Halt> {
    let mut out = Vec::new();
    let mut left = Some(body);
    let outcome = client
        .wait_for(STREAM_TIMEOUT, exchange, |cx| {
            loop {
                if let Some(rest) = left
                    && stream.poll_ready(cx).is_ready()
                {
                    let (piece, rest) = rest.split_at(rest.len().min(SMALL));
                    stream.push(piece, rest.is_empty());
                    left = Some(rest).filter(|rest| !rest.is_empty());
                }
                match stream.poll_pull(cx, &mut out) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(end) => return Poll::Ready(end.map(|_| ())),
                    Poll::Pending if left.is_some() && stream.poll_ready(cx).is_ready() => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await?;
    match outcome {
        Some(Ok(())) => Ok(out),
        _ => Err(Halt::BadGateway),
    }
}

/// Discards a reply that is not sent, along with its header edits.
fn discard_reply(worker: &Worker, exchange: &mut Exchange, reply: Reply<'_>) {
    match reply {
        Reply::Forwarded(forwarded) => {
            if let Some(cache) = exchange.cache_mut() {
                cache.abort();
            }
            forwarded.release(worker, false);
        }
        Reply::Own(answer) => {
            for (name, _) in &answer.headers {
                exchange.response.edits.remove(name.as_bytes());
            }
        }
        Reply::Stored(_) | Reply::Disconnected => {}
    }
}

/// Waits for hooks that run on other threads, until all are done or one of them ends the request.
async fn wait_for_hooks(
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
            Step::Wait { mut until, timeout } => {
                let waited = client.wait_for(timeout, exchange, |cx| until.as_mut().poll(cx)).await?;
                drop(until);
                hooks.resume(exchange, waited.is_some())
            }
        }
    }
}
