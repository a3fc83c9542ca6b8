//! Descriptions and counters of exchanges that are over.

use pylae_proxy::Totals;
use serde_json::Value;

use super::clock::wait_until;
use super::gateway::Gateway;

impl Gateway {
    /// Waits for `count` exchanges and returns their descriptions. A client may see its response before the exchange is
    /// over.
    pub(crate) fn logged(&self, count: usize) -> Vec<Value> {
        wait_until(|| self.lines().len() >= count);
        let lines = self.lines();
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    /// The description of the only exchange, reduced to these keys.
    pub(crate) fn logged_once(&self, keys: &[&str]) -> Value {
        let line = &self.logged(1)[0];
        keys.iter().map(|key| ((*key).to_owned(), line[key].clone())).collect::<serde_json::Map<_, _>>().into()
    }

    /// The totals, once nothing is in flight.
    pub(crate) fn counted(&self) -> Totals {
        wait_until(|| self.stats().totals.in_flight == 0);
        self.stats().totals
    }

    fn lines(&self) -> Vec<Value> {
        let lines = self.exchanges(&[], usize::MAX, false).lines;
        lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}
