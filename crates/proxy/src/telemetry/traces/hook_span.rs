//! Spans that hooks make themselves with the OpenTelemetry API.

use super::span::{ATTRIBUTES, SpanHead, SpanKind, put_described};
use crate::telemetry::otlp::attributes::clean;
use crate::telemetry::otlp::protobuf::{
    put_bytes, put_double, put_fixed64, put_int, put_message, put_string, put_uint,
};

/// Most attributes of a span or of an event, values of a list, and events of a span. Those beyond are left out.
const MOST: usize = 128;
/// How deep lists may be in lists.
const MOST_DEPTH: usize = 2;

/// `Span.events`
const EVENTS: u32 = 11;
/// `AnyValue.array_value`
const ARRAY: u32 = 5;

/// A span that a hook has made, as the OpenTelemetry API describes it.
#[derive(Clone, Debug, Default)]
pub struct HookSpan {
    /// Its name.
    pub name: String,
    /// The trace.
    pub trace_id: u128,
    /// Its id.
    pub span_id: u64,
    /// The span that it is below.
    pub parent_id: u64,
    /// The flags of the trace context.
    pub flags: u8,
    /// True if it stands for a request to another process.
    pub is_client: bool,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// True if it has failed.
    pub failed: bool,
    /// Attributes.
    pub attributes: Vec<(String, SpanValue)>,
    /// What has happened meanwhile.
    pub events: Vec<SpanEvent>,
}

/// What has happened during a span.
#[derive(Clone, Debug, Default)]
pub struct SpanEvent {
    /// Its name.
    pub name: String,
    /// When it happened, in nanoseconds since the Unix epoch.
    pub time: u64,
    /// Attributes.
    pub attributes: Vec<(String, SpanValue)>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanValue {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A text; 1,024 bytes of it are kept.
    Text(String),
    /// Several values.
    List(Vec<SpanValue>),
}

impl HookSpan {
    /// Appends the span as a field of the message that is sent.
    pub fn write(&self, out: &mut Vec<u8>) {
        let head = SpanHead {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_id: self.parent_id,
            remote: false,
            flags: self.flags,
            state: "",
            kind: if self.is_client { SpanKind::Client } else { SpanKind::Internal },
            start: self.start,
            end: self.end,
        };
        put_described(out, head, &[&clean(self.name.as_bytes())], self.failed, |out| {
            put_values(out, ATTRIBUTES, &self.attributes);
            for event in self.events.iter().take(MOST) {
                put_message(out, EVENTS, |out| {
                    put_fixed64(out, 1, event.time);
                    put_string(out, 2, &clean(event.name.as_bytes()));
                    put_values(out, 3, &event.attributes);
                });
            }
        });
    }
}

fn put_values(out: &mut Vec<u8>, field: u32, values: &[(String, SpanValue)]) {
    for (key, value) in values.iter().take(MOST) {
        put_message(out, field, |out| {
            put_string(out, 1, &clean(key.as_bytes()));
            put_message(out, 2, |out| put_value(out, value, MOST_DEPTH));
        });
    }
}

fn put_value(out: &mut Vec<u8>, value: &SpanValue, depth: usize) {
    match value {
        SpanValue::Bool(value) => put_uint(out, 2, (*value).into()),
        SpanValue::Int(value) => put_int(out, 3, *value),
        SpanValue::Double(value) => put_double(out, 4, *value),
        SpanValue::Text(text) => put_bytes(out, 1, clean(text.as_bytes()).as_bytes()),
        SpanValue::List(values) => put_message(out, ARRAY, |out| {
            for value in values.iter().take(if depth > 0 { MOST } else { 0 }) {
                put_message(out, 1, |out| put_value(out, value, depth - 1));
            }
        }),
    }
}
