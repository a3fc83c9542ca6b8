//! A client's connection: its certificate, and limits on slow or abusive clients.

pub mod certificate;
pub mod delivery;
pub mod flood;
pub mod pace;
pub mod proxy_protocol;
