//! What is done beside the workers, and serves no client.

pub(crate) mod auxiliary;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod jwks;
