//! Stage: sends the response, whichever part made it.

use std::time::Duration;

use pylae_core::cache::StoredResponse;
use pylae_core::{Answer, Exchange};
use pylae_http::{Framing, Method, Name};

use crate::client::{After, Client};
use crate::flow::Flow;
use crate::reply::head::{encode_head, is_failed_call};
use crate::reply::{Reply, Sent};
use crate::worker::Worker;

impl<'a> Flow<'a> {
    /// Sends `reply`.
    pub(super) async fn respond(&mut self, reply: Reply<'a>) -> Sent {
        if !matches!(reply, Reply::Disconnected) && !self.client.finish_interim(&self.snapshot.plan.limits).await {
            if let Reply::Forwarded(forwarded) = reply {
                forwarded.release(self.worker, false);
            }
            return Sent::NOTHING;
        }
        // Cannot fail: an id consists of characters that are valid in a field value.
        let _ = self.exchange.response.edits.set_known(Name::XRequestId, &self.exchange.request.id);
        match (reply, self.route) {
            // A malformed HTTP/2 request is answered by a reset of its stream (RFC 9113 section 8.1.1).
            _ if self.client.socket.refusal().is_some() => Sent::NOTHING,
            (Reply::Forwarded(forwarded), Some(route)) if self.exchange.response.status == 101 => {
                Box::pin(self.tunnel(route, forwarded)).await
            }
            (Reply::Forwarded(forwarded), Some(route)) => self.relay(route, forwarded).await,
            (Reply::Stored(stored), _) => self.send_stored(&stored).await,
            (Reply::Own(mut answer), _) => {
                apply_transforms(self.exchange, &mut answer);
                self.send_own(&answer).await
            }
            _ => Sent::NOTHING,
        }
    }

    /// Sends a response of the gateway itself.
    async fn send_own(&mut self, answer: &Answer) -> Sent {
        let (worker, snapshot, idle_timeout) = (self.worker, self.snapshot, self.idle_timeout());
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        client.discard_available(&worker.buffers, exchange).await;
        let close = !can_keep_alive(worker, client, exchange) || !client.body.is_drainable(exchange.request.max_body);
        if exchange.response.edits.get(b"Date").is_none() {
            let _ = exchange.response.edits.set_known(Name::Date, worker.date().as_bytes());
        }
        // A failed gRPC call is answered by a head alone (trailers-only).
        let has_body = !matches!(answer.status, 204 | 304) && !is_failed_call(exchange);
        let length = has_body.then_some(answer.body.len() as u64);
        let framing = body_framing(exchange, length);
        let mut out = worker.buffers.small();
        encode_head(&mut out, exchange, (length, framing), close, snapshot.plan.via);
        if framing != Framing::None {
            out.extend_from_slice(&answer.body);
        }
        let complete = client.send(&snapshot.plan.limits, idle_timeout, &out, &[]).await;
        worker.buffers.give_back(out);
        let drained = complete && !close && client.drain(&worker.buffers, exchange).await;
        let after = match (complete, drained) {
            (true, true) => After::Keep,
            (true, false) => After::Close,
            (false, _) => After::Abort,
        };
        Sent { after, complete, timed: true }
    }

    /// Sends a stored response, whose head is in the exchange.
    async fn send_stored(&mut self, stored: &StoredResponse) -> Sent {
        let (worker, snapshot, idle_timeout) = (self.worker, self.snapshot, self.idle_timeout());
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        let close = !can_keep_alive(worker, client, exchange);
        let has_body = !matches!(exchange.response.status, 204 | 304);
        let part = &stored.entry.body[stored.part.clone()];
        let changed = (!exchange.response.transforms.is_empty() && has_body).then(|| {
            let mut changed = Vec::new();
            exchange.response.transforms.push(part, true, &mut changed);
            changed
        });
        let part = changed.as_deref().unwrap_or(part);
        let length = has_body.then_some(part.len() as u64);
        let framing = body_framing(exchange, length);
        let body = if framing == Framing::None { &[] } else { part };
        let mut out = worker.buffers.small();
        encode_head(&mut out, exchange, (length, framing), close, snapshot.plan.via);
        // What fits is sent in one write. Larger bodies are sent from the cache without a copy.
        let rest = if body.len() <= out.capacity() - out.len() {
            out.extend_from_slice(body);
            &[][..]
        } else {
            body
        };
        let complete = client.send(&snapshot.plan.limits, idle_timeout, &out, rest).await;
        worker.buffers.give_back(out);
        let after = match (complete, close) {
            (false, _) => After::Abort,
            (true, true) => After::Close,
            (true, false) => After::Keep,
        };
        Sent { after, complete, timed: true }
    }

    /// Longest pause between two pieces of a body, and how long a client may read nothing of a response.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.route.map_or(self.snapshot.plan.limits.keep_alive.0, |route| route.idle_timeout)
    }
}

/// How a body of `length` bytes is framed, if there is one: a response to HEAD only states it.
fn body_framing(exchange: &Exchange, length: Option<u64>) -> Framing {
    match length {
        Some(length) if exchange.request.head.method != Method::Head => Framing::Length(length),
        _ => Framing::None,
    }
}

/// Runs the body of the gateway's own response through the transforms.
fn apply_transforms(exchange: &mut Exchange, answer: &mut Answer) {
    if !exchange.response.transforms.is_empty() {
        let mut body = Vec::new();
        exchange.response.transforms.push(&answer.body, true, &mut body);
        answer.body = body.into();
    }
}

/// Returns true if the client's connection may serve another request. If far too many are open, new ones serve one.
pub(super) fn can_keep_alive(worker: &Worker, client: &mut Client, exchange: &Exchange) -> bool {
    let keep = exchange.request.options.persists(exchange.request.head.version)
        && !worker.draining.get()
        && !client.body.is_broken()
        && (client.kept || worker.may_stay());
    client.kept = keep && !client.socket.is_stream();
    keep
}
