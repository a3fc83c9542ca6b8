//! Hooks: Python callables in the request path. The data plane knows that they exist, not what they do.

mod copy;
pub mod flat;
mod hosted;

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pylae_http::Edits;
use serde::{Deserialize, Serialize};

pub use self::hosted::{HostedVisit, ToldCost};
use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::halt::Rejection;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};
use crate::exchange::user::User;
use crate::plan::Problem;
use crate::plan::Seconds;

/// A hook of a route in the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookCall {
    /// Index in the list of callables that accompanies the plan.
    pub hook: usize,
    /// Name in logs and explanations.
    pub name: String,
    /// When it is called.
    pub on: On,
    /// Where it runs.
    pub run: Run,
    /// Timeout of one call.
    pub timeout: Seconds,
    /// What to do if it fails.
    pub on_error: OnError,
    /// Largest body to buffer for the hook, in bytes; None if it does not use the body.
    pub body: Option<u64>,
    /// Largest body of an error (status 400 and above) to buffer for the hook; None leaves them. Only bodies that are
    /// not coded and whose length is known are buffered.
    pub error_body: Option<u64>,
    /// Time that one call may keep a worker busy; a hook that exceeds it repeatedly is moved off the workers. None
    /// disables this.
    pub budget: Option<Seconds>,
    /// Whether an early response hook also sees answers to what is no request, because its head was refused.
    pub malformed: bool,
}

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Before the request is forwarded.
    Request,
    /// Before the response is sent.
    Response,
    /// Around both: the hook calls a function that forwards the request and returns the response.
    Around,
    /// While the response body passes: the hook gets its pieces and returns others.
    Chunks,
    /// Like `Chunks`, but by events; for `text/event-stream` only.
    Events,
    /// To say who the client is: the function of an authenticator.
    Authenticate,
}

/// Where a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// A plain function on the worker.
    Worker,
    /// A coroutine on the worker; once suspended it continues on the loop.
    Coroutine,
    /// A coroutine on the hooks' own asyncio loop.
    Loop,
    /// A plain function on a pool of threads.
    Pool,
}

/// What to do if a hook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Fail the exchange (500).
    Fail,
    /// Continue without the hook.
    Skip,
}

/// A call of a hook that does not return.
#[derive(Clone, Debug, PartialEq)]
pub struct OverdueCall {
    /// Name of the hook.
    pub hook: String,
    /// Name of the route, empty for an early hook and for an authenticator.
    pub route: String,
    /// Where it runs.
    pub place: CallPlace,
    /// Seconds since it was called.
    pub seconds: f64,
    /// True if it keeps the interpreter's lock, so that no other Python code can run.
    pub holds_interpreter: bool,
}

/// As in the log and in `/health`, which both say it in these words.
impl std::fmt::Display for OverdueCall {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} has been running for {:.1} s", full_name(&self.hook, &self.route), self.seconds)
    }
}

/// A hook and where it stands, as in the log: on a route, or in the early stage if that has no name. The function of an
/// authenticator is called `authenticator …` in the plan already.
pub fn full_name(hook: &str, route: &str) -> String {
    if !route.is_empty() {
        format!("hook {hook} on route {route}")
    } else if hook.starts_with("authenticator ") {
        hook.to_owned()
    } else {
        format!("early hook {hook}")
    }
}

/// The thread that a call keeps busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPlace {
    /// The worker at this index.
    Worker(usize),
    /// A thread of the pool.
    Pool,
}

/// The exchanges that hooks belong to.
#[derive(Clone, Copy, Debug)]
pub enum HookStage<'a> {
    /// All, before a route is looked for and around everything else.
    Early,
    /// Those of a route, behind its policies.
    Route {
        /// Its name.
        name: &'a str,
        /// Names of the values that its match captures.
        params: &'a [Box<str>],
        /// Names of its limits that are settled.
        settled: &'a [Box<str>],
    },
    /// Those that an authenticator asks about.
    Authenticator {
        /// Whether its function sees only some fields, because what it says is remembered by them.
        keyed: bool,
    },
}

/// Provides the hooks of a plan, and sets up worker threads for hooks.
pub trait HookSource: Send + Sync {
    /// Compiles the hooks of a stage. Problems have paths relative to the policy's settings.
    fn compile(&self, stage: HookStage<'_>, calls: &[HookCall]) -> Result<Arc<dyn Hooks>, Vec<Problem>>;

    /// Runs the thread of the worker at `index`, with whatever setup hooks need around it.
    fn run_worker(&self, index: usize, run: &mut (dyn FnMut() + Send)) {
        let _ = index;
        run();
    }

    /// Number of the configuration that the hooks belong to: another one has another number.
    fn revision(&self) -> u64 {
        0
    }

    /// The calls that should have returned by now.
    fn overdue(&self) -> Vec<OverdueCall> {
        Vec::new()
    }
}

/// The hooks of one route, or of the early stage.
pub trait Hooks: Send + Sync {
    /// Calls the request hooks, up to the first that answers, fails or must be awaited.
    fn on_request(&self, exchange: &mut Exchange) -> Step;

    /// Calls the response hooks.
    fn on_response(&self, exchange: &mut Exchange) -> Step;

    /// Calls those response hooks that also see answers to what is no request.
    fn on_refusal(&self, exchange: &mut Exchange) -> Step;

    /// Continues after a wait: `in_time` tells whether the hook has finished or timed out.
    fn resume(&self, exchange: &mut Exchange, in_time: bool) -> Step;

    /// Returns true if there are response hooks.
    fn sees_responses(&self) -> bool;

    /// Returns the stream through which the response body passes outside the worker, if there are hooks for it.
    fn stream(&self, exchange: &mut Exchange) -> Option<Box<dyn HookStream>>;
}

/// A body that passes through hooks piece by piece, with backpressure.
pub trait HookStream: Send {
    /// Ready when it accepts a piece.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Accepts a piece; `end` marks the last.
    fn push(&mut self, piece: &[u8], end: bool);

    /// Appends the next piece of output. Returns false at the end, and an error if the hook has failed.
    fn poll_pull(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<bool, HookFailed>>;
}

/// A hook failed in the middle of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookFailed;

/// Returns the rejection of a request whose hook cannot be called now: one does not return, or its hosts are full.
pub fn stuck() -> Rejection {
    let message = "the request could not be processed now".into();
    Rejection { status: 503, code: "hook_stuck", message, headers: Vec::new() }
}

/// Returns the rejection of a request whose hook has failed. It reveals no details of the failure.
pub fn failure() -> Rejection {
    let message = "the request could not be processed".into();
    Rejection { status: 500, code: "hook_error", message, headers: Vec::new() }
}

/// The result of calling hooks.
pub enum Step {
    /// All hooks were called and the exchange continues.
    Continue,
    /// A hook answered.
    Answer(Box<Answer>),
    /// A hook failed, which ends the exchange.
    Reject(Box<Rejection>),
    /// A hook runs outside the worker. Dropping `until` tells it that nobody waits any more.
    Wait {
        /// Ready when the hook is done.
        until: Pin<Box<dyn Future<Output = ()>>>,
        /// How long to wait.
        timeout: Duration,
    },
}

/// Whether a body can be read as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyForm {
    /// It has no content coding.
    #[default]
    Plain,
    /// It has one.
    Coded,
}

/// The hooks' state of one exchange.
#[derive(Default)]
pub struct HookVisit {
    /// True once the exchange has hooks.
    used: bool,
    /// The data of the route's hooks.
    pub session: Option<Box<dyn Any + Send>>,
    /// The data of the early hooks.
    pub early: Option<Box<dyn Any + Send>>,
    /// The Host that an early hook has set, in canonical form.
    pub host: Option<Box<[u8]>>,
    /// Name of the service that a hook has chosen.
    pub service: Option<Box<str>>,
    /// True if a hook has set the path.
    pub path_set: bool,
    /// Fields that hooks have set for whatever answer comes.
    pub fields: Edits,
    /// Why an authenticator of Pylae's own is asked.
    pub asked_for: Option<AskedFor>,
    /// What the function of an authenticator has returned.
    pub identified: Identified,
    /// Until when that may be remembered at most, since the Unix epoch; None if the function has not said.
    pub identified_until: Option<Duration>,
    /// The request body, if a hook wants it.
    pub request_body: Option<Arc<[u8]>>,
    /// The response body, if it is buffered or a hook has set it.
    pub response_body: Option<Arc<[u8]>>,
    /// What hooks for responses are told of the body.
    pub body_form: BodyForm,
    /// True if a hook has set the response body.
    pub body_set: bool,
    /// The stream through which the response body passes outside the worker.
    pub stream: Option<Box<dyn HookStream>>,
    /// Spans that hooks have made themselves.
    pub spans: OwnSpans,
    /// What hooks know only in a host: there the rest of the gateway is out of reach.
    pub hosted: Option<Box<HostedVisit>>,
}

/// Spans that hooks have made themselves, encoded.
#[derive(Clone, Debug, Default)]
pub struct OwnSpans {
    /// One after the other.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub count: u64,
}

/// Why an authenticator of Pylae's own is asked about a request that is not for one of its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedFor {
    /// To say whose session it is.
    Check,
    /// To begin a login.
    Login,
}

impl AskedFor {
    /// As Python has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Login => "login",
        }
    }
}

/// What the function of an authenticator has returned.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Identified {
    /// Nothing: it was not asked, or has failed.
    #[default]
    Unasked,
    /// It knows nobody by the request.
    Nobody,
    /// The user that sends the request.
    User(Arc<User>),
}

impl FeatureMemory for HookVisit {
    fn reset(&mut self) {
        if self.used {
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
    /// Returns the hooks' state, or None for an exchange without hooks.
    #[inline]
    pub fn hooks(&self) -> Option<&HookVisit> {
        self.slots.get::<HookVisit>().filter(|visit| visit.used)
    }

    /// Returns the hooks' state for changing, or None for an exchange without hooks.
    #[inline]
    pub fn hooks_mut(&mut self) -> Option<&mut HookVisit> {
        self.slots.get_mut::<HookVisit>().filter(|visit| visit.used)
    }

    /// Returns the hooks' state, and creates it on first use.
    pub fn hook_visit(&mut self) -> &mut HookVisit {
        let visit = self.slots.get_or_default::<HookVisit>();
        visit.used = true;
        visit
    }

    /// Sets the fields that hooks have set for whatever answer comes. They replace those of the gateway's policies.
    #[inline]
    pub fn set_hook_fields(&mut self) {
        let Some(visit) = self.hooks_mut().filter(|visit| !visit.fields.is_empty()) else { return };
        let fields = std::mem::take(&mut visit.fields);
        for (name, _) in fields.added() {
            self.response.edits.remove(name);
        }
        for (name, value) in fields.added() {
            // Cannot fail: they were validated when they were set.
            let _ = self.response.edits.append(name, value);
        }
    }
}
