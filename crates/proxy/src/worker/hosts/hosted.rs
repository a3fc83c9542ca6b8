//! The hooks of a stage, called in hosts.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use pylae_core::Exchange;
use pylae_core::hook::flat::{FlatMessageKind, FlatReader, HookChanges, HostedStep, read_step, write_exchange};
use pylae_core::hook::{self, HookCall, HookStage, HookStream, Hooks, On, OnError, Step, full_name};
use serde::{Deserialize, Serialize};

use super::exchange::HostedExchange;
use super::lane::Lane;
use super::link::HostState;
use super::set::{HostSet, StageFigures};
use super::stream::{BrokenStream, HostedStream};
use super::turn::Turn;
use crate::telemetry::log::{Log, Refusals};
use crate::telemetry::metrics::HookFigures;

/// How long the gateway waits for a host beyond the timeouts of its hooks, which the host itself keeps.
const GRACE: Duration = Duration::from_secs(1);

/// A stage as a host is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StageDefinition {
    /// Name of the route; None in the early stage.
    pub(super) route: Option<String>,
    pub(super) params: Vec<Box<str>>,
    pub(super) settled: Vec<Box<str>>,
    pub(super) calls: Vec<HookCall>,
}

/// The hooks of a route, or of the early stage, in hosts.
pub struct HostedStage {
    set: Arc<HostSet>,
    definition: Vec<u8>,
    figures: Arc<StageFigures>,
    route: Option<String>,
    calls: Vec<HookCall>,
    services: Arc<BTreeSet<Box<str>>>,
    log: Arc<Log>,
    refusals: Refusals,
}

/// What an exchange remembers of its hooks.
struct HostedSession {
    exchange: Arc<HostedExchange>,
    half: On,
}

/// Why a host has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostFailure {
    /// No host is ready, or all are full.
    Crowded,
    /// The host is gone.
    Lost,
    /// The host took too long.
    Late,
}

impl HostedStage {
    /// Creates the stage; `services` are those that hooks may choose.
    pub fn new(
        set: &Arc<HostSet>,
        stage: HookStage<'_>,
        calls: &[HookCall],
        services: &Arc<BTreeSet<Box<str>>>,
        log: &Arc<Log>,
    ) -> Self {
        let (route, params, settled) = match stage {
            HookStage::Route { name, params, settled } => (Some(name.to_owned()), params.to_vec(), settled.to_vec()),
            HookStage::Early | HookStage::Authenticator { .. } => (None, Vec::new(), Vec::new()),
        };
        let definition = StageDefinition { route: route.clone(), params, settled, calls: calls.to_vec() };
        // Cannot fail: it has only texts and numbers.
        let definition = serde_json::to_vec(&definition).unwrap_or_default();
        Self {
            set: Arc::clone(set),
            figures: set.stage(&definition),
            definition,
            route,
            calls: calls.to_vec(),
            services: Arc::clone(services),
            log: Arc::clone(log),
            refusals: Refusals::default(),
        }
    }

    /// What the gateway has counted itself: calls that no host has answered.
    pub fn figures(&self) -> Vec<HookFigures> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (lost, refused) = (get(&self.figures.lost), get(&self.figures.refused));
        let of = |call: &HookCall| HookFigures {
            hook: call.name.clone(),
            route: self.route.clone().unwrap_or_default(),
            run: call.run,
            calls: 0,
            failures: lost,
            timeouts: 0,
            worker_seconds: 0.0,
            away_seconds: 0.0,
            budget: call.budget.map(|budget| budget.0.as_secs_f64()),
            over_budget: 0,
            demoted: false,
            refused,
            overdue: 0,
        };
        self.calls.iter().map(of).collect()
    }

    fn is_early(&self) -> bool {
        self.route.is_none()
    }

    /// The hooks of a half.
    fn of_half(&self, half: On) -> impl Iterator<Item = &HookCall> {
        let is_of = move |on: On| match half {
            On::Request => matches!(on, On::Request | On::Around),
            _ => matches!(on, On::Response | On::Around),
        };
        self.calls.iter().filter(move |call| is_of(call.on))
    }

    /// Begins a half in the host of the exchange, or in one that it gets now.
    fn begin(&self, exchange: &mut Exchange, kind: FlatMessageKind) -> Step {
        let half = if kind == FlatMessageKind::Request { On::Request } else { On::Response };
        let is_refusal = kind == FlatMessageKind::Refusal;
        if !self.of_half(half).any(|call| !is_refusal || call.malformed) {
            return Step::Continue;
        }
        let hosted = match self.hosted(exchange) {
            Some(hosted) => hosted,
            None => match self.set.choose() {
                Some(link) => HostedExchange::new(link),
                None => return self.give_up(exchange, half, HostFailure::Crowded),
            },
        };
        if !hosted.is_open() {
            return self.give_up(exchange, half, HostFailure::Lost);
        }
        let Some(lane) = Lane::of(&hosted.link) else { return self.give_up(exchange, half, HostFailure::Lost) };
        let sent = lane.introduce(self.figures.number, &self.definition)
            && lane.send(kind, hosted.key, |to| {
                to.short(self.figures.number);
                write_exchange(exchange, &mut hosted.bodies.lock(), to);
            });
        if !sent {
            return self.give_up(exchange, half, HostFailure::Crowded);
        }
        lane.begin(hosted.key, Turn::new(&hosted.link));
        let until = Box::pin(wait(Awaited { lane, key: hosted.key, is_over: false }));
        self.store(exchange, HostedSession { exchange: hosted, half });
        let timeouts = self.of_half(half).map(|call| call.timeout.0);
        Step::Wait { until, timeout: timeouts.sum::<Duration>() + GRACE }
    }

    /// The exchange as a host knows it already, by these hooks or by early ones.
    fn hosted(&self, exchange: &Exchange) -> Option<Arc<HostedExchange>> {
        let hooks = exchange.hooks()?;
        let own = if self.is_early() { &hooks.early } else { &hooks.session };
        let session = own.as_ref().or(hooks.early.as_ref())?;
        session.downcast_ref().map(|session: &HostedSession| Arc::clone(&session.exchange))
    }

    fn store(&self, exchange: &mut Exchange, session: HostedSession) {
        let visit = exchange.hook_visit();
        *(if self.is_early() { &mut visit.early } else { &mut visit.session }) = Some(Box::new(session));
    }

    fn take(&self, exchange: &mut Exchange) -> Option<HostedSession> {
        let visit = exchange.hooks_mut()?;
        let place = if self.is_early() { &mut visit.early } else { &mut visit.session };
        place.take()?.downcast().ok().map(|session| *session)
    }

    /// Goes on without an answer of the host, as the hooks of the half say. Which of them the host has called nobody
    /// knows, so it goes on only if it may go on without each.
    fn give_up(&self, exchange: &Exchange, half: On, failure: HostFailure) -> Step {
        let mut hooks = self.of_half(half);
        let name = full_name(
            &self.of_half(half).map(|call| &*call.name).collect::<Vec<_>>().join(", "),
            self.route.as_deref().unwrap_or_default(),
        );
        let id = String::from_utf8_lossy(&exchange.request.id);
        let (event, why, counter) = match failure {
            HostFailure::Crowded => ("hook_not_called", "no hook host is ready for it", &self.figures.refused),
            HostFailure::Lost => ("hook_host_lost", "its hook host is gone", &self.figures.lost),
            HostFailure::Late => ("hook_host_late", "its hook host does not answer", &self.figures.lost),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.refusals.report(&self.log, exchange.times.now, event, || format!("{name}, request {id}: {why}"));
        if !hooks.any(|call| call.on_error == OnError::Fail) {
            return Step::Continue;
        }
        Step::Reject(Box::new(if failure == HostFailure::Crowded { hook::stuck() } else { hook::failure() }))
    }

    /// Takes over what the host has answered. Returns None if no host can have meant it.
    fn accept(&self, exchange: &mut Exchange, hosted: &HostedExchange, answer: &[u8]) -> Option<(bool, Step)> {
        let mut from = FlatReader::new(answer);
        let is_over = from.flag()?;
        let step = read_step(&mut from)?;
        let changes = HookChanges::read(&mut from, exchange, &mut hosted.bodies.lock(), false)?;
        let is_known = |name| self.services.contains(name);
        if !from.is_done() || !changes.service().is_none_or(is_known) {
            return None;
        }
        let told = changes.apply(exchange);
        tell_costs(exchange, told);
        Some((
            is_over,
            match step {
                HostedStep::Continue => Step::Continue,
                HostedStep::Answer(answer) => Step::Answer(answer),
                HostedStep::Reject(rejection) => Step::Reject(rejection),
            },
        ))
    }
}

/// Notes true costs that hooks have told.
pub(super) fn tell_costs(exchange: &Exchange, told: impl IntoIterator<Item = hook::ToldCost>) {
    if let Some(reserved) = exchange.admitted().and_then(|admitted| admitted.reserved.as_ref()) {
        told.into_iter().for_each(|(limit, cost)| reserved.tell(limit, cost));
    }
}

impl Hooks for HostedStage {
    fn on_request(&self, exchange: &mut Exchange) -> Step {
        self.begin(exchange, FlatMessageKind::Request)
    }

    fn on_response(&self, exchange: &mut Exchange) -> Step {
        self.begin(exchange, FlatMessageKind::Response)
    }

    fn on_refusal(&self, exchange: &mut Exchange) -> Step {
        self.begin(exchange, FlatMessageKind::Refusal)
    }

    fn resume(&self, exchange: &mut Exchange, in_time: bool) -> Step {
        let Some(session) = self.take(exchange) else { return Step::Reject(Box::new(hook::failure())) };
        let HostedSession { exchange: hosted, half } = session;
        let turn = Lane::known(&hosted.link).and_then(|lane| lane.take(hosted.key));
        let answer = turn.and_then(|mut turn| turn.done.take());
        let Some(answer) = answer else {
            hosted.close();
            let failure = if in_time { HostFailure::Lost } else { HostFailure::Late };
            self.store(exchange, HostedSession { exchange: hosted, half });
            return self.give_up(exchange, half, failure);
        };
        let Some((is_over, step)) = self.accept(exchange, &hosted, &answer) else {
            hosted.link.condemn("mad");
            hosted.link.advance(HostState::Lost);
            self.store(exchange, HostedSession { exchange: hosted, half });
            return self.give_up(exchange, half, HostFailure::Lost);
        };
        if is_over {
            hosted.close();
        } else {
            self.store(exchange, HostedSession { exchange: hosted, half });
        }
        step
    }

    fn sees_responses(&self) -> bool {
        self.calls.iter().any(|call| !matches!(call.on, On::Request | On::Authenticate))
    }

    fn stream(&self, exchange: &mut Exchange) -> Option<Box<dyn HookStream>> {
        let events = exchange.response.is_event_stream();
        let is_wanted = |call: &HookCall| call.on == On::Chunks || (events && call.on == On::Events);
        if !self.calls.iter().any(is_wanted) {
            return None;
        }
        let known = self.hosted(exchange).filter(|hosted| hosted.is_open());
        let Some(hosted) = known.or_else(|| self.set.choose().map(HostedExchange::new)) else {
            self.give_up(exchange, On::Response, HostFailure::Crowded);
            return Some(Box::new(BrokenStream));
        };
        let Some(lane) = Lane::of(&hosted.link) else { return Some(Box::new(BrokenStream)) };
        let key = hosted.link.next_key();
        let sent = lane.introduce(self.figures.number, &self.definition)
            && lane.send(FlatMessageKind::Stream, key, |to| {
                to.short(self.figures.number);
                to.long(hosted.key);
                write_exchange(exchange, &mut hosted.bodies.lock(), to);
            });
        if !sent {
            return Some(Box::new(BrokenStream));
        }
        lane.begin(key, Turn::new(&hosted.link));
        let reserved = exchange.admitted().and_then(|admitted| admitted.reserved.clone());
        Some(Box::new(HostedStream::new(hosted, key, reserved)))
    }
}

/// A call whose answer is awaited. Dropped before, it tells the host that nobody waits any more.
struct Awaited {
    lane: Rc<Lane>,
    key: u64,
    is_over: bool,
}

async fn wait(mut awaited: Awaited) {
    poll_fn(|cx| {
        let is_over = awaited.lane.with(awaited.key, |turn| {
            if turn.done.is_none() && !turn.lost {
                turn.register(cx);
                return false;
            }
            true
        });
        if is_over == Some(false) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    awaited.is_over = true;
}

impl Drop for Awaited {
    fn drop(&mut self) {
        // An answer that has come meanwhile goes with it: nobody else takes it.
        if !self.is_over && self.lane.take(self.key).is_some_and(|turn| turn.done.is_none()) {
            self.lane.send(FlatMessageKind::Cancel, self.key, |_| {});
        }
    }
}
