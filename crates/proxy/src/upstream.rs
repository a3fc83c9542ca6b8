//! The upstream side of an exchange: connections, requests and responses of instances.

pub(crate) mod answer;
pub(crate) mod attempt;
pub(crate) mod connect;
pub(crate) mod dedicated;
pub(crate) mod download;
pub(crate) mod failure;
pub(crate) mod forwarded_head;
pub(crate) mod hook_body;
pub(crate) mod http2;
pub(crate) mod upload;
