//! What the policies of an exchange cost. Only some exchanges are timed; the others pay a comparison for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Exchange;
use super::slots::{Feature, FeatureMemory, FeatureSlot};
use super::transform::BodyTransform;
use super::verdict::Verdict;
use crate::clock::Instant;

/// Most runs of policies that are kept of one exchange. All policies with all their halves are fewer.
pub const MAX_RUNS: usize = 96;

/// Reads the time. Policies are handed the time and never read a clock; what times them is handed one.
pub type ReadClock = fn() -> Instant;

/// The runs of the policies of a timed exchange. Its memory is reused.
#[derive(Debug, Default)]
pub struct PolicyTimings {
    /// How many exchanges this one stands for; 0 if it is timed for another reason.
    pub weight: u64,
    clock: Option<ReadClock>,
    /// What runs now runs before a route is looked for.
    early: bool,
    runs: Vec<PolicyRun>,
    /// Time spent on bodies so far, by position of the policy.
    bodies: Vec<(u8, Arc<AtomicU64>)>,
}

/// One half of a policy, or a wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRun {
    /// Position of the policy in the table of all policies.
    pub position: u8,
    /// Which part of it.
    pub part: PolicyPart,
    /// Whether it ran before a route was looked for.
    pub early: bool,
    /// What came of it.
    pub outcome: PolicyOutcome,
    /// When it began.
    pub began: Instant,
    /// When it was over.
    pub ended: Instant,
}

/// Which part of a policy has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyPart {
    /// The request half.
    Request,
    /// The body half.
    Body,
    /// The response half.
    Response,
    /// Nothing: the exchange waited for what the policy needs from outside the worker.
    Wait,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyOutcome {
    /// The exchange went on.
    Passed,
    /// The request was refused with this status and code.
    Rejected(u16, &'static str),
    /// The request was answered with this status.
    Answered(u16),
    /// The request was answered from the cache.
    Stored,
    /// It must wait.
    Waits,
}

impl PolicyPart {
    /// As documents have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Body => "body",
            Self::Response => "response",
            Self::Wait => "wait",
        }
    }
}

impl PolicyOutcome {
    /// Of a request half or a body half.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Continue => Self::Passed,
            Verdict::Reject(rejection) => Self::Rejected(rejection.status, rejection.code),
            Verdict::Answer(answer) => Self::Answered(answer.status),
            Verdict::Stored(_) => Self::Stored,
            Verdict::Join(_) | Verdict::Wait(_) => Self::Waits,
        }
    }
}

impl PolicyRun {
    /// How long it took.
    pub fn time(&self) -> Duration {
        self.ended.since(self.began)
    }
}

impl PolicyTimings {
    /// Adds a run. Those beyond [`MAX_RUNS`] are dropped.
    fn push(&mut self, run: PolicyRun) {
        if self.runs.len() < MAX_RUNS {
            self.runs.push(PolicyRun { early: self.early, ..run });
        }
    }

    /// The runs so far, in order.
    pub fn runs(&self) -> &[PolicyRun] {
        &self.runs
    }

    /// Time spent on changing the body, by position of the policy.
    pub fn bodies(&self) -> impl Iterator<Item = (u8, Duration)> {
        self.bodies.iter().map(|(position, nanos)| (*position, Duration::from_nanos(nanos.load(Ordering::Relaxed))))
    }
}

impl FeatureMemory for PolicyTimings {
    fn reset(&mut self) {
        self.weight = 0;
        self.clock = None;
        self.early = false;
        self.runs.clear();
        self.bodies.clear();
    }
}

impl Feature for PolicyTimings {
    const POSITION: FeatureSlot = FeatureSlot::Timing;
}

impl Exchange {
    /// Times the policies of this exchange from now on, by `clock`. It stands for `weight` exchanges.
    pub fn time_policies(&mut self, weight: u64, clock: ReadClock) {
        self.timed = true;
        let timings = self.slots.get_or_default::<PolicyTimings>();
        timings.weight = timings.weight.max(weight);
        timings.clock = Some(clock);
    }

    /// What runs from now on belongs to the early stage, or no longer does.
    pub fn set_early(&mut self, early: bool) {
        if self.timed
            && let Some(timings) = self.slots.get_mut::<PolicyTimings>()
        {
            timings.early = early;
        }
    }

    /// The time, by the clock of a timed exchange.
    pub fn read_clock(&self) -> Instant {
        self.timings().and_then(|timings| timings.clock).map_or(self.times.now, |read| read())
    }

    /// The runs of the policies, if they are timed.
    pub fn timings(&self) -> Option<&PolicyTimings> {
        self.slots.get().filter(|_| self.timed)
    }

    /// Adds a run to those of a timed exchange. Returns when it ended.
    pub fn add_run(
        &mut self,
        position: u8,
        part: PolicyPart,
        outcome: PolicyOutcome,
        (began, ended): (Instant, Instant),
    ) -> Instant {
        let run = PolicyRun { position, part, early: false, outcome, began, ended };
        self.slots.get_or_default::<PolicyTimings>().push(run);
        ended
    }

    /// Times the transforms of the body from the one at `first` on, which the policy at this position has installed.
    pub fn time_transforms(&mut self, position: u8, first: usize) {
        let Some(clock) = self.timings().and_then(|timings| timings.clock) else { return };
        if self.response.transforms.len() <= first {
            return;
        }
        let spent = Arc::<AtomicU64>::default();
        self.response
            .transforms
            .wrap_from(first, |inner| Box::new(TimedTransform { inner, clock, spent: Arc::clone(&spent) }));
        self.slots.get_or_default::<PolicyTimings>().bodies.push((position, spent));
    }
}

/// A transform whose time is measured.
struct TimedTransform {
    inner: Box<dyn BodyTransform>,
    clock: ReadClock,
    spent: Arc<AtomicU64>,
}

impl TimedTransform {
    fn time(&mut self, work: impl FnOnce(&mut dyn BodyTransform)) {
        let began = (self.clock)();
        work(&mut *self.inner);
        let spent = (self.clock)().as_nanos().saturating_sub(began.as_nanos());
        self.spent.fetch_add(spent, Ordering::Relaxed);
    }
}

impl BodyTransform for TimedTransform {
    fn push(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>) {
        self.time(|inner| inner.push(input, end, out));
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        self.time(|inner| inner.flush(out));
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local!(static NOW: Cell<u64> = const { Cell::new(0) });

    fn clock() -> Instant {
        NOW.set(NOW.get() + 5);
        Instant::from_nanos(NOW.get())
    }

    struct Doubled;

    impl BodyTransform for Doubled {
        fn push(&mut self, input: &[u8], _end: bool, out: &mut Vec<u8>) {
            out.extend_from_slice(input);
            out.extend_from_slice(input);
        }
    }

    #[test]
    fn runs_are_bounded_and_forgotten_with_the_exchange() {
        let mut exchange = Exchange::default();
        assert!(exchange.timings().is_none());
        exchange.time_policies(64, clock);
        for _ in 0..=MAX_RUNS {
            exchange.add_run(3, PolicyPart::Request, PolicyOutcome::Passed, (clock(), clock()));
        }
        let timings = exchange.timings().unwrap();
        assert_eq!((timings.runs().len(), timings.weight), (MAX_RUNS, 64));
        assert_eq!(timings.runs()[0].time(), Duration::from_nanos(5));
        exchange.reset();
        assert!(exchange.timings().is_none());
        exchange.time_policies(0, clock);
        assert_eq!((exchange.timings().unwrap().runs().len(), exchange.timings().unwrap().weight), (0, 0));
    }

    #[test]
    fn what_a_transform_does_to_the_body_is_the_time_of_its_policy() {
        let mut exchange = Exchange::default();
        exchange.time_policies(1, clock);
        exchange.response.transforms.install(Box::new(Doubled));
        exchange.time_transforms(2, 1);
        assert_eq!(exchange.timings().unwrap().bodies().count(), 0, "it was there before");
        exchange.time_transforms(2, 0);
        let mut out = Vec::new();
        exchange.response.transforms.push(b"ab", false, &mut out);
        exchange.response.transforms.flush(&mut out);
        assert_eq!(out, b"abab");
        let bodies: Vec<_> = exchange.timings().unwrap().bodies().collect();
        assert_eq!(bodies, [(2, Duration::from_nanos(10))]);
    }
}
