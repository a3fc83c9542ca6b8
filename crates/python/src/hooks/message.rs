//! The Python objects of an exchange: request, response, header fields and user. `handle.rs` and `made.rs` define the
//! request and the response, which header fields refer to; `request.rs` and `response.rs` implement their attributes,
//! `mapping.rs` and `response_mapping.rs` what they are as mappings.

pub(crate) mod certificate;
pub(crate) mod handle;
pub(crate) mod headers;
pub(crate) mod made;
pub(crate) mod mapping;
pub(crate) mod parsed;
pub(crate) mod ready;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod response_mapping;
pub(crate) mod settle;
pub(crate) mod text;
pub(crate) mod user;
