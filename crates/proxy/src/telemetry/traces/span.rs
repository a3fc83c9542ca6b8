//! One span as a field of the message that an exporter sends: `opentelemetry/proto/trace/v1/trace.proto`.

use crate::telemetry::otlp::attributes::Attributes;
use crate::telemetry::otlp::protobuf::{
    put_bytes, put_fixed32, put_fixed64, put_head, put_long_message, put_message, put_string, put_uint,
};

/// `ScopeSpans.spans`
const SPANS: u32 = 2;

/// Fields of `Span`.
const TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const TRACE_STATE: u32 = 3;
const PARENT_SPAN_ID: u32 = 4;
const NAME: u32 = 5;
const KIND: u32 = 6;
const START: u32 = 7;
const END: u32 = 8;
pub(super) const ATTRIBUTES: u32 = 9;
const STATUS: u32 = 15;
const FLAGS: u32 = 16;

/// `Status.code`, and the code for an error.
const STATUS_CODE: u32 = 3;
const ERROR: u64 = 2;

/// Flags of a span: whether it is known where the parent is, and whether that is in another process.
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// What a span stands for, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanKind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// What every span has.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanHead<'a> {
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    /// Zero for the first span of a trace.
    pub(super) parent_id: u64,
    /// Whether the parent is in another process.
    pub(super) remote: bool,
    /// The flags of the trace context.
    pub(super) flags: u8,
    /// The `tracestate` lines, joined.
    pub(super) state: &'a str,
    pub(super) kind: SpanKind,
    /// Nanoseconds since the Unix epoch.
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Appends a span, whose attributes `describe` writes. `name` comes in parts.
pub(super) fn put_span(
    out: &mut Vec<u8>,
    head: SpanHead<'_>,
    name: &[&str],
    failed: bool,
    describe: impl FnOnce(&mut Attributes<'_>),
) {
    put_described(out, head, name, failed, |out| describe(&mut attributes(out)));
}

/// Writes attributes of a span.
pub(super) fn attributes(out: &mut Vec<u8>) -> Attributes<'_> {
    Attributes::new(out, ATTRIBUTES)
}

/// Appends a span, whose attributes `describe` appends as fields.
pub(super) fn put_described(
    out: &mut Vec<u8>,
    head: SpanHead<'_>,
    name: &[&str],
    failed: bool,
    describe: impl FnOnce(&mut Vec<u8>),
) {
    put_long_message(out, SPANS, |out| {
        put_bytes(out, TRACE_ID, &head.trace_id.to_be_bytes());
        put_bytes(out, SPAN_ID, &head.span_id.to_be_bytes());
        if !head.state.is_empty() {
            put_string(out, TRACE_STATE, head.state);
        }
        if head.parent_id != 0 {
            put_bytes(out, PARENT_SPAN_ID, &head.parent_id.to_be_bytes());
        }
        put_head(out, NAME, name.iter().map(|part| part.len()).sum());
        for part in name {
            out.extend_from_slice(part.as_bytes());
        }
        put_uint(out, KIND, head.kind as u64);
        put_fixed64(out, START, head.start);
        put_fixed64(out, END, head.end.max(head.start));
        describe(out);
        if failed {
            put_message(out, STATUS, |out| put_uint(out, STATUS_CODE, ERROR));
        }
        let remote = if head.remote { PARENT_IS_REMOTE } else { 0 };
        put_fixed32(out, FLAGS, u32::from(head.flags) | PARENT_IS_KNOWN | remote);
    });
}
