//! All the ways in which an exchange ends early, as values. They become responses in one place (`pylae-proxy`,
//! `respond.rs`).

use std::borrow::Cow;
use std::time::Duration;

use pylae_http::{HeadError, TargetError};

/// Why an exchange ended before an instance's response was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The request head was refused.
    Head(HeadError),
    /// The request target was refused.
    Target(TargetError),
    /// Something else about the request is malformed.
    Malformed(&'static str),
    /// An `Expect` other than `100-continue`.
    Expectation,
    /// CONNECT, or an upgrade that the gateway does not support here.
    NotImplemented,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is larger than allowed, in bytes.
    BodyTooLarge(u64),
    /// The listener does not serve this host.
    Misdirected,
    /// No route matches.
    NotFound,
    /// Routes match for other methods only; holds the value of `Allow`.
    MethodNotAllowed(String),
    /// A policy rejected the request.
    Rejected(Box<Rejection>),
    /// Too many exchanges in flight, in the gateway or for the service.
    Overloaded,
    /// No instance is available; the client may try again after this time.
    Unavailable(Duration),
    /// The circuit breaker is open; the client may try again after this time.
    BreakerOpen(Duration),
    /// The gateway lacks something of its own to ask an instance.
    Shortage(Shortage),
    /// Connecting to an instance failed.
    ConnectFailed,
    /// The instance closed the connection early or violated the protocol.
    BadGateway,
    /// The instance did not answer in time.
    GatewayTimeout,
    /// A policy timed out while it waited for something outside the worker.
    PolicyTimeout,
    /// The route has no service, and no policy answered.
    NoService,
    /// The client disconnected, so no answer can be sent.
    ClientGone,
}

/// What the gateway itself has run out of. No instance is to blame for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// File descriptors, of the process or of the whole system.
    Descriptors,
    /// Local ports for connections to one address.
    Ports,
    /// Memory, of the kernel's too.
    Memory,
}

/// The response of a policy that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Status code, 400–599.
    pub status: u16,
    /// Stable `snake_case` code for machines, e.g. `rate_limited`.
    pub code: &'static str,
    /// Sentence for people.
    pub message: Cow<'static, str>,
    /// Further header fields.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

impl Shortage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Descriptors, Self::Ports, Self::Memory];

    /// What is lacking, as a label of metrics.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
            Self::Memory => "memory",
        }
    }
}

impl Halt {
    /// Status of the response; 499 is only logged.
    pub fn status(&self) -> u16 {
        match self {
            Self::Head(error) => error.status(),
            Self::Target(_) | Self::Malformed(_) => 400,
            Self::Expectation => 417,
            Self::NotImplemented => 501,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::BodyTooLarge(_) => 413,
            Self::Misdirected => 421,
            Self::NotFound => 404,
            Self::MethodNotAllowed(_) => 405,
            Self::Rejected(rejection) => rejection.status,
            Self::Overloaded
            | Self::Unavailable(_)
            | Self::BreakerOpen(_)
            | Self::Shortage(_)
            | Self::PolicyTimeout => 503,
            Self::ConnectFailed | Self::BadGateway => 502,
            Self::GatewayTimeout => 504,
            Self::NoService => 500,
            Self::ClientGone => 499,
        }
    }

    /// Stable code for machines: `type` of the error body, label of metrics, field of logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Head(HeadError::TargetTooLong) => "target_too_long",
            Self::Head(HeadError::TooLarge) => "head_too_large",
            Self::Head(HeadError::Version) => "version_not_supported",
            Self::Head(HeadError::Syntax(_)) | Self::Malformed(_) => "malformed_request",
            Self::Target(_) => "malformed_target",
            Self::Expectation => "expectation_failed",
            Self::NotImplemented => "not_implemented",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::Misdirected => "misdirected_request",
            Self::NotFound => "no_route",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::Rejected(rejection) => rejection.code,
            Self::Overloaded => "overloaded",
            Self::Unavailable(_) => "service_unavailable",
            Self::BreakerOpen(_) => "breaker_open",
            Self::Shortage(Shortage::Descriptors) => "out_of_descriptors",
            Self::Shortage(Shortage::Ports) => "out_of_ports",
            Self::Shortage(Shortage::Memory) => "out_of_memory",
            Self::ConnectFailed => "connect_failed",
            Self::BadGateway => "bad_gateway",
            Self::GatewayTimeout => "gateway_timeout",
            Self::PolicyTimeout => "policy_timeout",
            Self::NoService => "no_service",
            Self::ClientGone => "client_gone",
        }
    }

    /// Sentence for people. It reveals nothing about the inside of the gateway or its instances.
    pub fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Head(HeadError::Syntax(what)) | Self::Target(TargetError(what)) | Self::Malformed(what) => what,
            Self::Head(HeadError::TargetTooLong) => "the request target is too long",
            Self::Head(HeadError::TooLarge) => "the request head is too large",
            Self::Head(HeadError::Version) => "only HTTP/1.0 and HTTP/1.1 are supported here",
            Self::Expectation => "only `Expect: 100-continue` can be met",
            Self::NotImplemented => "this method or protocol is not available here",
            Self::HeadTimeout => "the request head did not arrive in time",
            Self::BodyTimeout => "the request body did not arrive in time",
            Self::BodyTooLarge(limit) => {
                return Cow::Owned(format!("the request body is larger than the {limit} bytes allowed"));
            }
            Self::Misdirected => "this host is not served here",
            Self::NotFound => "no route for this path",
            Self::MethodNotAllowed(_) => "this path exists, but not for this method",
            Self::Rejected(rejection) => return rejection.message.clone(),
            Self::Overloaded => "as many requests are in flight as the gateway can take now",
            Self::Unavailable(_) => "no instance of the service can take the request now",
            Self::BreakerOpen(_) => "the service has failed too often of late, and gets no requests for a while",
            Self::Shortage(_) => {
                "the gateway lacks something of its own to ask the service; the service is not at fault"
            }
            Self::ConnectFailed => "the service could not be reached",
            Self::BadGateway => "the service broke off or gave an answer that is not valid HTTP",
            Self::GatewayTimeout => "the service did not answer in time",
            Self::PolicyTimeout => "the request could not be checked in time",
            Self::NoService => "the route has no service",
            Self::ClientGone => "the client closed the connection",
        })
    }
}
