//! One call of a hook: how it is made, where it waits, and its outcome.

pub(crate) mod blocking;
pub(crate) mod called;
pub(crate) mod failure;
pub(crate) mod job;
pub(crate) mod next;
mod overruns;
pub(crate) mod pipe;
pub(crate) mod returned;
pub(crate) mod stream;
pub(crate) mod task;
