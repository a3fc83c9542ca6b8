//! Snapshots for tests, with an answer of the gateway's own and a hook that can panic.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use pylae_core::hook::{HookCall, HookSource, HookStage, HookStream, Hooks, Step};
use pylae_core::{Exchange, Plan, Problem};
use pylae_policies::PolicyShared;
use serde_json::{Value, json};

use super::{Outlets, PoolKeys, Snapshot};
use crate::io::clock;
use crate::telemetry::access_log::Sinks;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::otlp::exporters::Exporters;

/// Kept up to date by the tests of the Python package.
const SMALLEST: &str = include_str!("../../../../tests/golden/smallest.json");

/// A listening socket, ready for a runtime.
pub(crate) fn listening() -> (SocketAddr, TcpListener) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// A snapshot that listens on `address` and answers every request with `answer`. `services` are merged into the first.
pub(crate) fn answering(address: SocketAddr, answer: &str, service: &Value) -> Snapshot {
    built(answering_plan(address, answer, service))
}

/// Its plan. A snapshot keeps no policies as they are written.
pub(crate) fn answering_plan(address: SocketAddr, answer: &str, service: &Value) -> Plan {
    let mut plan: Value = serde_json::from_str(SMALLEST).unwrap();
    plan["listeners"][0]["address"] = json!(address.to_string());
    for (key, value) in service.as_object().unwrap() {
        plan["services"][0][key] = value.clone();
    }
    let route = &mut plan["routes"][0];
    (route["match"]["path"], route["service"]) = (json!({"kind": "prefix", "value": "/"}), json!(null));
    let call = json!({
        "hook": 0, "name": "fake", "on": "request", "run": "worker", "timeout": 5.0, "on_error": "fail", "malformed": false,
        "budget": null, "body": null, "error_body": null,
    });
    let body = json!({"status": 200, "content_type": "text/plain", "headers": {}, "body": answer});
    route["policies"] = json!({"static_response": body, "hooks": {"calls": [call]}});
    serde_json::from_value(plan).unwrap()
}

pub(crate) fn built(plan: Plan) -> Snapshot {
    let shared = Arc::new(PolicyShared::new(100));
    Snapshot::build(plan, None, &mut PoolKeys::default(), &shared).map_err(|found| format!("{found:?}")).unwrap()
}

/// Connects the snapshot to hooks that panic if they are dropped on a thread with this name.
pub(crate) fn struck_on(thread: &'static str, mut snapshot: Snapshot) -> Arc<Snapshot> {
    let sinks = Sinks::new(1, Arc::<Log>::default());
    let (metrics, exporters) = (Metrics::new(1, clock::now()), Exporters::new(1));
    let outlets = Outlets { hooks: &DroppedOn(thread), sinks: &sinks, metrics: &metrics, exporters: &exporters };
    snapshot.connect(&outlets).map_err(|found| format!("{found:?}")).unwrap();
    Arc::new(snapshot)
}

/// Hooks that do nothing until they are dropped.
pub(crate) struct DroppedOn(pub(crate) &'static str);

impl HookSource for DroppedOn {
    fn compile(&self, _: HookStage<'_>, _: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        Ok(Arc::new(Self(self.0)))
    }
}

impl Hooks for DroppedOn {
    fn on_request(&self, _: &mut Exchange) -> Step {
        Step::Continue
    }

    fn on_response(&self, _: &mut Exchange) -> Step {
        Step::Continue
    }

    fn on_refusal(&self, _: &mut Exchange) -> Step {
        Step::Continue
    }

    fn resume(&self, _: &mut Exchange, _: bool) -> Step {
        Step::Continue
    }

    fn sees_responses(&self) -> bool {
        false
    }

    fn stream(&self, _: &mut Exchange) -> Option<Box<dyn HookStream>> {
        None
    }
}

impl Drop for DroppedOn {
    fn drop(&mut self) {
        assert_ne!(std::thread::current().name(), Some(self.0), "dropped here");
    }
}
