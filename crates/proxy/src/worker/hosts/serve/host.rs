//! What a host knows: stages, exchanges, and bodies that pass.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::hook::flat::{
    Bodies, FlatMessage, FlatMessageKind, FlatReader, read_exchange, write_changes, write_step,
};
use pylae_core::hook::{self, HookSource, HookStage, Hooks, Step};
use tokio::task::AbortHandle;

use super::bells::{HostBells, TOGETHER};
use super::body::HostBody;
use super::lane::{HostLane, WaitingMessage};
use crate::io::clock;
use crate::worker::hosts::hosted::StageDefinition;
use crate::worker::hosts::memory::{Mad, SharedMemory};

/// A stage, and whether it is the early one.
type HostStage = (Arc<dyn Hooks>, bool);

/// What a host knows.
pub(super) struct ServingHost {
    source: Arc<dyn HookSource>,
    lanes: Vec<Rc<HostLane>>,
    bells: Rc<HostBells>,
    queue: RefCell<VecDeque<WaitingMessage>>,
    stages: RefCell<HashMap<u32, HostStage>>,
    exchanges: RefCell<HashMap<u64, HostExchange>>,
    bodies: RefCell<HashMap<u64, Rc<HostBody>>>,
}

/// An exchange between two calls.
#[derive(Default)]
struct HostExchange {
    session: Option<Box<dyn std::any::Any + Send>>,
    early: Option<Box<dyn std::any::Any + Send>>,
    /// What the gateway has of it already.
    bodies: Bodies,
    /// The call in progress.
    task: Option<AbortHandle>,
}

impl Drop for HostExchange {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl ServingHost {
    pub(super) fn new(bells: HostBells, memory: &Arc<SharedMemory>, source: Arc<dyn HookSource>) -> Self {
        let bells = Rc::new(bells);
        Self {
            source,
            lanes: (0..bells.lanes()).map(|index| HostLane::new(memory, index, &bells)).collect(),
            bells,
            queue: RefCell::default(),
            stages: RefCell::default(),
            exchanges: RefCell::default(),
            bodies: RefCell::default(),
        }
    }

    /// Takes messages for a while. Returns false if there is nothing to do until the bell rings.
    pub(super) fn take_messages(self: &Rc<Self>) -> Result<bool, Mad> {
        let mut is_busy = false;
        for lane in &self.lanes {
            is_busy |= lane.pump(&mut self.queue.borrow_mut())?;
        }
        let began = clock::now();
        while clock::now().since(began) <= TOGETHER {
            let Some((lane, message, content)) = self.queue.borrow_mut().pop_front() else { return Ok(is_busy) };
            let waiting = self.queue.borrow().len();
            self.bells.call(waiting, || self.take(&lane, message, &content)).ok_or(Mad)?;
        }
        // Other tasks run now, and may take any time.
        self.bells.ring_owed();
        Ok(true)
    }

    fn take(self: &Rc<Self>, lane: &Rc<HostLane>, message: FlatMessage, content: &[u8]) -> Option<()> {
        match message.kind {
            FlatMessageKind::Stage => self.add_stage(u32::try_from(message.key).ok()?, content)?,
            FlatMessageKind::Request | FlatMessageKind::Response | FlatMessageKind::Refusal => {
                self.call(lane, message, content)?;
            }
            FlatMessageKind::Stream => self.begin_body(lane, message.key, content)?,
            FlatMessageKind::Piece | FlatMessageKind::LastPiece => {
                let body = self.bodies.borrow().get(&message.key).cloned();
                if let Some(body) = body {
                    body.add(content, message.kind == FlatMessageKind::LastPiece);
                }
            }
            FlatMessageKind::Taken => {
                let body = self.bodies.borrow().get(&message.key).cloned();
                if let Some(body) = body {
                    body.give_room();
                }
            }
            FlatMessageKind::Cancel | FlatMessageKind::End => {
                let (exchange, body) =
                    (self.exchanges.borrow_mut().remove(&message.key), self.bodies.borrow_mut().remove(&message.key));
                if let Some(body) = body {
                    body.end();
                }
                // Hooks that wait for a response are told here that none will come.
                drop(exchange);
            }
            FlatMessageKind::Done | FlatMessageKind::Broken | FlatMessageKind::Cost => return None,
        }
        Some(())
    }

    fn add_stage(&self, number: u32, definition: &[u8]) -> Option<()> {
        if self.stages.borrow().contains_key(&number) {
            return Some(());
        }
        let StageDefinition { route, params, settled, calls } = serde_json::from_slice(definition).ok()?;
        let stage = match &route {
            Some(name) => HookStage::Route { name, params: &params, settled: &settled },
            None => HookStage::Early,
        };
        let hooks = self.source.compile(stage, &calls).ok()?;
        self.stages.borrow_mut().insert(number, (hooks, route.is_none()));
        Some(())
    }

    /// Calls the hooks of a half.
    fn call(self: &Rc<Self>, lane: &Rc<HostLane>, message: FlatMessage, content: &[u8]) -> Option<()> {
        let mut from = FlatReader::new(content);
        let (hooks, _) = self.stages.borrow().get(&from.short()?).cloned()?;
        let mut exchange = self.read(message.key, &mut from)?;
        let step = match message.kind {
            FlatMessageKind::Request => hooks.on_request(&mut exchange),
            FlatMessageKind::Response => hooks.on_response(&mut exchange),
            _ => hooks.on_refusal(&mut exchange),
        };
        if !matches!(step, Step::Wait { .. }) {
            self.answer(lane, message.key, exchange, &step);
            return Some(());
        }
        let (host, lane) = (Rc::clone(self), Rc::clone(lane));
        let task = tokio::task::spawn_local(async move {
            let step = finish(&*hooks, &mut exchange, step).await;
            host.answer(&lane, message.key, exchange, &step);
        });
        if let Some(known) = self.exchanges.borrow_mut().get_mut(&message.key) {
            known.task = Some(task.abort_handle());
        }
        Some(())
    }

    /// Reads an exchange, with what its hooks have left here.
    fn read(&self, key: u64, from: &mut FlatReader<'_>) -> Option<Box<Exchange>> {
        let mut exchanges = self.exchanges.borrow_mut();
        let known = exchanges.entry(key).or_default();
        let mut exchange = read_exchange(from, &mut known.bodies)?;
        exchange.times.now = clock::now();
        exchange.times.started = exchange.times.now;
        let visit = exchange.hook_visit();
        (visit.session, visit.early) = (known.session.take(), known.early.take());
        known.task = None;
        Some(exchange)
    }

    /// Answers a call, and keeps what its hooks have left.
    fn answer(&self, lane: &HostLane, key: u64, mut exchange: Box<Exchange>, step: &Step) {
        let mut exchanges = self.exchanges.borrow_mut();
        // Nobody waits any more if it is not there.
        let Some(known) = exchanges.get_mut(&key) else {
            drop(exchanges);
            return drop(exchange);
        };
        let visit = exchange.hook_visit();
        (known.session, known.early) = (visit.session.take(), visit.early.take());
        known.task = None;
        let is_over = known.session.is_none() && known.early.is_none();
        let bodies = &mut known.bodies;
        let mut send = |exchange: &Exchange, step: &Step| {
            lane.send(FlatMessageKind::Done, key, |to| {
                to.flag(is_over);
                write_step(step, to);
                write_changes(exchange, bodies, to);
            })
        };
        if !send(&exchange, step) {
            // What the hooks have come to is too large for a message.
            let visit = exchange.hook_visit();
            (visit.response_body, visit.body_set) = (None, false);
            send(&exchange, &Step::Reject(Box::new(hook::failure())));
        }
        let left = if is_over { exchanges.remove(&key) } else { None };
        drop(exchanges);
        drop((left, exchange));
    }

    /// Begins to pass a body through the hooks of a stage.
    fn begin_body(self: &Rc<Self>, lane: &Rc<HostLane>, key: u64, content: &[u8]) -> Option<()> {
        let mut from = FlatReader::new(content);
        let (hooks, is_early) = self.stages.borrow().get(&from.short()?).cloned()?;
        let of = from.long()?;
        let is_known = self.exchanges.borrow().contains_key(&of);
        let mut exchange = self.read(of, &mut from)?;
        let visit = exchange.hook_visit();
        let hosted = visit.hosted.clone();
        // The other session stays for the hooks that come after.
        let kept = if is_early { (visit.session.take(), None) } else { (None, visit.early.take()) };
        let stream = hooks.stream(&mut exchange);
        {
            let mut exchanges = self.exchanges.borrow_mut();
            if !is_known {
                exchanges.remove(&of);
            } else if let Some(known) = exchanges.get_mut(&of) {
                (known.session, known.early) = kept;
            }
        }
        let Some(stream) = stream else {
            lane.send(FlatMessageKind::Broken, key, |_| {});
            return Some(());
        };
        let body = HostBody::begin(lane, key, stream, hosted);
        self.bodies.borrow_mut().insert(key, body);
        Some(())
    }
}

/// Waits for hooks that run on other threads, until all are done or one of them ends the exchange.
async fn finish(hooks: &dyn Hooks, exchange: &mut Exchange, mut step: Step) -> Step {
    while let Step::Wait { until, timeout } = step {
        let is_in_time = tokio::time::timeout(timeout, until).await.is_ok();
        exchange.times.now = clock::now();
        step = hooks.resume(exchange, is_in_time);
    }
    step
}
