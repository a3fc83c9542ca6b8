//! The Python class of the running data plane.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::Problem;
use pylae_core::cluster::Revoked;
use pylae_core::hook::HookSource;
use pylae_core::maintenance::Maintenance;
use pylae_proxy::{AdminSettings, Drain, LogArea, RegistryStore};
use pyo3::exceptions::{PyLookupError, PyValueError};
use pyo3::prelude::*;

use crate::errors::{hook_error, plan_error};
use crate::hooks::{Executors, HookFunctions, HookTable, Job, LIVE, PyExecutor, PyHookHosts};
use crate::registry::PyRegistryStore;
use crate::surrounding::SurroundingMetrics;
use crate::{gil, hooks, plan};

/// The addresses of a client of the admin API and of the gateway.
type AdminEnds = ((String, u16), (String, u16));

/// The running data plane. `Engine(plan, hooks, bound)` starts it.
#[pyclass(name = "Engine", frozen)]
pub(crate) struct PyEngine {
    pub(crate) plane: Arc<pylae_proxy::Engine>,
    executors: Arc<Executors<Job>>,
    /// The hooks in force.
    hooks: Arc<Mutex<Arc<HookTable>>>,
    surrounding: Arc<SurroundingMetrics>,
}

#[pymethods]
impl PyEngine {
    /// Starts the data plane, or raises `PlanError` with all problems. The plan refers to the callables in `hooks` by
    /// index; with them come the hosts that run them, but for authenticators, or None. `bound` is called once all
    /// sockets are bound, before anything is served. Then, in a cluster, `joined` is called with the store, and may
    /// return a plan with other instances to begin with. What they raise is raised here. `maintenance` is what
    /// `set_maintenance` is given.
    #[new]
    #[pyo3(signature = (plan, hooks, bound=None, joined=None, maintenance=None))]
    fn start(
        py: Python<'_>,
        plan: &str,
        hooks: HookFunctions,
        bound: Option<Py<PyAny>>,
        joined: Option<Py<PyAny>>,
        maintenance: Option<&str>,
    ) -> PyResult<Self> {
        let raised = Mutex::new(None);
        let raise = |error| {
            *raised.lock() = Some(error);
            Vec::new()
        };
        let call_bound = || {
            let called = bound.and_then(|bound| gil::attached(|py| bound.call0(py)));
            called.transpose().map(drop).map_err(raise)
        };
        let call_joined = |store: RegistryStore| {
            let called = joined.and_then(|joined| gil::attached(|py| joined_plan(py, &joined, store)));
            called.transpose().map_err(raise)?.flatten().map(|plan| plan::parse(&plan)).transpose()
        };
        let started = gil::detached(py, || {
            let plan = plan::parse(plan)?;
            let maintenance = maintenance.map_or_else(|| Ok(Maintenance::default()), read_maintenance)?;
            let executors = hooks::executors().map_err(|error| vec![Problem::at("", error.to_string())])?;
            let mut table = None;
            let source = |plan: &pylae_core::Plan, log: &Arc<pylae_proxy::Log>| {
                let source = Arc::new(HookTable::new(plan, Some(PyHookHosts::split(hooks)), log, &executors, None));
                Ok(Arc::clone(table.insert(source)) as Arc<dyn HookSource>)
            };
            let engine = pylae_proxy::Engine::start(plan, maintenance, source, call_bound, call_joined)?;
            // Always set: the engine has started.
            let hooks = table.ok_or_else(Vec::new)?;
            let (plane, hooks) = (Arc::new(engine), Arc::new(Mutex::new(hooks)));
            let (counted, surrounding) = (Arc::downgrade(&hooks), Arc::<SurroundingMetrics>::default());
            let read = move || counted.upgrade().map_or_else(Vec::new, |hooks| hooks.lock().figures());
            plane.watch_hooks(Box::new(read.clone()));
            let others = Arc::downgrade(&surrounding);
            plane.export_metrics(read, move || others.upgrade().map_or_else(String::new, |others| others.page()));
            Ok(Self { plane, executors, hooks, surrounding })
        });
        started.map_err(|problems: Vec<Problem>| raised.into_inner().unwrap_or_else(|| plan_error(&problems)))
    }

    /// Replaces the plan in force as a whole, or raises `PlanError` with all problems and changes nothing. Without
    /// `hooks`, which a plan of the same configuration leaves out, they are as they were.
    #[pyo3(signature = (plan, hooks=None))]
    fn apply(&self, py: Python<'_>, plan: &str, hooks: Option<HookFunctions>) -> PyResult<()> {
        refuse_on_worker(py)?;
        let hooks = hooks.map(PyHookHosts::split);
        gil::detached(py, || {
            let plan = plan::parse(plan)?;
            let previous = Arc::clone(&self.hooks.lock());
            let source = Arc::new(HookTable::new(&plan, hooks, self.plane.log(), &self.executors, Some(&previous)));
            self.plane.apply(plan, &*source)?;
            source.release_previous();
            *self.hooks.lock() = source;
            Ok(())
        })
        .map_err(|problems: Vec<Problem>| plan_error(&problems))
    }

    /// Returns the listening addresses as `host:port`. Like every call that may wait for other threads, it releases the
    /// interpreter's lock, which those threads may need.
    fn addresses(&self, py: Python<'_>) -> Vec<String> {
        gil::detached(py, || self.plane.addresses().iter().map(ToString::to_string).collect())
    }

    /// Stops accepting connections, finishes exchanges in flight if `drain` is true, and stops the data plane. Returns
    /// False if a hook does not return and its thread had to be left.
    fn stop(&self, py: Python<'_>, drain: bool) -> PyResult<bool> {
        refuse_on_worker(py)?;
        Ok(gil::detached(py, || {
            let all_ended = self.plane.stop(if drain { Drain::Within } else { Drain::No });
            self.executors.stop() && all_ended
        }))
    }

    /// Returns the loop's side of the executor, which an asyncio loop must serve.
    fn executor(&self) -> PyExecutor {
        PyExecutor(Arc::clone(&self.executors))
    }

    /// Drains an instance of a service, or uses it again. Returns True if that is a change; raises `LookupError` if
    /// there is no such instance.
    fn set_draining(&self, py: Python<'_>, service: &str, instance: &str, draining: bool) -> PyResult<bool> {
        gil::detached(py, || self.plane.set_draining(service, instance, draining))
            .map_err(|problem| PyLookupError::new_err(problem.message))
    }

    /// Revokes the token with this `jti`, or everything issued to this user so far, for `seconds` from now. Returns
    /// False if the maximum number of revocations is reached.
    fn revoke(&self, py: Python<'_>, kind: &str, value: &str, seconds: f64) -> PyResult<bool> {
        let what = match kind {
            "jti" => Revoked::Token(value),
            "user" => Revoked::User(value),
            _ => return Err(PyValueError::new_err("either a jti or a user can be revoked")),
        };
        let span = Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(gil::detached(py, || self.plane.revoke(what, span)))
    }

    /// Replaces what is switched to maintenance by the JSON document. Raises `PlanError` if that is none.
    fn set_maintenance(&self, py: Python<'_>, maintenance: &str) -> PyResult<()> {
        gil::detached(py, || {
            self.plane.set_maintenance(read_maintenance(maintenance)?);
            Ok(())
        })
        .map_err(|problems: Vec<Problem>| plan_error(&problems))
    }

    /// Closes the breaker of a service or of one instance. Returns True if that is a change, or None if there is no
    /// breaker; raises `LookupError` if there is no such service or instance.
    #[pyo3(signature = (service, instance=None))]
    fn reset_breaker(&self, py: Python<'_>, service: &str, instance: Option<&str>) -> PyResult<Option<bool>> {
        gil::detached(py, || self.plane.reset_breaker(service, instance))
            .map_err(|problem| PyLookupError::new_err(problem.message))
    }

    /// Returns the state of a limit for a key as JSON. `question` is a JSON document; raises `PlanError` if it cannot
    /// be answered.
    fn limit(&self, py: Python<'_>, question: &str) -> PyResult<String> {
        gil::detached(py, || {
            let question = serde_json::from_str(question).map_err(|error| vec![Problem::at("", error.to_string())])?;
            let standing = self.plane.limit(&question).map_err(|problem| vec![problem])?;
            Ok(serde_json::json!(standing).to_string())
        })
        .map_err(|problems: Vec<Problem>| plan_error(&problems))
    }

    /// Returns the number of keys that rate limits hold, and the bytes they take.
    fn limit_usage(&self, py: Python<'_>) -> (usize, usize) {
        gil::detached(py, || self.plane.limit_usage())
    }

    /// Returns the exchanges after the cursors as JSON, at most `most` per worker.
    #[expect(clippy::needless_pass_by_value, reason = "a list of Python becomes a vector of its own")]
    fn exchanges(&self, py: Python<'_>, cursors: Vec<u64>, most: usize, watch: bool) -> String {
        gil::detached(py, || {
            let page = self.plane.exchanges(&cursors, most, watch);
            let (cursors, missed, passed_over) = (page.cursors, page.missed, page.passed_over);
            // Each line is JSON already.
            let lines = page.lines.join(",");
            format!(r#"{{"cursors":{cursors:?},"missed":{missed},"passed_over":{passed_over},"exchanges":[{lines}]}}"#)
        })
    }

    /// Returns all statistics as JSON.
    fn stats(&self, py: Python<'_>) -> String {
        gil::detached(py, || {
            let mut stats = serde_json::json!(self.plane.stats());
            let calls = self.hooks.lock().figures();
            stats["hooks"] = serde_json::json!({ "live_requests": LIVE.load(Ordering::Relaxed), "calls": calls });
            stats.to_string()
        })
    }

    /// Returns all metrics in the text format of Prometheus, or with `openmetrics` in that, without its end.
    fn metrics(&self, py: Python<'_>, openmetrics: bool) -> String {
        gil::detached(py, || {
            let hooks = self.hooks.lock().figures();
            if openmetrics { self.plane.openmetrics(&hooks) } else { self.plane.metrics(&hooks) }
        })
    }

    /// Has the metrics that `others` returns, in the text format of Prometheus, sent to collectors with the engine's
    /// own.
    fn add_metrics(&self, others: Py<PyAny>) {
        self.surrounding.set(others);
    }

    /// Returns the most important figures as JSON.
    fn summary(&self, py: Python<'_>) -> String {
        gil::detached(py, || serde_json::json!(self.plane.summary()).to_string())
    }

    /// Returns the warnings about the plan in force as JSON, each with `path` and `message`.
    fn warnings(&self, py: Python<'_>) -> String {
        gil::detached(py, || serde_json::json!(self.plane.warnings()).to_string())
    }

    /// Returns what policies and hooks have cost, as JSON.
    fn costs(&self, py: Python<'_>) -> String {
        gil::detached(py, || serde_json::json!(self.plane.costs()).to_string())
    }

    /// Begins to watch for exchanges, which the JSON document describes. Returns the id of the watch; raises
    /// `PlanError` if there are too many.
    fn watch(&self, py: Python<'_>, question: &str) -> PyResult<u64> {
        gil::detached(py, || {
            let question = serde_json::from_str(question).map_err(|error| vec![Problem::at("", error.to_string())])?;
            self.plane.watch(question).map_err(|problem| vec![problem])
        })
        .map_err(|problems: Vec<Problem>| plan_error(&problems))
    }

    /// Returns what has come of a watch as JSON, or None if there is none with this id.
    fn watched(&self, py: Python<'_>, watch: u64) -> Option<String> {
        gil::detached(py, || self.plane.watched(watch).map(|progress| serde_json::json!(progress).to_string()))
    }

    /// Ends a watch.
    fn end_watch(&self, py: Python<'_>, watch: u64) {
        gil::detached(py, || self.plane.end_watch(watch));
    }

    /// Returns the traces that are kept as a JSON list, latest first.
    fn traces(&self, py: Python<'_>) -> String {
        gil::detached(py, || format!("[{}]", self.plane.traces().join(",")))
    }

    /// Returns the trace with this id as JSON, or None.
    fn trace(&self, py: Python<'_>, name: &str) -> Option<String> {
        gil::detached(py, || self.plane.trace(name).map(|found| found.to_string()))
    }

    /// Returns the id of a trace and the token that asks for it, good for `seconds` and once; None if the system has no
    /// random numbers.
    fn issue_trace_token(&self, py: Python<'_>, seconds: u64) -> Option<(String, String)> {
        gil::detached(py, || self.plane.issue_trace_token(seconds))
    }

    /// Has the files of access logs opened again, as after a rotation.
    fn reopen_logs(&self, py: Python<'_>) {
        gil::detached(py, || self.plane.reopen_logs());
    }

    /// Counts a configuration that was refused before it was compiled to a plan.
    fn count_refusal(&self, py: Python<'_>) {
        gil::detached(py, || self.plane.count_refusal());
    }

    /// Purges the responses that the JSON document selects from the cache, and returns their number.
    fn purge_cache(&self, py: Python<'_>, purge: &str) -> PyResult<usize> {
        gil::detached(py, || {
            let purge = serde_json::from_str(purge).map_err(|error| vec![Problem::at("", error.to_string())])?;
            self.plane.purge_cache(purge)
        })
        .map_err(|problems| plan_error(&problems))
    }

    /// Serves the admin address until the end of the stop. `place` is its listening socket, which is duplicated, and
    /// its name in the plan, which says whether it speaks TLS. `hosts` are the names besides the loopback ones that it
    /// answers for, None any. Answers `/live` and `/ready`; all other connections wait for `next_admin_connection`. Who
    /// presents `token` is told how the gateway is doing while Python cannot answer; None asks for no token. `bounds`
    /// are the connections whose head is awaited, the seconds for a head, and those that a connection waits. Returns a
    /// descriptor that is readable while there are any, and that the caller closes.
    fn serve_admin(
        &self,
        py: Python<'_>,
        place: (RawFd, String),
        hosts: Option<Vec<String>>,
        token: Option<String>,
        bounds: (usize, f64, f64),
    ) -> PyResult<RawFd> {
        let (fd, address) = place;
        let seconds =
            |value| Duration::try_from_secs_f64(value).map_err(|error| PyValueError::new_err(error.to_string()));
        let (connections, head_time, patience) = (bounds.0, seconds(bounds.1)?, seconds(bounds.2)?);
        let settings = AdminSettings { address, hosts, connections, head_time, patience, token };
        if fd < 0 {
            return Err(PyValueError::new_err("a descriptor is not negative"));
        }
        // SAFETY: not -1, and the caller holds the socket during the call.
        let listening = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
        Ok(gil::detached(py, || self.plane.serve_admin(listening, settings))?.into_raw_fd())
    }

    /// Replaces the token of the admin address.
    fn set_admin_token(&self, py: Python<'_>, token: &str) {
        gil::detached(py, || self.plane.set_admin_token(token));
    }

    /// Replaces the names besides the loopback ones that the admin address answers for.
    fn set_admin_hosts(&self, py: Python<'_>, hosts: Vec<String>) {
        gil::detached(py, || self.plane.set_admin_hosts(hosts));
    }

    /// Returns a connection to the admin address, or None if none waits: its descriptor, which the caller closes, and
    /// if it speaks TLS the addresses of the client and of the gateway.
    fn next_admin_connection(&self, py: Python<'_>) -> Option<(RawFd, Option<AdminEnds>)> {
        let connection = gil::detached(py, || self.plane.next_admin_connection())?;
        let named = |address: SocketAddr| (address.ip().to_canonical().to_string(), address.port());
        let ends = connection.ends.map(|ends| (named(ends.client), named(ends.server)));
        Some((connection.descriptor.into_raw_fd(), ends))
    }

    /// Returns what `/live` and `/ready` say: `live` or `stuck`; `ready`, `stopping` or `stuck`.
    fn liveness(&self) -> (&'static str, &'static str) {
        let liveness = self.plane.liveness();
        (liveness.live(), liveness.ready())
    }

    /// Returns the log records since the last call as a JSON list, waiting at most `patience` seconds for one. Returns
    /// None once the engine has stopped.
    fn read_log(&self, py: Python<'_>, patience: f64) -> Option<String> {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
        gil::detached(py, || self.plane.wait_for_log(patience));
        // Taken with the interpreter's lock held: if it cannot be had, the data plane writes the records itself.
        self.plane.take_log().map(|records| serde_json::json!(records).to_string())
    }
}

fn read_maintenance(document: &str) -> Result<Maintenance, Vec<Problem>> {
    serde_json::from_str(document).map_err(|error| vec![Problem::at("maintenance", error.to_string())])
}

/// What a call of `joined` returns.
fn joined_plan(py: Python<'_>, joined: &Py<PyAny>, store: RegistryStore) -> PyResult<Option<String>> {
    joined.call1(py, (PyRegistryStore::new(store),))?.extract(py)
}

/// Writes whole lines to standard error. Never waits for its reader.
#[pyfunction]
pub(crate) fn write_stderr(lines: &str) {
    pylae_proxy::write_stderr(lines);
}

/// Waits until standard error has taken everything, for at most `patience` seconds. Returns False if something is left.
#[pyfunction]
pub(crate) fn flush_stderr(py: Python<'_>, patience: f64) -> bool {
    let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
    gil::detached(py, || pylae_proxy::flush_stderr(patience))
}

/// Counts records that were dropped because handlers of `logging` took them too slowly.
#[pyfunction]
pub(crate) fn count_unhandled(records: u64) {
    pylae_proxy::count_unhandled(records);
}

/// Makes the steps of the data plane in these areas records of the log, and no others. Raises `ValueError`.
#[pyfunction]
pub(crate) fn set_log_steps(areas: Vec<String>) -> PyResult<()> {
    let area = |name: String| {
        let found = LogArea::ALL.into_iter().find(|area| area.name() == name);
        found.ok_or_else(|| PyValueError::new_err(format!("{name:?} is not an area of the log")))
    };
    let areas = areas.into_iter().map(area).collect::<PyResult<Vec<_>>>()?;
    pylae_proxy::set_log_steps(areas);
    Ok(())
}

/// Shifts the clock of every engine of the process by some nanoseconds, for tests.
#[pyfunction]
pub(crate) fn shift_clock(nanos: i64) {
    pylae_proxy::shift_clock(nanos);
}

/// Raises `HookError` on a worker thread, where waiting for all workers would deadlock.
#[pyfunction]
pub(crate) fn refuse_on_worker(py: Python<'_>) -> PyResult<()> {
    const WHY: &str = "a hook that runs on a worker cannot change or stop its gateway: it would wait for itself";
    if gil::worker().is_some() { Err(hook_error(py, WHY)) } else { Ok(()) }
}
