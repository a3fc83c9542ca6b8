//! What is known of a client's connection, and how long it may be kept up.

pub mod certificate;
pub mod delivery;
pub mod flood;
pub mod pace;
pub mod proxy_protocol;
