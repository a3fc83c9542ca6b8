//! Routes that take requests from each other.

pub(super) mod language;
pub(super) mod overlap;
pub(super) mod shadow;
