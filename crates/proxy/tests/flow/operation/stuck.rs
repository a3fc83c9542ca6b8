//! Workers that do not come back from a hook.

use std::net::TcpStream;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use pylae_core::Exchange;
use pylae_core::Problem;
use pylae_core::hook::{CallPlace, HookCall, HookSource, HookStage, Hooks, OverdueCall, Step};
use pylae_proxy::Drain;
use serde_json::{Value, json};

use crate::support::clock::{ClockLock, wait_until};
use crate::support::gateway::Gateway;
use crate::support::hooks::{Fake, policy};
use crate::support::instance::Instance;
use crate::support::peer::Peer;
use crate::support::plan::Plan;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const STUCK: &str = "GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n";

/// Hooks that do not return from `/stuck` until the test lets them.
#[derive(Clone, Default)]
struct Barrier(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    waiting: usize,
    open: bool,
}

impl Barrier {
    fn hooks(&self) -> Arc<dyn HookSource> {
        let barrier = self.clone();
        let on_request = move |exchange: &mut Exchange| {
            if exchange.request.buffer.starts_with(b"GET /stuck") {
                barrier.wait();
            }
            Step::Continue
        };
        Arc::new(Named(Fake { on_request: Box::new(on_request), ..Fake::default() }.source()))
    }

    fn wait(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock();
        state.waiting += 1;
        changed.wait_while(&mut state, |state| !state.open);
        state.waiting -= 1;
    }

    fn waiting(&self) -> usize {
        self.0.0.lock().waiting
    }

    fn open(&self) {
        self.0.0.lock().open = true;
        self.0.1.notify_all();
    }
}

/// A source that says which hook is running.
struct Named(Arc<dyn HookSource>);

impl HookSource for Named {
    fn compile(&self, stage: HookStage<'_>, calls: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        self.0.compile(stage, calls)
    }

    fn overdue(&self) -> Vec<OverdueCall> {
        let call = |index| OverdueCall {
            hook: "fake".to_owned(),
            route: "all".to_owned(),
            place: CallPlace::Worker(index),
            seconds: 1.0,
            holds_interpreter: false,
        };
        (0..2).map(call).collect()
    }
}

/// A gateway whose hooks can be stuck. They are let go at the end of the test.
struct Stage {
    gateway: Gateway,
    barrier: Barrier,
    instance: Instance,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.barrier.open();
    }
}

/// Starts a gateway with hooks on all routes.
fn start(workers: usize, limits: Value) -> Stage {
    let (barrier, instance) = (Barrier::default(), Instance::ok());
    let plan = Plan::to([&instance]).with_route(json!({"policies": policy()}));
    let plan = plan.with(json!({"workers": workers})).with_limits(limits);
    let gateway = Gateway::start_with(&plan, ClockLock::shared(), barrier.hooks());
    Stage { gateway, barrier, instance }
}

impl Stage {
    /// Has a worker be stuck. Returns the client that waits for it.
    fn get_stuck(&self) -> Peer {
        let before = self.barrier.waiting();
        let mut client = self.gateway.connect();
        client.send(STUCK);
        wait_until(|| self.barrier.waiting() > before);
        client
    }

    fn wait_until_stuck(&self, number: usize) {
        wait_until(|| self.gateway.stats().workers.stuck == number);
    }

    /// The events of the log so far, without what is said at start.
    fn events(&self) -> Vec<String> {
        let records = self.gateway.take_log().unwrap_or_default();
        records
            .into_iter()
            .filter(|record| record.event != "bounds")
            .map(|record| format!("{}: {}", record.event, record.message))
            .collect()
    }
}

#[test]
fn the_other_workers_go_on_and_it_is_said_which_hook_it_is() {
    let stage = start(2, json!({}));
    let mut client = stage.get_stuck();
    stage.wait_until_stuck(1);
    for _ in 0..20 {
        assert_eq!(stage.gateway.fetch(GET).status(), 200);
    }
    let said = stage.events();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("worker_stuck: worker "), "{said:?}");
    assert!(said[0].ends_with("does not come back: hook fake on route all has been running for 1.0 s"), "{said:?}");
    let summary = stage.gateway.summary();
    assert_eq!((summary.workers.number, summary.workers.stuck), (2, 1));
    let call = "hook fake on route all has been running for 1.0 s";
    assert_eq!(summary.stuck, ["1 of 2 workers are stuck", call, call]);
    assert!(stage.gateway.metrics(&[]).contains("\npylae_workers_stuck 1\n"));
    stage.barrier.open();
    assert_eq!(client.read_answer().status(), 200);
    stage.wait_until_stuck(0);
    wait_until(|| stage.events().iter().any(|event| event.starts_with("worker_back: ")));
}

#[test]
fn a_worker_that_is_stuck_for_too_long_is_replaced_and_its_connections_are_reset() {
    let stage = start(1, json!({"stuck_timeout": 0.8}));
    let mut idle = stage.gateway.connect();
    idle.send(GET);
    assert_eq!(idle.read_answer().status(), 200);
    let mut client = stage.get_stuck();
    // Nobody answers until another thread does, which also serves what has waited for it.
    assert_eq!(stage.gateway.fetch(GET).status(), 200);
    assert!(client.is_reset());
    assert!(idle.is_reset());
    let workers = stage.gateway.stats().workers;
    assert_eq!((workers.number, workers.stuck, workers.given_up), (1, 0, 1));
    let said = stage.events().join("\n");
    assert!(said.contains("running for 1.0 s; its 2 connections are reset"), "{said}");
    wait_until(|| stage.gateway.stats().totals.connections == 0);
    // What it has counted stays, and it ends when it comes back.
    assert_eq!(stage.gateway.stats().totals.connections_accepted, 3);
    stage.barrier.open();
    wait_until(|| stage.barrier.waiting() == 0);
    assert_eq!(stage.gateway.fetch(GET).status(), 200);
    assert_eq!(stage.gateway.stats().totals.connections_accepted, 4);
    assert!(stage.gateway.stop(Drain::No));
}

#[test]
fn a_replaced_worker_is_itself_replaced() {
    let stage = start(1, json!({"stuck_timeout": 0.6}));
    for given_up in 1..4 {
        stage.get_stuck();
        wait_until(|| stage.gateway.stats().workers.given_up == given_up);
        assert_eq!(stage.gateway.fetch(GET).status(), 200);
    }
}

#[test]
fn a_stop_ends_though_a_worker_is_stuck() {
    for drain in [Drain::No, Drain::Within] {
        let stage = start(2, json!({"drain_timeout": 0.01}));
        let client = stage.get_stuck();
        assert!(!stage.gateway.stop(drain));
        let said = stage.events().join("\n");
        assert!(said.contains("has not ended: hook fake on route all"), "{said}");
        drop(client);
    }
}

#[test]
fn a_stop_at_once_ends_a_drain_that_waits_for_a_stuck_worker() {
    let stage = start(2, json!({"drain_timeout": 3600.0}));
    let _client = stage.get_stuck();
    let engine = &*stage.gateway;
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| engine.stop(Drain::Within));
        // The stuck worker still has the listening socket.
        wait_until(|| TcpStream::connect(stage.gateway.address).is_err());
        assert!(!engine.stop(Drain::No));
        assert!(!drain.join().unwrap());
    });
}

#[test]
fn an_apply_does_not_wait_for_a_stuck_worker_which_follows_when_it_is_back() {
    let stage = start(2, json!({}));
    let mut client = stage.get_stuck();
    let other = Plan::to([&stage.instance])
        .with_route(json!({"match": {"path": {"kind": "exact", "value": "/other"}}}))
        .with(json!({"workers": 2}));
    stage.gateway.apply(&other);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(stage.gateway.fetch(get("/other")).status(), 200);
    assert_eq!(stage.gateway.fetch(get("/x")).status(), 404);
    stage.barrier.open();
    assert_eq!(client.read_answer().status(), 200);
    // On the connection of the worker that was stuck.
    client.send(get("/x"));
    assert_eq!(client.read_answer().status(), 404);
}
