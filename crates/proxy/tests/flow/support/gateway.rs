//! Gateways that run in the test's process.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::Problem;
use pylae_core::hook::{HookCall, HookSource, HookStage, Hooks};
use pylae_core::maintenance::Maintenance;
use pylae_proxy::{Drain, Engine};

use super::clock::{ClockLock, wait};
use super::message::Message;
use super::peer::{PATIENCE, Peer};
use super::plan::Plan;

/// How long to wait for a condition before the clock is advanced again.
const STEP: Duration = Duration::from_millis(50);

/// A running gateway, which stops with the test. It derefs to its engine.
pub(crate) struct Gateway {
    engine: Arc<Engine>,
    pub(crate) address: SocketAddr,
    turn: ClockLock,
}

impl Gateway {
    /// Starts a gateway that may run beside others. Its clock is never advanced.
    pub(crate) fn start(plan: &Plan) -> Self {
        Self::start_with(plan, ClockLock::shared(), Arc::new(NoHooks))
    }

    /// Starts a gateway that runs alone, so that its clock can be advanced. The test must have no other.
    pub(crate) fn alone(plan: &Plan) -> Self {
        Self::start_with(plan, ClockLock::alone(), Arc::new(NoHooks))
    }

    pub(crate) fn start_with(plan: &Plan, turn: ClockLock, hooks: Arc<dyn HookSource>) -> Self {
        let engine = Engine::start(plan.build(), Maintenance::default(), |_, _| Ok(hooks), || Ok(()), |_| Ok(None))
            .expect("a plan without problems");
        let engine = Arc::new(engine);
        let address = engine.addresses()[0];
        Self { engine, address, turn }
    }

    /// The engine, for what outlives a call.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Applies another plan. A listener on a free port keeps its port.
    pub(crate) fn apply(&self, plan: &Plan) {
        self.engine.apply(plan.build(), &NoHooks).expect("a plan without problems");
    }

    /// Opens a connection to the first listener.
    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    /// Sends one request on a connection of its own and returns the response.
    pub(crate) fn fetch(&self, request: impl AsRef<[u8]>) -> Message {
        let mut client = self.connect();
        client.send(request);
        client.read_answer()
    }

    /// Advances the clock once.
    pub(crate) fn advance(&self, by: Duration) {
        self.turn.advance(by);
    }

    /// Advances the clock by `step` repeatedly until the condition is met, because a task may begin to wait for its
    /// deadline only after the clock was advanced.
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
        if std::thread::panicking() {
            // Panics on the gateway's threads, of hooks of the test for example, are only there.
            let records = self.engine.take_log().unwrap_or_default();
            records.iter().filter(|record| record.event == "panic").for_each(|record| eprintln!("{}", record.message));
        }
        self.engine.stop(Drain::No);
    }
}

/// The hook source of plans without hooks.
pub(crate) struct NoHooks;

impl HookSource for NoHooks {
    fn compile(&self, stage: HookStage<'_>, _: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        Err(vec![Problem::at("", format!("{stage:?} has hooks"))])
    }
}
