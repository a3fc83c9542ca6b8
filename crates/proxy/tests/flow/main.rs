//! Tests of the data plane over real sockets, byte by byte, through the crate's public API and without an interpreter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not as expected fails the test")]

mod support {
    //! Test support: peers, instances, plans, running gateways and their clock.

    pub(crate) mod clock;
    pub(crate) mod frames;
    pub(crate) mod gateway;
    pub(crate) mod hooks;
    pub(crate) mod http2;
    pub(crate) mod instance;
    mod logged;
    pub(crate) mod message;
    pub(crate) mod peer;
    pub(crate) mod plan;
    pub(crate) mod switch;
}

mod operation {
    //! Operation of a running gateway: reload, drain, health and telemetry.

    mod admin;
    mod admin_tls;
    mod drain;
    mod health;
    mod observed;
    mod overload;
    mod panics;
    mod reload;
    mod stuck;
}

mod policies {
    //! Policies of routes.

    mod cache;
    mod cors;
    mod early;
    mod hooks;
    mod mirror;
}

mod client_connections;
mod early_answers;
mod error_pages;
mod fields;
mod framing;
mod http2;
mod instance_connections;
mod limits;
mod retries;
mod routing;
mod split;
mod timeouts;
mod trace_context;
mod websocket;
