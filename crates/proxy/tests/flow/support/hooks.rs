//! Hooks that are functions of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::hook::{HookCall, HookSource, HookStream, Hooks, Step};
use pylae_core::{Exchange, Problem};
use serde_json::{Value, json};
use tokio::sync::oneshot;

type OnRequest = Box<dyn Fn(&mut Exchange) -> Step + Send + Sync>;
type OnResponse = Box<dyn Fn(&mut Exchange) + Send + Sync>;
type Resume = Box<dyn Fn(&mut Exchange, bool) -> Step + Send + Sync>;

/// The hooks of every route that has some.
pub(crate) struct Fake {
    pub(crate) on_request: OnRequest,
    pub(crate) on_response: Option<OnResponse>,
    pub(crate) resume: Resume,
}

impl Default for Fake {
    /// They let everything pass.
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

/// The policy of a route that has hooks, of which none looks at bodies.
pub(crate) fn policy() -> Value {
    let call = json!({
        "hook": 0, "name": "fake", "on": "around", "run": "worker", "timeout": 5.0, "on_error": "fail", "budget": null,
        "body": null,
    });
    json!({"hooks": {"calls": [call]}})
}

struct Source(Arc<Fake>);

impl HookSource for Source {
    fn compile(&self, _: &str, _: &[Box<str>], _: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>> {
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

/// Work outside the worker that the test ends.
#[derive(Clone, Default)]
pub(crate) struct Elsewhere {
    begun: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    given_up: Arc<AtomicUsize>,
}

/// Counts a wait that ended before the work did.
struct Waiting {
    given_up: Arc<AtomicUsize>,
    is_done: bool,
}

impl Waiting {
    fn end(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.given_up.fetch_add(usize::from(!self.is_done), Ordering::Relaxed);
    }
}

impl Elsewhere {
    /// What a hook returns whose work is done elsewhere.
    pub(crate) fn step(&self, patience: Duration) -> Step {
        let (done, told) = oneshot::channel();
        self.begun.lock().push(done);
        let mut waiting = Waiting { given_up: Arc::clone(&self.given_up), is_done: false };
        let until = Box::pin(async move {
            // Its sender is dropped when the test is over.
            let _ = told.await;
            waiting.end();
        });
        Step::Wait { until, patience }
    }

    /// How many have begun and are not done.
    pub(crate) fn under_way(&self) -> usize {
        self.begun.lock().len()
    }

    /// Ends the work that was begun last.
    pub(crate) fn finish(&self) {
        self.begun.lock().pop().expect("work that was begun").send(()).expect("somebody who waits");
    }

    /// Waits that were given up.
    pub(crate) fn given_up(&self) -> usize {
        self.given_up.load(Ordering::Relaxed)
    }
}
