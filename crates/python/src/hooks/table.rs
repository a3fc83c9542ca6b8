//! The Python callables of a plan, and where they run.

use std::sync::Arc;

use parking_lot::Mutex;
use pylae_core::hook::{HookCall, HookSource, HookStage, Hooks, OverdueCall};
use pylae_core::{Plan, Problem};
use pylae_proxy::{HookFigures, HostSet, HostedStage, Log};
use pyo3::prelude::*;

use super::call::blocking;
use super::call::called::Called;
use super::call::job::Job;
use super::executor::Executors;
use super::message::handle::{About, RequestAccess};
use super::names::HookNames;
use super::route::RouteHooks;
use super::spans;
use crate::gil;

/// Creates the executors for hooks that do not run on workers.
pub(crate) fn executors() -> std::io::Result<Arc<Executors<Job>>> {
    Executors::new(blocking::run)
}

/// The callables of a plan, and the processes that run them, if that is not this one.
pub(crate) type PlanFunctions = (Vec<Py<PyAny>>, Option<Arc<HostSet>>);

/// The callables of a plan.
pub(crate) struct HookTable {
    functions: Arc<[Py<PyAny>]>,
    names: HookNames,
    /// The processes that run them, if this one does not.
    hosts: Option<Arc<HostSet>>,
    /// The stages that run there.
    hosted: Mutex<Vec<Arc<HostedStage>>>,
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
    /// `functions`, and the hosts that run them, are None if they are those of `previous`, the table in force. Hooks
    /// that are in both keep their statistics.
    pub(crate) fn new(
        plan: &Plan,
        functions: Option<PlanFunctions>,
        log: &Arc<Log>,
        executors: &Arc<Executors<Job>>,
        previous: Option<&Self>,
    ) -> Self {
        let before = previous.map_or(0, |previous| previous.revision);
        let revision = if functions.is_some() { before + 1 } else { before };
        let kept = || previous.map(|previous| (Arc::clone(&previous.functions), previous.hosts.clone()));
        let (functions, hosts) = match functions {
            Some((functions, hosts)) => (functions.into(), hosts),
            None => kept().unwrap_or_default(),
        };
        let previous = previous.map(|previous| previous.called.lock().clone()).unwrap_or_default();
        Self { hosts, revision, ..Self::of(HookNames::of(plan), functions, log, executors, previous) }
    }

    /// Creates the table of a host.
    pub(crate) fn in_host(
        names: HookNames,
        functions: Vec<Py<PyAny>>,
        log: &Arc<Log>,
        executors: &Arc<Executors<Job>>,
    ) -> Self {
        Self::of(names, functions.into(), log, executors, Vec::new())
    }

    fn of(
        names: HookNames,
        functions: Arc<[Py<PyAny>]>,
        log: &Arc<Log>,
        executors: &Arc<Executors<Job>>,
        previous: Vec<Arc<Called>>,
    ) -> Self {
        executors.watchdog.connect(log);
        if !functions.is_empty() && names.has_traces {
            spans::prepare();
        }
        Self {
            functions,
            revision: 0,
            names,
            hosts: None,
            hosted: Mutex::default(),
            log: Arc::clone(log),
            executors: Arc::clone(executors),
            previous: Mutex::new(previous),
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
        let mut all: Vec<HookFigures> = self.called.lock().iter().map(figures).collect();
        if let Some(hosts) = &self.hosts {
            HookFigures::add_all(&mut all, hosts.counted());
        }
        for stage in self.hosted.lock().iter() {
            HookFigures::add_all(&mut all, stage.figures());
        }
        all
    }
}

impl HookSource for HookTable {
    fn compile(&self, stage: HookStage<'_>, calls: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        let (route, params, settled) = match stage {
            HookStage::Early | HookStage::Authenticator { .. } => (None, &[][..], &[][..]),
            HookStage::Route { name, params, settled } => (Some(name), params, settled),
        };
        // An authenticator asks what only this process has.
        if let Some(hosts) = self.hosts.as_ref().filter(|_| !matches!(stage, HookStage::Authenticator { .. })) {
            let hosted = Arc::new(HostedStage::new(hosts, stage, calls, &self.names.services, &self.log));
            self.hosted.lock().push(Arc::clone(&hosted));
            return Ok(hosted);
        }
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
            routes: Arc::clone(&self.names.routes),
            params: params.into(),
            settled: settled.into(),
            service: route.and_then(|route| self.names.services_by_route.get(route)?.clone()),
            services: Arc::clone(&self.names.services),
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
