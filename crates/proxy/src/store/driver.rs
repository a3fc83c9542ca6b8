//! Sends calls to the servers that have their keys, and returns the results.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use pylae_core::Instant;
use pylae_core::plan::StoreServer;
use redis::{ServerError, Value};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::spawn_local;

use super::call::{ScriptCall, StoreError, StoreResult, StoreValue, error_text};
use super::link::{Broken, Link};
use super::links::Links;
use super::shared::StoreShared;
use super::stream::{ReadRequest, Readers};
use super::{keeper, nodes};
use crate::io::clock;
use crate::telemetry::panics::{Duty, supervise_task};

/// Most requests that share a pipeline.
const MAX_BATCH: usize = 128;
/// How often a call may be sent: once more if the script has to be loaded, and after redirections.
const MAX_ATTEMPTS: u32 = 4;
/// How late the answer of a server may be that waits for replicas.
const WAIT_GRACE: Duration = Duration::from_millis(250);

/// What other threads ask for.
pub(super) struct StoreQueues {
    pub(super) requests: mpsc::Receiver<StoreRequest>,
    pub(super) readers: mpsc::Receiver<ReadRequest>,
}

/// A result with the place of its call among those of its request.
pub(crate) type PlacedResult = (usize, StoreResult);

/// A request of another thread.
pub(super) struct StoreRequest {
    pub(super) calls: Vec<ScriptCall>,
    pub(super) replicated: bool,
    /// Has room for all results.
    pub(super) answer: mpsc::Sender<PlacedResult>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) since: Instant,
}

/// A request, of which some results are there.
struct OpenRequest {
    missing: usize,
    /// Set once a server has answered.
    answered: bool,
    answer: mpsc::Sender<PlacedResult>,
    store: Arc<StoreShared>,
    since: Instant,
    _permit: OwnedSemaphorePermit,
}

/// A call on its way.
struct OpenCall {
    request: Rc<RefCell<OpenRequest>>,
    place: usize,
    call: ScriptCall,
    replicated: bool,
    attempts: u32,
    /// Set if the server does not have the script.
    with_source: bool,
    /// The server that has the key while its slot is being moved.
    asking: Option<StoreServer>,
}

/// Where a pipeline goes.
#[derive(PartialEq, Eq, Hash)]
struct Way {
    server: StoreServer,
    replicated: bool,
    /// The server answers only to calls that say they were sent there.
    asking: bool,
}

/// Serves requests until the sender of `stopped` is gone.
pub(super) async fn run(store: Arc<StoreShared>, incoming: &mut StoreQueues, mut stopped: watch::Receiver<()>) {
    let links = Links::new(store);
    let for_keeper = Rc::clone(&links);
    let _keeper = Ends(supervise_task(Duty::Store, move || keeper::keep(Rc::clone(&for_keeper))));
    let for_nodes = Rc::clone(&links);
    let _nodes = Ends(supervise_task(Duty::Store, move || nodes::announce(Rc::clone(&for_nodes))));
    let readers = Readers::new(Rc::clone(&links));
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            _ = incoming.requests.recv_many(&mut batch, MAX_BATCH) => send(&links, open(&links.store, &mut batch)),
            Some(read) = incoming.readers.recv() => readers.start(read),
            // It is never changed.
            _ = stopped.changed() => break,
        }
    }
    nodes::leave(&links).await;
}

/// A task that ends when this is dropped.
struct Ends(tokio::task::JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn open(store: &Arc<StoreShared>, batch: &mut Vec<StoreRequest>) -> Vec<OpenCall> {
    let mut calls = Vec::new();
    for StoreRequest { calls: asked, replicated, answer, permit, since } in batch.drain(..) {
        let request = Rc::new(RefCell::new(OpenRequest {
            missing: asked.len(),
            answered: false,
            answer,
            store: Arc::clone(store),
            since,
            _permit: permit,
        }));
        calls.extend(asked.into_iter().enumerate().map(|(place, call)| OpenCall {
            request: Rc::clone(&request),
            place,
            call,
            replicated,
            attempts: 0,
            with_source: false,
            asking: None,
        }));
    }
    calls
}

/// Sends each call on its way. Those of one way share a pipeline.
fn send(links: &Rc<Links>, calls: Vec<OpenCall>) {
    let mut ways: HashMap<Way, Vec<OpenCall>> = HashMap::new();
    for mut call in calls {
        if call.request.borrow().answer.is_closed() {
            // Nobody waits any more.
            call.finish(Err(StoreError::TimedOut));
            continue;
        }
        links.remember(call.call.script);
        let asking = call.asking.take();
        let is_asking = asking.is_some();
        match asking.or_else(|| links.server(&call.call.key)) {
            Some(server) => {
                let way = Way { server, replicated: call.replicated, asking: is_asking };
                ways.entry(way).or_default().push(call);
            }
            None => call.finish(Err(StoreError::Unavailable)),
        }
    }
    for (way, calls) in ways {
        let usable = calls.first().and_then(|call| links.link(&call.call.key)).is_some() || way.asking;
        match links.link_to(&way.server, way.replicated).filter(|_| usable) {
            Some(link) => drop(spawn_local(run_pipeline(Rc::clone(links), link, way, calls))),
            None => calls.into_iter().for_each(|call| call.finish(Err(StoreError::Unavailable))),
        }
    }
}

/// Sends calls to a server, and sends those again that it does not run there or yet.
async fn run_pipeline(links: Rc<Links>, link: Rc<Link>, way: Way, mut calls: Vec<OpenCall>) {
    let pipeline = pipeline(&links.store, &way, &calls);
    // A server looks ten times a second only which clients have waited for replicas for too long.
    let patience = links.store.timeout() + if way.replicated { WAIT_GRACE } else { Duration::ZERO };
    let mut answers = match link.send(&pipeline, patience).await {
        Ok(answers) => answers,
        Err(broken) => {
            links.lose(&link, &broken.to_string());
            let error = match broken {
                Broken::TimedOut => StoreError::TimedOut,
                Broken::Lost(_) => StoreError::Unavailable,
            };
            for call in calls {
                call.finish(Err(error.clone()));
            }
            return;
        }
    };
    let is_replicated = !way.replicated || {
        let enough = i64::from(links.store.plan.wait_replicas);
        matches!(answers.pop(), Some(Value::Int(replicas)) if replicas >= enough)
    };
    if way.asking {
        // Each call had ASKING in front of it.
        answers = answers.into_iter().skip(1).step_by(2).collect();
    }
    let mut again = Vec::new();
    let short = calls.len().saturating_sub(answers.len());
    calls.drain(calls.len() - short..).for_each(|call| call.finish(Err(StoreError::Unavailable)));
    for (mut call, answer) in calls.into_iter().zip(answers) {
        match call.judge(&links, &link, answer) {
            Some(Ok(_)) if !is_replicated => call.finish(Err(StoreError::NotReplicated)),
            Some(result) => call.finish(result),
            None => again.push(call),
        }
    }
    if !again.is_empty() {
        send(&links, again);
    }
}

fn pipeline(store: &StoreShared, way: &Way, calls: &[OpenCall]) -> redis::Pipeline {
    let mut pipeline = redis::Pipeline::with_capacity(calls.len() + 1);
    for call in calls {
        if way.asking {
            pipeline.cmd("ASKING");
        }
        call.call.add_to(&mut pipeline, call.with_source);
    }
    if way.replicated {
        // The answer has to be here in time.
        let patience = store.timeout().mul_f64(0.8).as_millis().max(1);
        pipeline.cmd("WAIT").arg(store.plan.wait_replicas).arg(u64::try_from(patience).unwrap_or(u64::MAX));
    }
    pipeline
}

impl OpenCall {
    /// The result of an answer, or None if the call is to be sent once more.
    fn judge(&mut self, links: &Links, link: &Rc<Link>, answer: Value) -> Option<StoreResult> {
        let Value::ServerError(error) = answer else {
            let refused = |what| StoreError::Refused(format!("{}: {what}", self.call.script.name));
            return Some(StoreValue::read(answer).map_err(refused));
        };
        self.attempts += 1;
        let may_repeat = self.attempts < MAX_ATTEMPTS;
        match error.code() {
            "NOSCRIPT" if may_repeat => {
                self.with_source = true;
                return None;
            }
            "MOVED" | "ASK" if may_repeat => {
                if let Some(server) = redirection(&error, &link.server) {
                    if error.code() == "MOVED" {
                        links.moved(&self.call.key, &server);
                    } else {
                        self.asking = Some(server);
                    }
                    return None;
                }
            }
            // The server is no longer the one that has the keys, or not yet.
            "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "LOADING" => {
                links.lose(link, &error_text(&error));
                return Some(Err(StoreError::Unavailable));
            }
            _ => {}
        }
        let text = error_text(&error);
        if text.contains("READONLY ") {
            // Older servers wrap the errors of what a script calls.
            links.lose(link, &text);
            return Some(Err(StoreError::Unavailable));
        }
        Some(Err(StoreError::Refused(format!("{}: {text}", self.call.script.name))))
    }

    fn finish(self, result: StoreResult) {
        self.request.borrow_mut().set(self.place, result);
    }
}

impl OpenRequest {
    fn set(&mut self, place: usize, result: StoreResult) {
        self.missing = self.missing.saturating_sub(1);
        // What was not sent has not been answered.
        self.answered |= result.is_ok();
        if self.missing == 0 && self.answered {
            self.store.figures.answered(clock::now().since(self.since));
        }
        // Nobody may wait any more.
        let _ = self.answer.try_send((place, result));
    }
}

/// Where `MOVED 3999 host:port` and `ASK 3999 host:port` lead. Without a host, to another port of the same one.
fn redirection(error: &ServerError, from: &StoreServer) -> Option<StoreServer> {
    let (host, port) = error.details()?.split(' ').next_back()?.rsplit_once(':')?;
    let host = if host.is_empty() { &from.host } else { host };
    Some(StoreServer { host: host.to_owned(), port: port.parse().ok()? })
}
