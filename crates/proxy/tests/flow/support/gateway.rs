//! Gateways that run in the process of the test.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::Problem;
use pylae_core::hook::{HookCall, HookSource, Hooks};
use pylae_proxy::Engine;

use super::clock::{Turn, wait};
use super::message::Message;
use super::peer::{PATIENCE, Peer};
use super::plan::Plan;

/// How long something has to happen at the time that it is, before the clock is moved on.
const STEP: Duration = Duration::from_millis(50);

/// A running gateway, which ends with the test. It derefs to its engine.
pub(crate) struct Gateway {
    engine: Engine,
    pub(crate) address: SocketAddr,
    turn: Turn,
}

impl Gateway {
    /// A gateway beside others: nobody moves its clock.
    pub(crate) fn start(plan: &Plan) -> Self {
        Self::start_with(plan, Turn::shared(), Arc::new(NoHooks))
    }

    /// A gateway that runs alone, so that its clock can be moved. The test has no other.
    pub(crate) fn alone(plan: &Plan) -> Self {
        Self::start_with(plan, Turn::alone(), Arc::new(NoHooks))
    }

    pub(crate) fn start_with(plan: &Plan, turn: Turn, hooks: Arc<dyn HookSource>) -> Self {
        let engine = Engine::start(plan.build(), |_| Ok(hooks)).expect("a plan without problems");
        let address = engine.addresses()[0];
        Self { engine, address, turn }
    }

    /// Puts another plan in force. One that listens on a free port listens on the one that it has.
    pub(crate) fn apply(&self, plan: &Plan) {
        self.engine.apply(plan.build(), &NoHooks).expect("a plan without problems");
    }

    /// A new connection to the first listener.
    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// The answer to one request, on a connection of its own.
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Message {
        let mut client = self.connect();
        client.send(request);
        client.read_answer()
    }

    /// Moves the clock on, once.
    pub(crate) fn advance(&self, by: Duration) {
        self.turn.advance(by);
    }

    /// Moves the clock on by `step`, again and again until the condition is met: what waits for a deadline may begin to
    /// wait only after the clock was moved.
    pub(crate) fn advance_until(&self, step: Duration, mut condition: impl FnMut() -> bool) {
        for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
            if wait(STEP, &mut condition) {
                return;
            }
            self.turn.advance(step);
        }
        panic!("waited in vain");
    }
}

impl Deref for Gateway {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.engine.stop(false);
    }
}

/// Plans of these tests have no hooks.
pub(crate) struct NoHooks;

impl HookSource for NoHooks {
    fn compile(&self, route: &str, _: &[Box<str>], _: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        Err(vec![Problem::at("", format!("route {route} has hooks"))])
    }
}
