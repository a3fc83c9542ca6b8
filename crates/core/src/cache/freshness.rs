//! How long a response may be used: `Cache-Control`, dates, ages.

pub(super) mod age;
pub mod control;
pub(super) mod date;
