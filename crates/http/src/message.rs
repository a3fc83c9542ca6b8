//! Message heads: start line, field lines, and their meaning.

pub mod connection;
pub mod edits;
pub mod fields;
pub mod head;
pub mod host;
pub mod method;
pub mod name;
pub mod span;
pub mod target;
