//! Stage: what the cache makes of the service's answer, and how a stored response is sent.

use pylae_core::cache::{self, Settled, Stored};
use pylae_core::{Exchange, Halt};
use pylae_http::{Framing, Method};

use crate::client::{After, Client};
use crate::flow::respond::{Reply, Sent, encode_head, keeps, patience};
use crate::io::clock;
use crate::snapshot::Snapshot;
use crate::upstream::answer::Taken;
use crate::worker::Worker;

/// Settles what is sent after a request was forwarded.
pub(crate) fn settle<'s>(
    worker: &Worker,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    forwarded: Result<Taken<'s>, Halt>,
) -> Result<Reply<'s>, Halt> {
    let Some(cache) =
        snapshot.cache.as_ref().filter(|_| exchange.cache.is_fetching() || !exchange.head.method.is_safe())
    else {
        return forwarded.map(Reply::Taken);
    };
    exchange.now = clock::now();
    let taken = match forwarded {
        Ok(taken) => taken,
        Err(halt) => return cache::failed(exchange, &halt).map(Reply::Stored).ok_or(halt),
    };
    cache::changed(cache, exchange);
    let status = exchange.response.status;
    let clean = taken.answered.framing == Framing::None && exchange.response_buffer.len() == exchange.response.len;
    let persists = exchange.response_options.persists(exchange.response.version);
    let framing = match taken.answered.framing {
        // A stream says itself where the body ends and whether it was broken off.
        Framing::Close if taken.answered.connection.is_stream() => Framing::Chunked,
        framing => framing,
    };
    match cache::answered(exchange, &taken.service.name, framing) {
        Settled::Relay => Ok(Reply::Taken(taken)),
        Settled::Serve(stored) => {
            // An answer without a body leaves its connection as good as ever.
            taken.let_go(worker, status == 304 && clean && persists);
            Ok(Reply::Stored(stored))
        }
        Settled::Senseless => Err(Halt::BadGateway),
    }
}

/// Sends a stored response, whose head lies in the exchange.
pub(crate) async fn stored(
    worker: &Worker,
    snapshot: &Snapshot,
    client: &mut Client,
    exchange: &mut Exchange,
    stored: &Stored,
) -> Sent {
    let close = !keeps(worker, client, exchange);
    let has_body = !matches!(exchange.status, 204 | 304);
    let part = &stored.entry.body[stored.part.clone()];
    let changed = (!exchange.transforms.is_empty() && has_body).then(|| {
        let mut changed = Vec::new();
        exchange.transforms.push(part, true, &mut changed);
        changed
    });
    let part = changed.as_deref().unwrap_or(part);
    let length = part.len() as u64;
    let body = if has_body && exchange.head.method != Method::Head { part } else { &[] };
    let framing =
        if has_body && exchange.head.method != Method::Head { Framing::Length(length) } else { Framing::None };
    let mut out = worker.buffers.small();
    encode_head(&mut out, exchange, (has_body.then_some(length), framing), close, snapshot.plan.via);
    // One send for what fits; larger bodies go out from where they are.
    let rest = if body.len() <= out.capacity() - out.len() {
        out.extend_from_slice(body);
        &[][..]
    } else {
        body
    };
    let complete = client.send(&snapshot.plan.limits, patience(snapshot, exchange), &out, rest).await;
    worker.buffers.give_back(out);
    let after = match (complete, close) {
        (false, _) => After::Abort,
        (true, true) => After::Close,
        (true, false) => After::Keep,
    };
    Sent { after, complete, timed: true }
}
