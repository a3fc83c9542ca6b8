//! What clients and instances see of the data plane, byte by byte, over real sockets. Only the crate's public API is
//! used, and no interpreter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not as expected fails the test")]

mod support {
    //! One end of a connection, instances, plans, running gateways and their clock.

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
    //! What people do with a gateway that runs, and see of it.

    mod drain;
    mod health;
    mod observed;
    mod reload;
}

mod policies {
    //! What routes do besides forwarding.

    mod cache;
    mod cors;
    mod hooks;
    mod mirror;
}

mod client_connections;
mod early_answers;
mod fields;
mod framing;
mod http2;
mod instance_connections;
mod limits;
mod retries;
mod routing;
mod timeouts;
mod websocket;
