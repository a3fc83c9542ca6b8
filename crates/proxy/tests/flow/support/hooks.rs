//! Hooks implemented by functions of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::hook::{HookCall, HookSource, HookStage, HookStream, Hooks, Step};
use pylae_core::{Exchange, Problem};
use serde_json::{Value, json};
use tokio::sync::oneshot;

type OnRequest = Box<dyn Fn(&mut Exchange) -> Step + Send + Sync>;
type OnResponse = Box<dyn Fn(&mut Exchange) + Send + Sync>;
type Resume = Box<dyn Fn(&mut Exchange, bool) -> Step + Send + Sync>;

/// The hooks of every route that has any.
pub(crate) struct Fake {
    pub(crate) on_request: OnRequest,
    pub(crate) on_response: Option<OnResponse>,
    pub(crate) resume: Resume,
}

impl Default for Fake {
    /// Hooks that change nothing.
    fn default() -> Self {
        Self {
            on_request: Box::new(|_| Step::Continue),
            on_response: None,
            resume: Box::new(|_, _| panic!("nobody waits")),
        }
    }
}

impl Fake {
    pub(crate) fn source(self) -> Arc<dyn HookSource> {
        Arc::new(Source(Arc::new(self)))
    }
}

/// The policy of a route with hooks that do not read bodies.
pub(crate) fn policy() -> Value {
    let call = json!({
        "hook": 0, "name": "fake", "on": "around", "run": "worker", "timeout": 5.0, "on_error": "fail", "budget": null,
        "body": null, "error_body": null, "malformed": false,
    });
    json!({"hooks": {"calls": [call]}})
}

struct Source(Arc<Fake>);

impl HookSource for Source {
    fn compile(&self, _: HookStage<'_>, _: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
        Ok(Arc::clone(&self.0) as Arc<dyn Hooks>)
    }
}

impl Hooks for Fake {
    fn on_request(&self, exchange: &mut Exchange) -> Step {
        (self.on_request)(exchange)
    }

    fn on_response(&self, exchange: &mut Exchange) -> Step {
        if let Some(see) = &self.on_response {
            see(exchange);
        }
        Step::Continue
    }

    fn on_refusal(&self, exchange: &mut Exchange) -> Step {
        self.on_response(exchange)
    }

    fn resume(&self, exchange: &mut Exchange, in_time: bool) -> Step {
        (self.resume)(exchange, in_time)
    }

    fn sees_responses(&self) -> bool {
        self.on_response.is_some()
    }

    fn stream(&self, _: &mut Exchange) -> Option<Box<dyn HookStream>> {
        None
    }
}

/// Hooks off the worker, which the test completes.
#[derive(Clone, Default)]
pub(crate) struct OffWorker {
    started: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    abandoned: Arc<AtomicUsize>,
}

/// Counts a wait that was abandoned.
struct Waiting {
    abandoned: Arc<AtomicUsize>,
    is_done: bool,
}

impl Waiting {
    fn end(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.abandoned.fetch_add(usize::from(!self.is_done), Ordering::Relaxed);
    }
}

impl OffWorker {
    /// The step of a hook that runs off the worker.
    pub(crate) fn step(&self, timeout: Duration) -> Step {
        let (done, receiver) = oneshot::channel();
        self.started.lock().push(done);
        let mut waiting = Waiting { abandoned: Arc::clone(&self.abandoned), is_done: false };
        let until = Box::pin(async move {
            // Fails once the sender is dropped, at the end of the test.
            let _ = receiver.await;
            waiting.end();
        });
        Step::Wait { until, timeout }
    }

    /// Number of hooks in progress.
    pub(crate) fn in_progress(&self) -> usize {
        self.started.lock().len()
    }

    /// Completes the hook that was started last.
    pub(crate) fn finish(&self) {
        self.started.lock().pop().expect("work that was begun").send(()).expect("somebody who waits");
    }

    /// Number of waits that were abandoned.
    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Relaxed)
    }
}
