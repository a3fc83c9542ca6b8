//! What Python sees of an exchange: a request, a response, their header fields, a user. `request.rs` and `response.rs`
//! have the attributes; the objects themselves, which header fields refer to, are in `handle.rs` and `made.rs`.

pub(crate) mod handle;
pub(crate) mod headers;
pub(crate) mod made;
pub(crate) mod ready;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod text;
pub(crate) mod user;
