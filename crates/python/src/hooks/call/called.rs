//! A hook of a route, and the statistics of its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pylae_core::Exchange;
use pylae_core::hook::{HookCall, On, Run, full_name};
use pylae_proxy::{HookFigures, Log, Refusals};
use pyo3::prelude::*;

use super::failure;
use super::overruns::Overruns;
use crate::hooks::executor::watchdog::{HookTimeout, WatchedHook};
use crate::hooks::message::handle::ExchangeHandle;
use crate::hooks::message::made::PyResponse;
use crate::hooks::spans;

/// Strikes for each call over budget, and the number that moves the hook off the workers. A call within budget takes
/// one strike back, so eight overruns in a row suffice, or more than one in nine calls over time.
const STRIKES_PER_OVERRUN: u64 = 8;
const DEMOTION_STRIKES: u64 = 64;
/// Number of threads of the pool that a hook may keep beyond its timeout. Further calls are refused.
const MAX_STUCK: u64 = 4;

/// A hook of a route.
pub(crate) struct Called {
    pub(crate) call: HookCall,
    pub(crate) function: Py<PyAny>,
    /// Name of the route; None in the early stage.
    route: Option<Box<str>>,
    log: Arc<Log>,
    calls: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    nanoseconds: AtomicU64,
    /// Time that calls took on the loop or the pool.
    away: AtomicU64,
    over_budget: AtomicU64,
    overruns: Overruns,
    strikes: AtomicU64,
    demoted: AtomicBool,
    /// Threads of the pool that calls keep though their time is up.
    stuck: AtomicU64,
    /// Calls that were not made, because others do not return.
    refused: AtomicU64,
    refusals: Refusals,
}

impl Called {
    pub(crate) fn new(call: HookCall, function: Py<PyAny>, route: Option<&str>, log: &Arc<Log>) -> Arc<Self> {
        Arc::new(Self {
            call,
            function,
            route: route.map(Into::into),
            log: Arc::clone(log),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            away: AtomicU64::new(0),
            over_budget: AtomicU64::new(0),
            overruns: Overruns::default(),
            strikes: AtomicU64::new(0),
            demoted: AtomicBool::new(false),
            stuck: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refusals: Refusals::default(),
        })
    }

    /// Returns true if this is the same hook on the same route with the same settings.
    pub(crate) fn matches(&self, route: Option<&str>, call: &HookCall, function: &Py<PyAny>) -> bool {
        self.route.as_deref() == route && self.call == *call && self.function.is(function)
    }

    /// The hook and where it stands, for logs.
    fn full_name(&self) -> String {
        full_name(&self.call.name, self.route.as_deref().unwrap_or_default())
    }

    /// Returns where the hook runs.
    pub(crate) fn run(&self) -> Run {
        match self.call.run {
            Run::Worker if self.demoted.load(Ordering::Relaxed) => Run::Pool,
            Run::Coroutine if self.demoted.load(Ordering::Relaxed) => Run::Loop,
            run => run,
        }
    }

    /// Counts a call.
    pub(crate) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Records how long a call kept the worker busy, and moves a hook that often exceeds its budget off the workers.
    pub(crate) fn record_duration(&self, time: Duration) {
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        let Some(budget) = self.call.budget else { return };
        let strikes = self.strikes.load(Ordering::Relaxed);
        if time <= budget.0 {
            if strikes > 0 {
                self.strikes.store(strikes - 1, Ordering::Relaxed);
            }
            return;
        }
        self.over_budget.fetch_add(1, Ordering::Relaxed);
        self.overruns.report(&self.log, || {
            let name = self.full_name();
            format!("{name} kept a worker for {time:?}, longer than its budget of {:?}", budget.0)
        });
        self.strike(strikes, budget.0, time);
    }

    /// Records how long a call took that did not run on the worker.
    pub(crate) fn record_away(&self, time: Duration) {
        self.away.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    fn strike(&self, strikes: u64, most: Duration, time: Duration) {
        self.strikes.store(strikes + STRIKES_PER_OVERRUN, Ordering::Relaxed);
        if strikes + STRIKES_PER_OVERRUN >= DEMOTION_STRIKES && !self.demoted.swap(true, Ordering::Relaxed) {
            let name = self.full_name();
            let place = if self.call.run == Run::Worker { "the pool of threads" } else { "the asyncio loop" };
            let message = format!(
                "{name} keeps workers longer than its budget of {most:?} ({time:?} this time) and runs on {place} from now on",
            );
            self.log.write("warning", "hook_demoted", message);
        }
    }

    /// True if the hook keeps so many threads of the pool that it gets no more.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed) >= MAX_STUCK
    }

    /// Logs and counts a call that was not made, because the hook itself or another one does not return.
    pub(crate) fn record_refusal(&self, exchange: &Exchange, why: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let (name, id) = (self.full_name(), String::from_utf8_lossy(&exchange.request.id));
        self.refusals.report(&self.log, exchange.times.now, "hook_not_called", || {
            format!("{name} is not called, request {id}: {why}")
        });
    }

    /// Logs and counts a failure. Reads the request id from the exchange, if the handle is open.
    pub(crate) fn record_failure(&self, py: Python<'_>, handle: &ExchangeHandle, error: &PyErr) {
        let id = handle.with(|exchange| String::from_utf8_lossy(&exchange.request.id).into_owned()).unwrap_or_default();
        self.record_failure_of(py, &id, error);
    }

    /// Logs and counts a failure for the request with this id.
    pub(crate) fn record_failure_of(&self, py: Python<'_>, id: &str, error: &PyErr) {
        let counter = if error.is_instance_of::<HookTimeout>(py) { &self.timeouts } else { &self.failures };
        counter.fetch_add(1, Ordering::Relaxed);
        let (name, text) = (self.full_name(), failure::describe(py, error));
        self.log.write("error", "hook_failed", format!("{name} failed, request {id}: {text}"));
    }

    /// Logs and counts a call that exceeded its timeout.
    pub(crate) fn record_timeout(&self, exchange: &Exchange) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
        let (name, id) = (self.full_name(), String::from_utf8_lossy(&exchange.request.id));
        let message = format!("{name} took longer than {:?}, request {id}", self.timeout());
        self.log.write("error", "hook_timeout", message);
    }

    /// Logs and counts a call that the executor refused.
    pub(crate) fn record_overload(&self, exchange: &Exchange) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let (name, id) = (self.full_name(), String::from_utf8_lossy(&exchange.request.id));
        let message = format!("{name} has too many calls under way, request {id}");
        self.log.write("error", "hook_crowded", message);
    }

    /// Calls the hook on this thread: with the response, with `next`, or with the request only.
    pub(crate) fn invoke<'py>(
        &self,
        handle: &Arc<ExchangeHandle>,
        py: Python<'py>,
        half: On,
        next: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (mut run, request) = (handle.context(py)?, handle.request(py)?);
        if self.run() == Run::Pool && self.call.on == On::Around {
            // The hook stays in its context while other hooks run, so it gets a copy.
            run = run.getattr("__self__")?.call_method0("copy")?.getattr("run")?;
        }
        spans::enter(py, &run, handle)?;
        match (half, next) {
            (On::Response | On::Chunks | On::Events, _) => {
                run.call1((&self.function, &request, PyResponse::of(request.clone().unbind())))
            }
            (_, Some(next)) => run.call1((&self.function, request, next)),
            (_, None) => run.call1((&self.function, request)),
        }
    }

    /// Returns the statistics of the hook.
    pub(crate) fn figures(&self) -> HookFigures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HookFigures {
            hook: self.call.name.clone(),
            route: self.route.as_deref().unwrap_or_default().to_owned(),
            run: self.run(),
            calls: get(&self.calls),
            failures: get(&self.failures),
            timeouts: get(&self.timeouts),
            worker_seconds: Duration::from_nanos(get(&self.nanoseconds)).as_secs_f64(),
            away_seconds: Duration::from_nanos(get(&self.away)).as_secs_f64(),
            budget: self.call.budget.map(|budget| budget.0.as_secs_f64()),
            over_budget: get(&self.over_budget),
            demoted: self.demoted.load(Ordering::Relaxed),
            refused: get(&self.refused),
            overdue: 0,
        }
    }
}

impl WatchedHook for Called {
    fn hook(&self) -> &str {
        &self.call.name
    }

    fn route(&self) -> &str {
        self.route.as_deref().unwrap_or_default()
    }

    fn timeout(&self) -> Duration {
        self.call.timeout.0
    }

    /// Counts each look at a call that exceeds its budget as an overrun: a hook that never returns is moved off the
    /// workers while it keeps the first. Without a budget its timeout counts.
    fn overrun(&self, time: Duration) {
        let most = self.call.budget.map_or(self.call.timeout.0, |budget| budget.0);
        if time > most {
            self.strike(self.strikes.load(Ordering::Relaxed), most, time);
        }
    }

    fn set_stuck(&self, stuck: bool) {
        if stuck {
            self.stuck.fetch_add(1, Ordering::Relaxed);
        } else {
            self.stuck.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
