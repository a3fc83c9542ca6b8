//! The spans of steps.

use pylae_core::trace::{HookHalf, HookPlace, HookStep, StepKind, TraceStep};

use super::exchange::{SpanFrame, SpanScope};
use super::span::{SpanKind, put_span};

impl SpanScope<'_> {
    /// Appends the span of a step.
    pub(super) fn write_step(
        &self,
        out: &mut Vec<u8>,
        frame: &SpanFrame<'_>,
        step: &TraceStep,
        random: &mut impl FnMut() -> u64,
    ) {
        let span_id = if step.span_id == 0 { random().max(1) } else { step.span_id };
        let kind = if matches!(step.kind, StepKind::Attempt(_)) { SpanKind::Client } else { SpanKind::Internal };
        let head = frame.below(span_id, kind, step.began, step.ended);
        match &step.kind {
            StepKind::Attempt(attempt) => self.write_attempt(out, head, attempt),
            StepKind::Wait(what) => put_span(out, head, &["wait ", what.name()], false, |_| {}),
            StepKind::Hook(hook) => {
                let name = self.hook_name(hook);
                put_span(out, head, &["hook ", name], hook.failed, |to| {
                    to.text("pylae.hook", name);
                    to.text("pylae.hook.half", half(hook.half));
                    if hook.failed {
                        to.text("error.type", "hook_error");
                    }
                });
            }
            StepKind::Cache(outcome) => {
                put_span(out, head, &["cache"], false, |to| to.text("pylae.cache", outcome.name()));
            }
            StepKind::Tunnel => put_span(out, head, &["tunnel"], false, |_| {}),
        }
    }

    /// The name of a hook in the configuration.
    fn hook_name(&self, step: &HookStep) -> &str {
        let hooks = match step.place {
            HookPlace::Early => self.early_hooks,
            HookPlace::Route => self.hooks,
        };
        hooks.and_then(|hooks| hooks.calls().get(step.index)).map_or("", |call| &call.name)
    }
}

fn half(half: HookHalf) -> &'static str {
    match half {
        HookHalf::Request => "request",
        HookHalf::Response => "response",
    }
}
