//! Traces: the context of a request (W3C Trace Context level 2), whether its exchange is recorded, and what it has done
//! step by step.

pub mod context;
mod sampling;
mod state;
mod step;

pub use self::sampling::{Ratio, Sampling, TailRule};
pub use self::step::{AttemptStep, ConnectionKind, HookHalf, HookPlace, HookStep, StepKind, TraceStep, WaitedFor};
use crate::clock::Instant;
use crate::exchange::Exchange;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};

/// Most steps of one exchange that are kept. Those beyond are counted.
pub const MAX_STEPS: usize = 64;

/// The steps of a recorded exchange. Its memory is reused.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Vec<TraceStep>,
    missed: u32,
}

impl FeatureMemory for Trace {
    fn reset(&mut self) {
        self.steps.clear();
        self.missed = 0;
    }
}

impl Feature for Trace {
    const POSITION: FeatureSlot = FeatureSlot::Trace;
}

impl Trace {
    /// The steps, in the order in which they ended.
    pub fn steps(&self) -> &[TraceStep] {
        &self.steps
    }

    /// Number of steps that were not kept.
    pub fn missed(&self) -> u32 {
        self.missed
    }

    fn push(&mut self, step: TraceStep) {
        if self.steps.len() < MAX_STEPS {
            self.steps.push(step);
        } else {
            self.missed = self.missed.saturating_add(1);
        }
    }
}

impl Exchange {
    /// The steps of a recorded exchange.
    pub fn trace(&self) -> Option<&Trace> {
        self.slots.get::<Trace>().filter(|_| self.recorded)
    }

    /// Adds a step, if the exchange is recorded.
    #[inline]
    pub fn record_step(&mut self, kind: StepKind, began: Instant, ended: Instant) {
        if self.recorded {
            self.slots.get_or_default::<Trace>().push(TraceStep { kind, began, ended, span_id: 0 });
        }
    }

    /// Adds a step that others know by the id of its span, if the exchange is recorded.
    #[inline]
    pub fn record_span(&mut self, span_id: u64, kind: StepKind, began: Instant, ended: Instant) {
        if self.recorded {
            self.slots.get_or_default::<Trace>().push(TraceStep { kind, began, ended, span_id });
        }
    }

    /// Records no more, and forgets the steps so far.
    pub fn stop_recording(&mut self) {
        self.recorded = false;
        if let Some(trace) = self.slots.get_mut::<Trace>() {
            trace.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(exchange: &mut Exchange) {
        exchange.record_step(StepKind::Wait(WaitedFor::Place), Instant::from_nanos(1), Instant::from_nanos(2));
    }

    #[test]
    fn only_a_recorded_exchange_has_steps_and_no_more_than_fit() {
        let mut exchange = Exchange::default();
        step(&mut exchange);
        assert!(exchange.trace().is_none());
        exchange.recorded = true;
        for _ in 0..MAX_STEPS + 3 {
            step(&mut exchange);
        }
        let trace = exchange.trace().unwrap();
        assert_eq!((trace.steps().len(), trace.missed()), (MAX_STEPS, 3));
        exchange.stop_recording();
        assert!(exchange.trace().is_none());
        exchange.recorded = true;
        assert!(exchange.trace().unwrap().steps().is_empty());
    }

    #[test]
    fn the_next_request_starts_with_none() {
        let mut exchange = Exchange { recorded: true, ..Exchange::default() };
        exchange.trace_context.trace_id = 1;
        step(&mut exchange);
        exchange.reset();
        assert!(!exchange.recorded && !exchange.trace_context.is_known());
        exchange.recorded = true;
        assert!(exchange.trace().unwrap().steps().is_empty());
    }
}
