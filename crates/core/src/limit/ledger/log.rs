//! Sliding window of a ledger: a log of charges.
//!
//! Up to a limit of [`MOST_RUNS`] the log is exact. For a greater limit the period is divided into as many cells, and
//! charges in one cell count from the latest of them: for at most a cell too long, never too short.

use super::carry::scale;
use super::shape::LedgerShape;

/// Largest limit that is logged charge by charge; the number of cells for greater ones.
pub(super) const MOST_RUNS: u64 = 100;

/// Charges that count from one moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct LedgerRun {
    pub(super) at: u64,
    pub(super) count: u32,
}

/// The charges that still count, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LedgerLog {
    pub(super) runs: Vec<LedgerRun>,
    /// The sum of the runs, at most the limit.
    pub(super) used: u64,
    /// What was charged beyond the limit; it moves to the runs as room becomes free.
    pub(super) over: u64,
}

impl LedgerLog {
    /// Drops what no open window contains.
    pub(super) fn advance(&mut self, now: u64, shape: &LedgerShape) {
        let Some(last) = self.runs.last() else { return };
        if last.at > now {
            // The clock was set back: as if it had stood still.
            let back = last.at - now;
            self.runs.iter_mut().for_each(|run| run.at = run.at.saturating_sub(back));
        } else if now - last.at >= 2 * shape.per {
            *self = Self::default();
            return;
        }
        let left = self.runs.iter().take_while(|run| now - run.at >= shape.per).count();
        self.used -= self.runs.drain(..left).map(|run| u64::from(run.count)).sum::<u64>();
        self.place_excess(now, shape);
    }

    pub(super) fn total(&self) -> u64 {
        self.used + self.over
    }

    pub(super) fn charge(&mut self, tokens: u64, now: u64, shape: &LedgerShape) {
        self.over = self.over.saturating_add(tokens);
        self.place_excess(now, shape);
        self.over = self.over.min(shape.limit.into());
    }

    /// Takes back what was charged at `since` or later, the oldest first: what stays counts longest.
    pub(super) fn credit(&mut self, tokens: u64, since: u64, now: u64, shape: &LedgerShape) {
        if since + shape.per <= now {
            return;
        }
        let mut left = tokens;
        for run in self.runs.iter_mut().filter(|run| run.at >= since) {
            let part = left.min(run.count.into());
            run.count -= part as u32;
            self.used -= part;
            left -= part;
        }
        self.runs.retain(|run| run.count > 0);
        self.over = self.over.saturating_sub(left);
        self.place_excess(now, shape);
    }

    fn place_excess(&mut self, now: u64, shape: &LedgerShape) {
        let count = self.over.min(u64::from(shape.limit).saturating_sub(self.used));
        if count == 0 {
            return;
        }
        self.over -= count;
        self.used += count;
        let cell = if u64::from(shape.limit) > MOST_RUNS { shape.per.div_ceil(MOST_RUNS) } else { 1 };
        match self.runs.last_mut() {
            Some(last) if last.at / cell == now / cell => {
                *last = LedgerRun { at: now, count: last.count + count as u32 };
            }
            _ => self.runs.push(LedgerRun { at: now, count: count as u32 }),
        }
    }

    /// Returns when `tokens` of what counts have left the window.
    pub(super) fn left_at(&self, tokens: u64, now: u64, shape: &LedgerShape) -> u64 {
        let mut freed = 0;
        let enough = self.runs.iter().find(|run| {
            freed += u64::from(run.count);
            freed >= tokens
        });
        enough.map_or(now, |run| run.at) + shape.per
    }

    /// Returns when nothing counts any more.
    pub(super) fn full_at(&self, held: u64, now: u64, shape: &LedgerShape) -> u64 {
        let Some(last) = self.runs.last().map(|run| run.at).or((held > 0).then_some(now)) else { return now };
        let last = if held > 0 { now } else { last };
        last + if self.total() + held > shape.limit.into() { 2 * shape.per } else { shape.per }
    }

    /// Counts with another limit: the used share stays, and so do the times.
    pub(super) fn scale(&mut self, from: u32, to: u32) {
        let (mut sum, mut placed) = (0, 0);
        for run in &mut self.runs {
            sum += u64::from(run.count);
            let scaled = scale(sum, from.into(), to.into());
            run.count = (scaled - placed) as u32;
            placed = scaled;
        }
        self.runs.retain(|run| run.count > 0);
        self.used = placed;
        self.over = scale(self.over, from.into(), to.into());
    }
}
