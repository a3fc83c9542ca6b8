//! Active health checks: probes every instance of the services that configure them.

mod grpc;
mod probe;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use pylae_core::Shortage;
use pylae_core::plan::HealthCheck;
use pylae_http::body::framing;
use pylae_http::{Framing, Method, ResponseHead};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout_at};
use tracing::debug;

use self::probe::{LIMITS, MAX_DRAINED, ProbeResult, send};
use crate::io::clock;
use crate::io::shortage;
use crate::io::socket::Socket;
use crate::snapshot::{Service, Snapshot};
use crate::telemetry::panics::{Duty, supervise_task};
use crate::upstream::dedicated::open_dedicated;
use crate::worker::WorkerShared;

/// How often states that change with time are updated and logged.
const TICK: Duration = Duration::from_secs(1);
/// The first checks are spread over at most this time.
const SPREAD: Duration = Duration::from_secs(1);
/// Running checks by service and URL.
type Checks = HashMap<(Arc<str>, Box<str>), Check>;

/// The checks of one instance, which end when this is dropped.
struct Check {
    target: Rc<RefCell<CheckTarget>>,
    task: AbortHandle,
}

/// The instance to check, in the snapshot in force.
struct CheckTarget {
    service: Arc<Service>,
    index: usize,
}

/// Runs the checks of each snapshot until the sender is dropped. Must run within a `LocalSet`.
pub(crate) async fn run(mut snapshots: watch::Receiver<Arc<Snapshot>>, shared: Arc<WorkerShared>) {
    let mut checks = Checks::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        checks = reconcile(checks, &snapshot, &shared);
        let timed: Vec<_> = snapshot.services.values().filter(|service| has_timed_state(service)).collect();
        loop {
            tokio::select! {
                changed = snapshots.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = ticks.tick(), if !timed.is_empty() => {
                    for service in &timed {
                        shared.log.write_changes(service.state.tick(clock::now()));
                    }
                }
            }
        }
    }
}

/// Returns true if the service has states that change with time: ejections or a breaker.
fn has_timed_state(service: &Service) -> bool {
    service.plan.passive_health.is_some() || service.plan.circuit_breaker.is_some()
}

/// Starts the checks that are new in `snapshot`, keeps those that run, and ends the rest of `before`.
fn reconcile(mut before: Checks, snapshot: &Snapshot, shared: &Arc<WorkerShared>) -> Checks {
    let mut checks = Checks::new();
    for service in snapshot.services.values() {
        let Some(rules) = &service.plan.health_check else { continue };
        for (index, instance) in service.state.instances().enumerate() {
            let key = (service.name.clone(), instance.url().into());
            let target = CheckTarget { service: Arc::clone(service), index };
            let check = match before.remove(&key) {
                Some(check) if check.has_rules(rules) => {
                    check.target.replace(target);
                    check
                }
                _ => Check::start(target, rules.clone(), Arc::clone(shared)),
            };
            checks.insert(key, check);
        }
    }
    checks
}

impl Check {
    fn start(target: CheckTarget, rules: HealthCheck, shared: Arc<WorkerShared>) -> Self {
        let target = Rc::new(RefCell::new(target));
        let checked = Rc::clone(&target);
        let again = move || check(Rc::clone(&checked), rules.clone(), Arc::clone(&shared));
        let task = supervise_task(Duty::Auxiliary, again);
        Self { task: task.abort_handle(), target }
    }

    fn has_rules(&self, rules: &HealthCheck) -> bool {
        self.target.borrow().service.plan.health_check.as_ref() == Some(rules)
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Checks one instance until the task is aborted.
async fn check(target: Rc<RefCell<CheckTarget>>, rules: HealthCheck, shared: Arc<WorkerShared>) {
    let interval = rules.interval.0;
    let mut next = Instant::now() + (interval / 10).min(SPREAD).mul_f64(fastrand::f64());
    loop {
        sleep_until(next).await;
        let began = Instant::now();
        let deadline = began + rules.timeout.0;
        let (service, index) = {
            let target = target.borrow();
            (Arc::clone(&target.service), target.index)
        };
        let probed = timeout_at(deadline, probe(&service, index, &rules)).await;
        let result = probed.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", rules.timeout.0.as_secs_f64());
            Ok(ProbeResult { ok: false, reason, rest: None })
        });
        match result.or_else(|error| judge_failure(&error)) {
            Ok(ProbeResult { ok, reason, rest }) => {
                debug!(service = %service.name, index, ok, reason, "health checked");
                shared.log.write_changes(service.state.active_result(index, clock::now(), ok, &reason));
                if let Some((socket, left)) = rest {
                    // The rest is not read if this takes too long.
                    let _ = timeout_at(deadline, drain(socket, left)).await;
                }
            }
            // The check was not made, so nothing is known that was not known before.
            Err(what) => {
                shared.overload.report_shortage(&shared.log, what, || {
                    format!("checking {} of service {}", service.plan.instances[index].url, service.name)
                });
            }
        }
        next = began + interval.mul_f64(0.9 + 0.2 * fastrand::f64());
    }
}

/// What a check that failed says about the instance, or what the gateway lacked to make it.
fn judge_failure(error: &io::Error) -> Result<ProbeResult, Shortage> {
    match shortage::behind(error) {
        Some(what) => Err(what),
        None => Ok(ProbeResult { ok: false, reason: error.to_string(), rest: None }),
    }
}

/// The result of reading a response head.
struct ProbeHead {
    status: u16,
    /// Bytes of the body still to come, at most `MAX_DRAINED`.
    left: usize,
}

/// Probes the instance over a dedicated connection.
async fn probe(service: &Service, index: usize, rules: &HealthCheck) -> io::Result<ProbeResult> {
    let instances = &mut service.state.instances();
    let instance = instances.nth(index).ok_or(io::ErrorKind::NotFound)?;
    let mut socket = open_dedicated(service, index).await?;
    let authorization = service.token.as_ref().map_or_else(Vec::new, |token| token.line(clock::coarse()));
    if let Some(name) = &rules.grpc {
        return grpc::probe(&mut socket, instance.authority(), name, &authorization).await;
    }
    let path = &rules.path;
    // Written out because the encoder does not write fields such as Connection.
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: pylae-health-check\r\nAccept: */*\r\nConnection: close\r\n",
        instance.authority()
    );
    send(&mut socket, &[head.as_bytes(), &authorization, b"\r\n"].concat()).await?;
    let ProbeHead { status, left } = read_head(&mut socket).await?;
    let reason = format!("status {status}");
    Ok(ProbeResult { ok: (200..400).contains(&status), reason, rest: Some((socket, left)) })
}

/// Reads the head of the final response.
async fn read_head(socket: &mut Socket) -> io::Result<ProbeHead> {
    let mut head = ResponseHead::default();
    let mut buffer = Vec::with_capacity(LIMITS.head);
    poll_fn(|cx| {
        loop {
            if !buffer.is_empty() {
                match head.parse(&buffer, &LIMITS) {
                    Ok(true) if head.status >= 200 => {
                        let body = match framing::response(&head, &buffer, Method::Get) {
                            Ok(Framing::None) => 0,
                            Ok(Framing::Length(length)) => {
                                usize::try_from(length).unwrap_or(MAX_DRAINED).min(MAX_DRAINED)
                            }
                            Ok(Framing::Chunked | Framing::Close) => MAX_DRAINED,
                            Err(error) => return Poll::Ready(Err(io::Error::other(error.0))),
                        };
                        let left = body.saturating_sub(buffer.len() - head.len);
                        return Poll::Ready(Ok(ProbeHead { status: head.status, left }));
                    }
                    Ok(true) => {
                        buffer.drain(..head.len);
                        head.clear();
                        continue;
                    }
                    Ok(false) if buffer.len() < LIMITS.head => {}
                    _ => return Poll::Ready(Err(io::Error::other("the answer is not HTTP"))),
                }
            }
            if ready!(socket.poll_read(cx, &mut buffer, LIMITS.head))? == 0 {
                return Poll::Ready(Err(io::Error::other("the connection was closed without an answer")));
            }
        }
    })
    .await
}

/// Reads `left` more bytes, so that the instance does not see its response cut off.
async fn drain(mut socket: Socket, mut left: usize) {
    let mut buffer = Vec::with_capacity(4096);
    poll_fn(|cx| {
        while left > 0 {
            buffer.clear();
            match ready!(socket.poll_read(cx, &mut buffer, usize::MAX)) {
                Ok(n) if n > 0 => left = left.saturating_sub(n),
                _ => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests;
