//! Traces of single exchanges, for operators.

use std::sync::Arc;

use pylae_core::Problem;

use super::Engine;
use crate::io::clock;
use crate::telemetry::watches::{WatchProgress, WatchQuestion};

impl Engine {
    /// Begins to watch for exchanges. Returns the id of the watch.
    pub fn watch(&self, question: WatchQuestion) -> Result<u64, Problem> {
        self.shared.watches.begin(question, clock::now()).map_err(|why| Problem::at("", why))
    }

    /// What has come of a watch; None if there is none with this id.
    pub fn watched(&self, id: u64) -> Option<WatchProgress> {
        self.shared.watches.progress(id, clock::now())
    }

    /// Ends a watch.
    pub fn end_watch(&self, id: u64) {
        self.shared.watches.end(id);
    }

    /// The traces that are kept, latest first, as JSON.
    pub fn traces(&self) -> Vec<Arc<str>> {
        self.shared.watches.traces(clock::now())
    }

    /// The trace with this id, as JSON.
    pub fn trace(&self, id: &str) -> Option<Arc<str>> {
        self.shared.watches.trace(id, clock::now())
    }

    /// Returns a token for the field `X-Pylae-Trace` and the id of the trace that it asks for, good for this many
    /// seconds; None if the system has no random numbers.
    pub fn issue_trace_token(&self, seconds: u64) -> Option<(String, String)> {
        let id = fastrand::u128(..);
        let token = self.shared.watches.tokens.issue(id, seconds, clock::wall())?;
        Some((format!("{id:032x}"), token))
    }
}
