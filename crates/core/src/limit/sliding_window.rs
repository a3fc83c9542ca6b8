//! Sliding window: a log of admissions with their times.
//!
//! **What is exact.** No half-open window `[t, t + per)` ever admits more than `limit`. With up to [`MAX_RUNS`]
//! admissions in the log, nothing that fits is refused either. A log that must not grow further (because the limit is
//! greater, or because the store's memory for logs is used up) merges neighbours within the same cell of a grid and
//! keeps the later time of each, so it errs on the side of refusing: with room for `n` runs an admission counts for at
//! most `2 · per / n` too long, which is `per / 2048` for a large limit.

use std::collections::VecDeque;
use std::time::Duration;

use super::decision::{AbsoluteDecision, Decision, Reservation};
use super::shape::{LimitAlgorithm, LimitError, LimitShape};
use crate::clock::Instant;

/// Largest number of runs in a log: 64 KiB.
pub const MAX_RUNS: usize = 4096;

/// Capacity of a new log. The grid needs at least 4.
pub(super) const MIN_RUNS: usize = 4;

/// Admissions at one moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct AdmittedRun {
    pub(super) at: u64,
    pub(super) count: u32,
}

/// The admissions of one key that still count, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct AdmissionLog {
    runs: VecDeque<AdmittedRun>,
    /// Number of runs that it may hold without asking for more.
    room: usize,
    used: u32,
    /// Runs have been merged.
    merged: bool,
}

impl AdmissionLog {
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    pub(super) fn room(&self) -> usize {
        self.room
    }

    pub(super) fn runs(&self) -> impl DoubleEndedIterator<Item = AdmittedRun> + Clone + '_ {
        self.runs.iter().copied()
    }

    /// Drops admissions that no open window contains.
    pub(super) fn prune(&mut self, now: u64, per: u64) {
        while let Some(run) = self.runs.front().filter(|run| now.saturating_sub(run.at) >= per) {
            self.used -= run.count;
            self.runs.pop_front();
        }
    }

    /// Adds an admission at `now`. `grow` is asked whether the log may hold that many more runs.
    pub(super) fn push(&mut self, run: AdmittedRun, per: u64, grow: impl FnOnce(usize) -> bool) {
        self.used += run.count;
        if let Some(last) = self.runs.back_mut().filter(|last| last.at == run.at) {
            last.count += run.count;
            return;
        }
        if self.runs.len() >= self.room {
            let more = if self.room == 0 { MIN_RUNS } else { self.room };
            // The initial capacity needs no permission: without it there is no log at all.
            if self.room == 0 || (self.room + more <= MAX_RUNS && grow(more)) {
                self.room += more;
                self.runs.reserve_exact(more);
            } else {
                self.compact(grid(per, self.room));
            }
        }
        self.runs.push_back(run);
    }

    /// Takes up to `count` out of the admission that was made at `at`.
    pub(super) fn take_back(&mut self, at: u64, count: u32, per: u64) {
        let index = self.runs.partition_point(|run| run.at < at);
        let cell = grid(per, self.room);
        // Merged runs have the time of the latest.
        let is_it = |run: &&mut AdmittedRun| run.at == at || (self.merged && run.at / cell == at / cell);
        let Some(run) = self.runs.get_mut(index).filter(is_it) else { return };
        let back = run.count.min(count);
        run.count -= back;
        self.used -= back;
        if run.count == 0 {
            self.runs.remove(index);
        }
    }

    /// Merges the runs in each cell of a grid of step `cell` into the latest of them.
    fn compact(&mut self, cell: u64) {
        self.merged = true;
        let mut kept = 0;
        for next in 1..self.runs.len() {
            let (before, run) = (self.runs[kept], self.runs[next]);
            if before.at / cell == run.at / cell {
                self.runs[kept] = AdmittedRun { at: run.at, count: before.count + run.count };
            } else {
                kept += 1;
                self.runs[kept] = run;
            }
        }
        self.runs.truncate(kept + 1);
    }

    /// Scales all counts by `to / from`, rounded up in sum.
    pub(super) fn scale(&mut self, from: u32, to: u32) {
        let scaled = |sum: u32| {
            let exact = (u64::from(sum) * u64::from(to)).div_ceil(u64::from(from));
            u32::try_from(exact).unwrap_or(u32::MAX)
        };
        let (mut sum, mut placed) = (0, 0);
        for run in &mut self.runs {
            sum += run.count;
            run.count = scaled(sum) - placed;
            placed += run.count;
        }
        self.used = placed;
    }
}

/// Step of the grid of a log with room for `room` runs.
fn grid(per: u64, room: usize) -> u64 {
    2 * per / room.max(1) as u64 + 1
}

impl LimitShape {
    /// Decides on `cost` at `now`; `runs` are the `used` admissions that still count.
    pub(super) fn sliding_window(
        &self,
        runs: impl DoubleEndedIterator<Item = AdmittedRun> + Clone,
        used: u32,
        now: u64,
        cost: u32,
    ) -> AbsoluteDecision {
        let room = self.limit.saturating_sub(used);
        let admitted = cost <= room;
        if admitted && cost > 0 {
            return AbsoluteDecision {
                admitted,
                remaining: room - cost,
                ready_at: now,
                full_at: now.saturating_add(self.per),
            };
        }
        let end = |run: AdmittedRun| run.at.saturating_add(self.per);
        let full_at = runs.clone().next_back().map_or(now, end);
        // After a debt there may be more in use than the limit.
        let lacking = (u64::from(used) + u64::from(cost)).saturating_sub(u64::from(self.limit));
        let mut freed = 0;
        let enough = { runs }.find(|run| {
            freed += u64::from(run.count);
            freed >= lacking
        });
        let ready_at = enough.map_or(u64::MAX, end);
        AbsoluteDecision { admitted, remaining: room, ready_at, full_at }
    }
}

/// A sliding window for one key.
#[derive(Clone, Debug)]
pub struct SlidingWindow {
    shape: LimitShape,
    log: AdmissionLog,
    latest: u64,
}

impl SlidingWindow {
    /// Creates an empty window that admits at most `limit` in any half-open window of length `per`.
    pub fn new(limit: u32, per: Duration) -> Result<Self, LimitError> {
        let shape = LimitShape::new(LimitAlgorithm::SlidingWindow, limit, per, None)?;
        Ok(Self { shape, log: AdmissionLog::default(), latest: 0 })
    }

    /// Charges `cost` if it is admitted.
    pub fn check(&mut self, now: Instant, cost: u32) -> Decision {
        self.latest = self.latest.max(now.as_nanos());
        self.log.prune(self.latest, self.shape.per);
        let outcome = self.shape.sliding_window(self.log.runs(), self.log.used, self.latest, cost);
        if outcome.admitted && cost > 0 {
            self.log.push(AdmittedRun { at: self.latest, count: cost }, self.shape.per, |_| true);
        }
        outcome.relative_to(now.as_nanos())
    }

    /// Charges `cost` if it is admitted, as an estimate that [`settle`](Self::settle) corrects.
    pub fn reserve(&mut self, now: Instant, cost: u32) -> (Decision, Reservation) {
        let decision = self.check(now, cost);
        (decision, Reservation::new(cost, &decision, now, now.as_nanos()))
    }

    /// Replaces the estimated cost of a reservation by the true one. What was charged too little is charged now.
    pub fn settle(&mut self, now: Instant, reservation: &Reservation, cost: u32) {
        self.latest = self.latest.max(now.as_nanos());
        let per = self.shape.per;
        self.log.prune(self.latest, per);
        if cost > reservation.cost {
            let more = self.shape.used_with(self.log.used, cost - reservation.cost) - self.log.used;
            if more > 0 {
                self.log.push(AdmittedRun { at: self.latest, count: more }, per, |_| true);
            }
        } else if let Some(at) = reservation.until.checked_sub(per).filter(|_| self.latest < reservation.until) {
            self.log.take_back(at, reservation.cost - cost, per);
        }
    }
}

#[cfg(test)]
mod tests;
