//! Work outside the workers, which serves no client directly.

pub(crate) mod admin;
pub(crate) mod auxiliary;
pub(crate) mod counters;
pub(crate) mod export;
pub(crate) mod feed;
pub(crate) mod health;
mod http_client;
pub(crate) mod jobs;
pub(crate) mod jwks;
pub(crate) mod overload;
pub(crate) mod shared_limits;
pub(crate) mod store;
mod tokens;
