//! Matching of single routes, and the tables that requests are looked up in.

pub(super) mod index;
pub(super) mod literal;
pub(super) mod methods;
pub(super) mod pattern;
pub(super) mod predicate;
pub(super) mod rule;
pub(super) mod template;
