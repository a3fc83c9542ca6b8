//! The ordinary OpenTelemetry API inside hooks: the span of a hook's call is the current one there, and spans that
//! hooks make go out with those of their exchange. The Python half is `pylae.telemetry.spans`.

use std::sync::Arc;

use pylae_core::Exchange;
use pylae_proxy::{HookSpan, SpanEvent, SpanValue};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::message::handle::{ExchangeHandle, PyRequest};
use crate::gil;

/// Most bytes of spans that the hooks of one exchange make.
const MOST_BYTES: usize = 64 * 1024;

/// An attribute as Python gives it.
#[derive(FromPyObject)]
pub(super) enum PyValue {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<PyValue>),
}

type PyAttributes = Vec<(String, PyValue)>;

/// What `pylae.telemetry.spans` tells of a span: name, its id and that of its parent, start and end, then whether it is
/// a client's, whether it failed, its attributes and its events.
type PySpan = (String, (u64, u64), (u64, u64), (bool, bool), PyAttributes, Vec<(String, u64, PyAttributes)>);

/// Loads the Python half ahead of the first call, which would wait for it.
pub(super) fn prepare() {
    // What is wrong with it shows when a hook is called.
    let _ = gil::attached(|py| enter_of(py).is_ok());
}

fn enter_of(py: Python<'_>) -> PyResult<&Py<PyAny>> {
    static ENTER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ENTER.get_or_try_init(py, || Ok(py.import("pylae.telemetry.spans")?.getattr("enter")?.unbind()))
}

/// Begins the span of the next call, if it will be sent.
pub(super) fn begin(exchange: &mut Exchange) {
    if exchange.recorded && exchange.trace_context.sampled {
        exchange.trace_context.begin_hook();
    }
}

/// Makes the span of the call the current one in the context whose method `run` is, if it will be sent and the
/// OpenTelemetry API is installed.
pub(super) fn enter(py: Python<'_>, run: &Bound<'_, PyAny>, handle: &Arc<ExchangeHandle>) -> PyResult<()> {
    let context = handle.with(|exchange| exchange.trace_context);
    let Some(context) = context.ok().filter(|context| context.hook_id != 0) else { return Ok(()) };
    let enter = enter_of(py)?;
    if enter.is_none(py) {
        return Ok(());
    }
    let flags = context.sent_flags().byte();
    run.call1((enter, handle.request(py)?, context.trace_id, context.hook_id, flags)).map(drop)
}

/// Keeps a span that a hook has made of the exchange of `request`. Returns False if that is over, or has no room left.
#[pyfunction]
pub(super) fn record_span(request: &Bound<'_, PyRequest>, span: PySpan) -> bool {
    let (name, (span_id, parent_id), (start, end), (is_client, failed), attributes, events) = span;
    let kept = request.get().0.change(|exchange| {
        let context = exchange.trace_context;
        if context.hook_id == 0 {
            return false;
        }
        let own = &mut exchange.hook_visit().spans;
        let before = own.bytes.len();
        let span = HookSpan {
            name,
            trace_id: context.trace_id,
            span_id,
            parent_id,
            flags: context.sent_flags().byte(),
            is_client,
            start,
            end,
            failed,
            attributes: values(attributes),
            events: events
                .into_iter()
                .map(|(name, time, attributes)| SpanEvent { name, time, attributes: values(attributes) })
                .collect(),
        };
        span.write(&mut own.bytes);
        if own.bytes.len() > MOST_BYTES {
            own.bytes.truncate(before);
            return false;
        }
        own.count += 1;
        true
    });
    kept.unwrap_or(false)
}

fn values(attributes: PyAttributes) -> Vec<(String, SpanValue)> {
    attributes.into_iter().map(|(key, value)| (key, value.into())).collect()
}

impl From<PyValue> for SpanValue {
    fn from(value: PyValue) -> Self {
        match value {
            PyValue::Bool(value) => Self::Bool(value),
            PyValue::Int(value) => Self::Int(value),
            PyValue::Double(value) => Self::Double(value),
            PyValue::Text(text) => Self::Text(text),
            PyValue::List(values) => Self::List(values.into_iter().map(Into::into).collect()),
        }
    }
}
