//! Hooks: the Python callables of a plan, and the machinery that calls them.

mod call;
mod executor;
mod message;
mod route;
mod session;
mod spans;

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use pylae_core::hook::{HookCall, HookSource, HookStage, Hooks, OverdueCall};
use pylae_core::{Plan, Problem};
use pylae_proxy::{HookFigures, Log};
use pyo3::prelude::*;

pub(crate) use call::job::Job;
pub(crate) use call::task::PyExecutor;
pub(crate) use executor::Executors;
pub(crate) use message::handle::LIVE;

use crate::gil;
use call::called::Called;
use call::{blocking, failure, next, stream, task};
use executor::watchdog;
use message::handle::{self, About, RequestAccess};
use message::{certificate, headers, made, parsed, ready, request, user};
use route::RouteHooks;

/// Adds the classes and functions for hooks to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<handle::PyRequest>()?;
    module.add_class::<made::PyResponse>()?;
    module.add_class::<headers::PyHeaders>()?;
    module.add_class::<user::PyUser>()?;
    module.add_class::<user::PyKnown>()?;
    module.add_class::<certificate::PyCertificate>()?;
    module.add_class::<ready::Ready>()?;
    module.add_class::<parsed::PyUrl>()?;
    module.add_class::<parsed::PyQueryParams>()?;
    module.add_class::<task::PyExecutor>()?;
    module.add_class::<task::Task>()?;
    module.add_class::<stream::Pieces>()?;
    module.add_class::<next::CallNext>()?;
    module.add_class::<next::Next>()?;
    module.add("HookTimeout", module.py().get_type::<watchdog::HookTimeout>())?;
    module.add_function(wrap_pyfunction!(spans::record_span, module)?)?;
    module.add_function(wrap_pyfunction!(request::live_requests, module)?)?;
    module.add_function(wrap_pyfunction!(failure::after_fork_in_child, module)?)
}

/// Creates the executors for hooks that do not run on workers.
pub(crate) fn executors() -> std::io::Result<Arc<Executors<Job>>> {
    Executors::new(blocking::run)
}

/// The callables of a plan.
pub(crate) struct HookTable {
    functions: Arc<[Py<PyAny>]>,
    /// Service names by route name.
    routes: std::collections::BTreeMap<Box<str>, Option<Box<str>>>,
    services: Arc<BTreeSet<Box<str>>>,
    /// Route names in the order of the plan.
    names: Arc<[Box<str>]>,
    log: Arc<Log>,
    executors: Arc<Executors<Job>>,
    /// Counts configurations. A plan with other instances and the same functions belongs to the same one.
    revision: u64,
    /// The hooks of the previous plan, until this one is in force.
    previous: Mutex<Vec<Arc<Called>>>,
    /// The hooks of all routes, for their statistics.
    called: Mutex<Vec<Arc<Called>>>,
}

impl HookTable {
    /// `functions` are None if they are those of `previous`, the table in force. Hooks that are in both keep their
    /// statistics.
    pub(crate) fn new(
        plan: &Plan,
        functions: Option<Vec<Py<PyAny>>>,
        log: &Arc<Log>,
        executors: &Arc<Executors<Job>>,
        previous: Option<&Self>,
    ) -> Self {
        let before = previous.map_or(0, |previous| previous.revision);
        let revision = if functions.is_some() { before + 1 } else { before };
        let kept = || previous.map(|previous| Arc::clone(&previous.functions)).unwrap_or_default();
        let functions = functions.map_or_else(kept, Into::into);
        executors.watchdog.connect(log);
        if !functions.is_empty() {
            spans::prepare(plan);
        }
        let routes =
            plan.routes.iter().map(|route| (route.name.as_str().into(), route.service.as_deref().map(Into::into)));
        let names = plan.routes.iter().map(|route| route.name.as_str().into());
        let services = plan.services.iter().map(|service| service.name.as_str().into());
        Self {
            functions,
            revision,
            routes: routes.collect(),
            services: Arc::new(services.collect()),
            names: names.collect(),
            log: Arc::clone(log),
            executors: Arc::clone(executors),
            previous: Mutex::new(previous.map(|previous| previous.called.lock().clone()).unwrap_or_default()),
            called: Mutex::default(),
        }
    }

    /// Releases the hooks of the previous plan, now that this one is in force.
    pub(crate) fn release_previous(&self) {
        let previous = std::mem::take(&mut *self.previous.lock());
        drop(previous);
    }

    /// Returns the same hook of the previous plan, or creates one.
    fn find_or_create(
        &self,
        py: Python<'_>,
        route: Option<&str>,
        call: &HookCall,
        function: &Py<PyAny>,
    ) -> Arc<Called> {
        let previous = self.previous.lock();
        let kept = previous.iter().find(|kept| kept.matches(route, call, function));
        kept.map_or_else(|| Called::new(call.clone(), function.clone_ref(py), route, &self.log), Arc::clone)
    }

    /// Returns the statistics of all hooks.
    pub(crate) fn figures(&self) -> Vec<HookFigures> {
        let overdue = self.executors.watchdog.overdue();
        let figures = |hook: &Arc<Called>| {
            let figures = hook.figures();
            let is_it = |call: &&OverdueCall| call.hook == figures.hook && call.route == figures.route;
            HookFigures { overdue: overdue.iter().filter(is_it).count() as u64, ..figures }
        };
        self.called.lock().iter().map(figures).collect()
    }
}

impl HookSource for HookTable {
    fn compile(&self, stage: HookStage<'_>, calls: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        let (route, params, settled) = match stage {
            HookStage::Early | HookStage::Authenticator { .. } => (None, &[][..], &[][..]),
            HookStage::Route { name, params, settled } => (Some(name), params, settled),
        };
        let mut problems = Vec::new();
        let mut called = Vec::with_capacity(calls.len());
        gil::attached(|py| {
            for (index, call) in calls.iter().enumerate() {
                if let Some(function) = self.functions.get(call.hook) {
                    called.push(self.find_or_create(py, route, call, function));
                } else {
                    let message = format!("the plan came with {} hooks", self.functions.len());
                    problems.push(Problem::at(format!("calls[{index}].hook"), message));
                }
            }
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let about = About {
            access: match stage {
                HookStage::Authenticator { keyed: true } => RequestAccess::Key,
                HookStage::Authenticator { keyed: false } => RequestAccess::Read,
                HookStage::Early | HookStage::Route { .. } => RequestAccess::Change,
            },
            route: route.map(Into::into),
            routes: Arc::clone(&self.names),
            params: params.into(),
            settled: settled.into(),
            service: route.and_then(|route| self.routes.get(route)?.clone()),
            services: Arc::clone(&self.services),
        };
        self.called.lock().extend(called.iter().cloned());
        Ok(Arc::new(RouteHooks::new(about, called, Arc::clone(&self.executors))))
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn run_worker(&self, index: usize, body: &mut (dyn FnMut() + Send)) {
        gil::run_worker(index, body, || self.executors.watchdog.is_held());
    }

    fn overdue(&self) -> Vec<OverdueCall> {
        self.executors.watchdog.overdue()
    }
}
