//! Stage: relays an open WebSocket, from the instance's 101 until both sides have closed.

mod direction;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_core::plan::WebSocket;
use pylae_core::request::websocket;
use pylae_core::trace::StepKind;
use pylae_core::{Exchange, Instant, Pace};
use pylae_http::Framing;
use pylae_http::websocket::{FrameLimits, GOING_AWAY, Sender, TOO_LARGE, Violation, WebSocketFrames, close};

use self::direction::{Direction, DirectionEnd};
use crate::client::{After, Client};
use crate::flow::Flow;
use crate::io::clock;
use crate::io::socket::Socket;
use crate::reply::Sent;
use crate::reply::head::encode_head;
use crate::snapshot::Route;
use crate::telemetry::traces::{step_began, step_ended};
use crate::upstream::answer::Forwarded;
use crate::worker::Worker;

/// Time that both sides have to answer a Close frame and to close their connections.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Time within this that an instance has to respond to what its client sent before the violation.
const DEFERRED_CLOSE_TIME: Duration = Duration::from_secs(1);

impl<'a> Flow<'a> {
    /// Sends the 101 and relays frames until both sides have closed.
    pub(super) async fn tunnel(&mut self, route: &Route, forwarded: Forwarded<'a>) -> Sent {
        let (worker, snapshot) = (self.worker, self.snapshot);
        let (client, exchange) = (&mut *self.client, &mut *self.exchange);
        // The connection still counts, but the request is no longer in flight.
        let _guard = worker.begin_tunnel();
        let mut out = worker.buffers.small();
        encode_head(&mut out, exchange, (None, Framing::None), false, snapshot.plan.via);
        let limits = &snapshot.plan.limits;
        let complete = client.send_part(limits, &out, &[], false).await;
        worker.buffers.give_back(out);
        let (Some(settings), true) = (route.websocket, complete) else {
            return Sent { after: After::Abort, complete: false, timed: false };
        };
        let mut instance = forwarded.response.connection;
        forwarded.response.upload.finish(&worker.buffers);
        client.socket.enable_keepalive();
        instance.enable_keepalive();
        let pace = Pace::new(limits.min_rate, limits.body_grace.0);
        let began = step_began(exchange);
        let mut tunnel = Tunnel::new(worker, settings, pace, exchange);
        tunnel.relay(client, &mut instance).await;
        step_ended(exchange, StepKind::Tunnel, began);
        if tunnel.timed_out && tunnel.up.is_waiting() {
            instance.close_by_reset();
        }
        // The result does not matter: nothing follows.
        let _ = poll_fn(|cx| Poll::Ready(instance.poll_shutdown(cx).is_ready())).await;
        client.slow = tunnel.timed_out && tunnel.down.is_waiting();
        exchange.response.code = tunnel.code;
        client.body.add_received(tunnel.up.received());
        client.written += tunnel.down.sent();
        tunnel.finish()
    }
}

/// An open WebSocket: both directions and the timers of its end.
struct Tunnel<'w> {
    worker: &'w Worker,
    settings: WebSocket,
    /// From the client to the instance.
    up: Direction,
    /// From the instance to the client.
    down: Direction,
    /// When the tunnel is cut off, or None until it begins to close.
    closes_at: Option<Instant>,
    /// When `idle_timeout` has passed without traffic.
    idle_at: Instant,
    /// When a client that violated the protocol is sent its Close frame at the latest. Until then the instance may
    /// respond to the frames before the violation, as it would without a gateway.
    deferred_until: Option<Instant>,
    /// Why the gateway closes the tunnel, if it does.
    code: Option<&'static str>,
    /// The gateway cut the tunnel off because a side did not close or read in time.
    timed_out: bool,
}

impl<'w> Tunnel<'w> {
    /// Takes over the bytes read after the heads in `exchange` and returns its buffers to the pool. The heads stay.
    fn new(worker: &'w Worker, settings: WebSocket, pace: Pace, exchange: &mut Exchange) -> Self {
        let limit = |bytes: Option<u64>| bytes.unwrap_or(u64::MAX);
        let limits = FrameLimits { frame: limit(settings.max_frame), message: limit(settings.max_message) };
        let compressed = websocket::is_compressed(exchange);
        let (request, response) = (exchange.request.head.len, exchange.response.head.len);
        let buffers = &worker.buffers;
        let frames = |sender| WebSocketFrames::new(sender, limits, compressed);
        let (up, up_broken) =
            Direction::new(frames(Sender::Client), Pace::default(), &exchange.request.buffer[request..], buffers);
        let (down, down_broken) =
            Direction::new(frames(Sender::Server), pace, &exchange.response.buffer[response..], buffers);
        for (buffer, head) in [(&mut exchange.request.buffer, request), (&mut exchange.response.buffer, response)] {
            let kept = Vec::from(&buffer[..head]);
            buffers.give_back(std::mem::replace(buffer, kept));
        }
        let idle_at = clock::coarse().saturating_add(settings.idle_timeout.0);
        let mut tunnel = Self {
            worker,
            settings,
            up,
            down,
            closes_at: None,
            idle_at,
            deferred_until: None,
            code: None,
            timed_out: false,
        };
        if let Some(violation) = up_broken {
            tunnel.on_client_violation(&violation);
        }
        if let Some(violation) = down_broken {
            tunnel.on_instance_violation(&violation);
        }
        tunnel
    }

    async fn relay(&mut self, client: &mut Client, instance: &mut Socket) {
        let deadline = Rc::clone(&client.deadline);
        loop {
            deadline.set(self.deadline(&client.socket, instance));
            let polled_in_time = deadline
                .within(|cx| {
                    let polled = self.poll(cx, &mut client.socket, instance);
                    deadline.set(self.deadline(&client.socket, instance));
                    polled
                })
                .await;
            let waits = self.up.is_waiting() || self.down.is_waiting();
            match polled_in_time {
                Some(()) => return,
                None if self.deferred_until.is_some() => self.send_deferred_close(),
                None if self.closes_at.is_none() && !waits => {
                    self.close(GOING_AWAY, "idle for too long", "websocket_idle");
                }
                // A side does not read, or did not answer the Close frame.
                None => {
                    self.timed_out = true;
                    return;
                }
            }
        }
    }

    /// Ready once the tunnel is over.
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Socket, instance: &mut Socket) -> Poll<()> {
        if self.worker.draining.get() {
            self.close(GOING_AWAY, "the gateway is going away", "draining");
        }
        let before = self.progress();
        loop {
            let buffers = &self.worker.buffers;
            let up = self.up.poll(cx, client, instance, buffers);
            let down = self.down.poll(cx, instance, client, buffers);
            match (up, down) {
                (Poll::Ready(DirectionEnd::Broken(violation)), _) => {
                    self.on_client_violation(&violation);
                    continue;
                }
                (_, Poll::Ready(DirectionEnd::Broken(violation))) => {
                    self.on_instance_violation(&violation);
                    continue;
                }
                (_, Poll::Ready(DirectionEnd::Source)) if self.deferred_until.is_some() => {
                    self.send_deferred_close();
                    continue;
                }
                // A client that sent a Close frame may still receive data.
                (_, Poll::Ready(_)) => return Poll::Ready(()),
                (Poll::Ready(DirectionEnd::Source), _) if !self.up.has_received_close() => return Poll::Ready(()),
                (Poll::Ready(DirectionEnd::Source), _) => self.start_close_timer(),
                // Data that the instance sent before it disconnected is still read.
                (Poll::Ready(DirectionEnd::Target) | Poll::Pending, Poll::Pending) => {}
            }
            if self.up.has_received_close() && self.down.has_received_close() {
                self.start_close_timer();
            }
            if self.progress() > before {
                self.idle_at = clock::coarse().saturating_add(self.settings.idle_timeout.0);
            }
            return Poll::Pending;
        }
    }

    /// A number that grows whenever bytes move in either direction.
    fn progress(&self) -> u64 {
        self.up.received() + self.up.sent() + self.down.received() + self.down.sent()
    }

    /// When the next timeout fires. The tunnel is not idle while a side has unread data.
    fn deadline(&mut self, client: &Socket, instance: &Socket) -> Instant {
        let idle_timeout = self.settings.idle_timeout.0;
        let dues = [
            self.up.due(instance, idle_timeout),
            self.down.due(client, idle_timeout),
            self.deferred_until,
            self.closes_at,
        ];
        dues.into_iter().flatten().min().unwrap_or(self.idle_at)
    }

    /// Starts the time that both sides have to close their connections, if it is not running.
    fn start_close_timer(&mut self) {
        if self.closes_at.is_none() {
            self.closes_at = Some(clock::coarse().saturating_add(CLOSE_TIME));
        }
    }

    /// Closes the tunnel because the client violated the protocol: towards the instance at once, towards the client
    /// once the instance has responded to earlier frames.
    fn on_client_violation(&mut self, violation: &Violation) {
        if self.code.is_some() {
            return;
        }
        let mut frame = Vec::new();
        close(&mut frame, violation.code, violation.reason, None);
        self.down.defer_close(frame);
        self.deferred_until = Some(clock::coarse().saturating_add(DEFERRED_CLOSE_TIME));
        self.close_upstream(violation.code, violation.reason, violation_code(violation));
    }

    /// Closes the tunnel because the instance violated the protocol.
    fn on_instance_violation(&mut self, violation: &Violation) {
        self.send_deferred_close();
        self.close(violation.code, violation.reason, violation_code(violation));
    }

    /// Sends the client the Close frame that was deferred.
    fn send_deferred_close(&mut self) {
        self.deferred_until = None;
        self.down.send_deferred_close();
    }

    /// Sends both sides a Close frame, unless that was done before.
    fn close(&mut self, code: u16, reason: &str, why: &'static str) {
        if self.code.is_some() {
            return;
        }
        let mut frame = Vec::new();
        close(&mut frame, code, reason, None);
        self.down.close(frame);
        self.close_upstream(code, reason, why);
    }

    /// Sends the instance a Close frame.
    fn close_upstream(&mut self, code: u16, reason: &str, why: &'static str) {
        self.code = Some(why);
        let mut frame = Vec::new();
        close(&mut frame, code, reason, Some((self.worker.random_u64() as u32).to_ne_bytes()));
        self.up.close(frame);
        self.start_close_timer();
    }

    fn finish(self) -> Sent {
        let complete = self.down.has_sent_close();
        let after = if self.timed_out && !complete { After::Abort } else { After::Close };
        self.up.finish(&self.worker.buffers);
        self.down.finish(&self.worker.buffers);
        Sent { after, complete, timed: false }
    }
}

/// The code of a violation in logs and metrics.
fn violation_code(violation: &Violation) -> &'static str {
    if violation.code == TOO_LARGE { "websocket_too_large" } else { "websocket_protocol_error" }
}
