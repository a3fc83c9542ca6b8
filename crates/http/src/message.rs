//! A message's head: its start line, its field lines, and what they say.

pub mod connection;
pub mod edits;
pub mod fields;
pub mod head;
pub mod host;
pub mod method;
pub mod name;
pub mod span;
pub mod target;
