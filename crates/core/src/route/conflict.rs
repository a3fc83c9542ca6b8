//! Detects conflicts between routes.

pub(super) mod language;
pub(super) mod overlap;
pub(super) mod shadow;
