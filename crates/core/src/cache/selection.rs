//! Which stored response answers which request: the key, and `Vary`.

pub(super) mod key;
pub(super) mod language;
pub(super) mod vary;
