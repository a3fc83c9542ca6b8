//! Sends copies of requests to another service once the exchange is over, so that it never waits for them.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::ready;

use pylae_core::service::{PickInput, Tried};
use pylae_http::body::framing;
use pylae_http::{Framing, HeadLimits, Method, ResponseHead};
use pylae_policies::mirror::Mirror;

use crate::flow::Flow;
use crate::io::body_reader::BodyReader;
use crate::io::shortage;
use crate::io::socket::Socket;
use crate::telemetry::traces::MirrorSpan;
use crate::upstream::connect::connecting_to;
use crate::upstream::dedicated::open_dedicated;
use crate::upstream::forwarded_head::ForwardedHead;

/// Most bytes read of a response body. They are discarded: the instance only sees an orderly end.
const MAX_READ: usize = 1 << 20;

/// Counts a copy as under way until it is dropped.
struct MirrorGuard(Rc<Cell<usize>>);

impl Flow<'_> {
    /// Sends a copy of the request if the route has a mirror.
    pub(super) fn mirror(&mut self) {
        let Some(route) = self.route else { return };
        let (worker, client, exchange) = (self.worker, &*self.client, &mut *self.exchange);
        let (Some(mirror), Some(service)) = (route.chain.outlet::<Mirror>(), &route.mirror) else { return };
        let maintenance = worker.maintenance().in_force();
        if maintenance.is_some_and(|maintenance| maintenance.services.contains_key(&*service.name)) {
            return;
        }
        // Only requests that were forwarded and whose body is still buffered completely. Never a WebSocket.
        let complete =
            client.body.is_done() && client.body.is_replayable() && client.body.buffered().len() <= mirror.max_body();
        if exchange.attempts == 0 || exchange.request.upgrades || !mirror.samples(exchange) {
            return;
        }
        let random = worker.random_u64();
        let input = PickInput { now: exchange.times.now, hash: None, sticky: None, avoid: Tried::NONE, random };
        let picked = (complete && worker.mirroring.get() < mirror.max_in_flight())
            .then(|| service.state.pick_for_mirror(&input).ok());
        let Some(Some(picked)) = picked else { return worker.stats.mirrors_dropped.add(1) };
        let (target, index) = (Arc::clone(service), picked.index);
        // The copy is an attempt of its own, with a span that its exchange does not wait for.
        exchange.trace_context.begin_attempt(worker.random_u64());
        let exporter = self.snapshot.exports.traces.as_ref().filter(|_| exchange.trace_context.sampled).cloned();
        let span = exporter.map(|to| (to, MirrorSpan::begin(exchange, &service.plan, picked.instance())));
        let host = service.host_for(picked.instance(), route.preserve_host, exchange);
        let body = client.body.buffered();
        let framing =
            if exchange.request.framing == Framing::None { Framing::None } else { Framing::Length(body.len() as u64) };
        let mut request = Vec::with_capacity(1024 + body.len());
        ForwardedHead { service, host, framing }.encode(exchange, self.snapshot.plan.via, &mut request);
        request.extend_from_slice(body);
        worker.stats.mirrored.add(1);
        let guard = MirrorGuard::new(&worker.mirroring);
        let (timeout, method, limits) = (mirror.timeout(), exchange.request.head.method, self.snapshot.head_limits);
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            let _guard = guard;
            let copied = async {
                match open_dedicated(&target, index).await {
                    Ok(socket) => return send(socket, &request, method, &limits).await.is_some(),
                    Err(error) => {
                        if let Some(what) = shortage::behind(&error) {
                            worker.report_shortage(what, || connecting_to(&target, index));
                        }
                    }
                }
                false
            };
            // Nobody waits for the result: it is only a copy.
            let answered = tokio::time::timeout(timeout, copied).await.unwrap_or(false);
            if let Some((exporter, span)) = span {
                worker.exports.write(&exporter, 1, |out| span.write(answered, out));
            }
        });
    }
}

/// Sends a request, reads the response and discards it.
async fn send(mut socket: Socket, request: &[u8], method: Method, limits: &HeadLimits) -> Option<()> {
    socket.end(&[]);
    let mut written = 0;
    while written < request.len() {
        written += poll_fn(|cx| socket.poll_write(cx, &request[written..])).await.ok().filter(|n| *n > 0)?;
    }
    socket.finish().ok()?;
    let (mut buffer, mut head) = (Vec::with_capacity(limits.head), ResponseHead::default());
    loop {
        poll_fn(|cx| socket.poll_read(cx, &mut buffer, usize::MAX)).await.ok().filter(|n| *n > 0)?;
        while !buffer.is_empty() && head.parse(&buffer, limits).ok()? && head.status < 200 {
            buffer.drain(..head.len);
            head.clear();
        }
        if head.len > 0 {
            break;
        }
        buffer.reserve(limits.head);
    }
    let (mut source, mut discarded, mut left) = (BodyReader::default(), Vec::with_capacity(4096), MAX_READ);
    source.start(framing::response(&head, &buffer, method).ok()?, head.len, &socket);
    poll_fn(|cx| {
        while !source.is_done() && left > 0 {
            discarded.clear();
            let n = ready!(source.poll_data(cx, &mut socket, &mut buffer, &mut discarded, 4096));
            left = n.map_or(0, |n| left.saturating_sub(n.max(1)));
        }
        std::task::Poll::Ready(())
    })
    .await;
    Some(())
}

impl MirrorGuard {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for MirrorGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
