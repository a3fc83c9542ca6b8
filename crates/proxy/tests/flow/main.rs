//! What clients and instances see of the data plane, byte by byte, over real sockets. Only the crate's public API is used,
//! and no interpreter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not as expected fails the test")]

mod support {
    //! One end of a connection, instances, plans, running gateways and their clock.

    pub(crate) mod clock;
    pub(crate) mod gateway;
    pub(crate) mod instance;
    pub(crate) mod message;
    pub(crate) mod peer;
    pub(crate) mod plan;
}

mod client_connections;
mod early_answers;
mod fields;
mod framing;
mod instance_connections;
mod retries;
mod routing;
mod timeouts;
