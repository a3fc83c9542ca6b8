//! Traces: spans of recorded exchanges, written as OpenTelemetry has them at once, without objects in between.

mod attempt;
mod exchange;
mod hook_span;
mod mirror;
mod span;
mod step;

pub(crate) use self::exchange::{SpanRoot, SpanScope, failure};
pub use self::hook_span::{HookSpan, SpanEvent, SpanValue};
pub(crate) use self::mirror::MirrorSpan;
use pylae_core::trace::{HookStep, StepKind};
use pylae_core::{Exchange, Instant};

use crate::io::clock;

/// The time at which a step begins; it costs nothing if the exchange is not recorded.
#[inline]
pub fn step_began(exchange: &Exchange) -> Instant {
    if exchange.recorded { clock::now() } else { Instant::default() }
}

/// Adds a step that is over now, if the exchange is recorded.
#[inline]
pub(crate) fn step_ended(exchange: &mut Exchange, kind: StepKind, began: Instant) {
    if exchange.recorded {
        exchange.record_step(kind, began, clock::now());
    }
}

/// Adds a call of a hook that is over now, if the exchange is recorded.
#[inline]
pub fn hook_ended(exchange: &mut Exchange, step: HookStep, began: Instant) {
    if exchange.recorded {
        exchange.record_span(exchange.trace_context.hook_id, StepKind::Hook(step), began, clock::now());
    }
}

#[cfg(test)]
mod tests;
