//! The steps of a recorded exchange: small values, which become spans and lines of `pylae trace` only once it is over.

use crate::cache::CacheOutcome;
use crate::clock::Instant;
use crate::service::AttemptOutcome;

/// One thing that an exchange did, with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceStep {
    /// What it was.
    pub kind: StepKind,
    /// When it began.
    pub began: Instant,
    /// When it was over.
    pub ended: Instant,
    /// The id of its span, if others know it; otherwise zero.
    pub span_id: u64,
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepKind {
    /// The exchange waited.
    Wait(WaitedFor),
    /// It asked an instance.
    Attempt(AttemptStep),
    /// It called a hook.
    Hook(HookStep),
    /// The cache had its say.
    Cache(CacheOutcome),
    /// It was a tunnel.
    Tunnel,
}

/// What an exchange waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitedFor {
    /// Something outside the worker that the policy of this name needs: the store, an authenticator.
    Policy(&'static str),
    /// Another request's fetch of the same response.
    Fetch,
    /// The request body, which a policy or a hook sees whole.
    Body,
    /// A place among those in flight to the service.
    Place,
    /// A token of the gateway's own for the service.
    Token,
    /// The time of the next attempt.
    Pause,
}

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptStep {
    /// Counted from 1.
    pub number: u32,
    /// Index of the instance, among those of the service.
    pub instance: usize,
    /// Over which connection.
    pub connection: Option<ConnectionKind>,
    /// How it ended; None if something else ended it, such as the client.
    pub outcome: Option<AttemptOutcome>,
}

/// The connection of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// Opened for it.
    New,
    /// Kept from an earlier exchange.
    Kept,
    /// Shared with other exchanges.
    Shared,
}

/// One call of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookStep {
    /// Where the hook stands.
    pub place: HookPlace,
    /// Its index among the hooks there.
    pub index: usize,
    /// What it was called for.
    pub half: HookHalf,
    /// True if it raised an exception, returned something unusable or took too long.
    pub failed: bool,
}

/// Where a hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPlace {
    /// In the early stage.
    Early,
    /// On the route.
    Route,
}

/// What a hook was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookHalf {
    /// The request.
    Request,
    /// The response.
    Response,
}

impl WaitedFor {
    /// As spans are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy(name) => name,
            Self::Fetch => "fetch",
            Self::Body => "body",
            Self::Place => "place",
            Self::Token => "token",
            Self::Pause => "pause",
        }
    }
}

impl ConnectionKind {
    /// As attributes have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Kept => "kept",
            Self::Shared => "shared",
        }
    }
}
