//! Hooks: Python callables in the request path, as the data plane sees them. It knows that there are some, not what they are.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::halt::Rejection;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};
use crate::plan::Seconds;
use crate::problem::Problem;

/// A hook of a route, as the plan has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookCall {
    /// Its place in the list of callables that comes with the plan.
    pub hook: usize,
    /// Its name in logs and explanations.
    pub name: String,
    /// When it is called.
    pub on: On,
    /// Where it runs.
    pub run: Run,
    /// Longest time that one call may take.
    pub timeout: Seconds,
    /// What a failure of it means.
    pub on_error: OnError,
    /// Bytes of the body that it wants in memory; none when it does not look at the body.
    pub body: Option<u64>,
    /// Time that a call may keep a worker busy, on the whole: a hook that is over it is moved off the workers. None: never.
    pub budget: Option<Seconds>,
}

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Before the request is forwarded.
    Request,
    /// Before the response is sent.
    Response,
    /// Around both: it is given a function that passes the request on and comes back with the response.
    Around,
    /// While the response's body passes: it is given the pieces, and gives others.
    Chunks,
    /// The same by events, for `text/event-stream` only.
    Events,
}

/// Where a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// A function, on the worker.
    Worker,
    /// A coroutine, driven on the worker; if it is ever suspended it goes on on the loop.
    Coroutine,
    /// A coroutine, on an asyncio loop of the hooks' own.
    Loop,
    /// A function, on a pool of threads.
    Pool,
}

/// What a failure of a hook means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The exchange fails (500).
    Fail,
    /// The exchange goes on without it.
    Skip,
}

/// Gives routes their hooks, and worker threads what hooks need there.
pub trait HookSource: Send + Sync {
    /// The hooks of the route called `route`, ready to be called. Problems carry paths relative to the policy's settings.
    fn compile(&self, route: &str, params: &[Box<str>], calls: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>>;

    /// Runs the life of a worker thread.
    fn live(&self, life: &mut (dyn FnMut() + Send)) {
        life();
    }
}

/// The hooks of one route.
pub trait Hooks: Send + Sync {
    /// Calls the hooks that see requests, up to the first that answers, fails or has to be waited for.
    fn on_request(&self, exchange: &mut Exchange) -> Step;

    /// Calls the hooks that see responses.
    fn on_response(&self, exchange: &mut Exchange) -> Step;

    /// Goes on after a wait: the hook is done if `in_time`, and has taken too long otherwise.
    fn resume(&self, exchange: &mut Exchange, in_time: bool) -> Step;

    /// Whether there are hooks that see responses.
    fn sees_responses(&self) -> bool;

    /// What the body of the response that is relayed now passes outside the worker, if anything.
    fn stream(&self, exchange: &mut Exchange) -> Option<Box<dyn HookStream>>;
}

/// A body on its way through hooks that see it piece by piece. It takes no more than it can hold.
pub trait HookStream: Send {
    /// Whether it takes a piece now; otherwise the task is woken when it does.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes a piece. With `end` nothing more comes.
    fn push(&mut self, piece: &[u8], end: bool);

    /// Appends a piece that has come out. False: nothing more comes. An error: the hook has failed.
    fn poll_pull(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<bool, HookFailed>>;
}

/// The hook that changes a body has failed in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookFailed;

/// What a call of hooks has come to.
pub enum Step {
    /// All were called, and let the exchange pass.
    Continue,
    /// One answers.
    Answer(Box<Answer>),
    /// One failed, and that ends the exchange.
    Reject(Box<Rejection>),
    /// One is at work outside the worker. Dropping `until` tells it that nobody waits any more.
    Wait {
        /// Ready when it is done.
        until: Pin<Box<dyn Future<Output = ()>>>,
        /// How long it may take.
        patience: Duration,
    },
}

/// What hooks know of an exchange, and keep between their calls.
#[derive(Default)]
pub struct HookVisit {
    /// Whether the exchange has met any.
    met: bool,
    /// The hooks' own.
    pub session: Option<Box<dyn Any + Send>>,
    /// Name of the service that a hook has chosen.
    pub service: Option<Box<str>>,
    /// Whether a hook has set the path.
    pub path_set: bool,
    /// The body of the request, where a hook wants to see it.
    pub request_body: Option<Arc<[u8]>>,
    /// The body of the response, where it is in memory or a hook has set it.
    pub response_body: Option<Arc<[u8]>>,
    /// Whether a hook has set the response's body.
    pub body_set: bool,
    /// What the response's body passes outside the worker.
    pub stream: Option<Box<dyn HookStream>>,
}

impl FeatureMemory for HookVisit {
    fn reset(&mut self) {
        if self.met {
            *self = Self::default();
        }
    }
}

impl Feature for HookVisit {
    const POSITION: FeatureSlot = FeatureSlot::Hook;
}

impl std::fmt::Debug for HookVisit {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Visit")
    }
}

impl Exchange {
    /// What hooks know of it; none while it has met none.
    #[inline]
    pub fn hooks(&self) -> Option<&HookVisit> {
        self.slots.get::<HookVisit>().filter(|visit| visit.met)
    }

    /// The same, to be changed.
    #[inline]
    pub fn hooks_mut(&mut self) -> Option<&mut HookVisit> {
        self.slots.get_mut::<HookVisit>().filter(|visit| visit.met)
    }

    /// The same, for hooks that it meets now.
    pub fn meet_hooks(&mut self) -> &mut HookVisit {
        let visit = self.slots.get_or_default::<HookVisit>();
        visit.met = true;
        visit
    }

    /// A copy for hooks that run outside the worker: they see all that is to be seen and make their changes there.
    #[must_use]
    pub fn lend(&mut self) -> Box<Self> {
        let mut lent = Box::new(Self::new(0));
        lent.request.buffer.extend_from_slice(&self.request.buffer[..self.request.head.len]);
        lent.request.head.clone_from(&self.request.head);
        lent.request.framing = self.request.framing;
        lent.request.target.clone_from(&self.request.target);
        lent.request.host.clone_from(&self.request.host);
        lent.request.host_len = self.request.host_len;
        (
            lent.request.origin.peer,
            lent.request.origin.peer_trusted,
            lent.request.origin.client,
            lent.request.origin.secure,
        ) = (
            self.request.origin.peer,
            self.request.origin.peer_trusted,
            self.request.origin.client,
            self.request.origin.secure,
        );
        lent.request.id.clone_from(&self.request.id);
        lent.route = self.route;
        lent.request.params.clone_from(&self.request.params);
        lent.response.buffer.extend_from_slice(&self.response.buffer[..self.response.head.len]);
        lent.response.head.clone_from(&self.response.head);
        (lent.times.started, lent.times.now, lent.times.wall) = (self.times.started, self.times.now, self.times.wall);
        self.trade(&mut lent);
        lent
    }

    /// A copy for hooks that can only look.
    #[must_use]
    pub fn shown(&mut self) -> Box<Self> {
        let mut copy = self.lend();
        self.trade(&mut copy);
        copy.request.forward_path.clone_from(&self.request.forward_path);
        copy.request.forward_query.clone_from(&self.request.forward_query);
        copy.request.edits.clone_from(&self.request.edits);
        copy.response.edits.clone_from(&self.response.edits);
        copy.request.user.clone_from(&self.request.user);
        copy.response.status = self.response.status;
        copy
    }

    /// Takes over what hooks have changed.
    pub fn take_back(&mut self, lent: &mut Self) {
        if self.response.status != lent.response.status {
            self.response.head.reason = lent.response.head.reason;
        }
        self.trade(lent);
    }

    /// Exchanges with `other` all that hooks can change.
    fn trade(&mut self, other: &mut Self) {
        use std::mem::swap;
        swap(&mut self.request.forward_path, &mut other.request.forward_path);
        swap(&mut self.request.forward_query, &mut other.request.forward_query);
        swap(&mut self.request.edits, &mut other.request.edits);
        swap(&mut self.response.edits, &mut other.response.edits);
        swap(&mut self.request.user, &mut other.request.user);
        swap(&mut self.response.status, &mut other.response.status);
        self.slots.swap::<HookVisit>(&mut other.slots);
    }
}
