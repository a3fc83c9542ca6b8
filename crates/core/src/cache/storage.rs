//! Stored responses and their storage.

pub(super) mod combine;
pub(super) mod entry;
pub(super) mod head;
pub(super) mod part;
pub(super) mod purge;
pub(super) mod shared;
pub(super) mod store;
