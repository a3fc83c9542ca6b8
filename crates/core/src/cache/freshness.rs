//! Freshness of responses: `Cache-Control`, dates, ages.

pub(super) mod age;
pub mod control;
pub(super) mod date;
