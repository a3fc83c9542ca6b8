//! Log records: lines of the access log for OTLP.

use std::time::Duration;

use pylae_core::Exchange;
use pylae_policies::access_log::{AccessLog, Completion};

use super::attributes::Attributes;
use super::protobuf::{put_bytes, put_fixed32, put_fixed64, put_message, put_string, put_uint};

/// Severities (`SeverityNumber`).
const INFO: (u64, &str) = (9, "INFO");
const ERROR: (u64, &str) = (17, "ERROR");
/// What the record is about.
const EVENT: &str = "pylae.access";

/// Appends the field `log_records` of a `ScopeLogs`: the line of the access log with what one looks for.
pub(crate) fn put_record(
    out: &mut Vec<u8>,
    log: &AccessLog,
    (exchange, completion): (&Exchange, &Completion<'_>),
    now: Duration,
) {
    let severity = if exchange.response.status >= 500 || !completion.complete { ERROR } else { INFO };
    put_message(out, 2, |out| {
        put_fixed64(out, 1, nanos(exchange.times.wall));
        put_uint(out, 2, severity.0);
        put_string(out, 3, severity.1);
        put_message(out, 5, |out| put_message(out, 1, |out| put_line(out, log, exchange, completion)));
        let mut attributes = Attributes::new(out, 6);
        let head = &exchange.request.head;
        attributes.bytes("http.request.method", head.method_span.of(&exchange.request.buffer));
        attributes.bytes("url.path", exchange.request.asked_path());
        attributes.int("http.response.status_code", exchange.response.status.into());
        attributes.text("client.address", &exchange.request.origin.client.to_string());
        attributes.bytes("pylae.request_id", &exchange.request.id);
        let user = exchange.request.user.as_ref().map(|user| &*user.id);
        let named = [
            ("pylae.route", completion.route),
            ("pylae.service", completion.service),
            ("pylae.code", exchange.response.code),
            ("user.id", user),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                attributes.text(key, value);
            }
        }
        let trace = &exchange.trace_context;
        if trace.is_known() {
            put_fixed32(out, 8, trace.flags.byte().into());
            put_bytes(out, 9, &trace.trace_id.to_be_bytes());
            put_bytes(out, 10, &trace.span_id.to_be_bytes());
        }
        put_fixed64(out, 11, nanos(now));
        put_string(out, 12, EVENT);
    });
}

/// Writes the line without its end. Lines are ASCII or UTF-8 whatever a client sends, since they escape what is not.
fn put_line(out: &mut Vec<u8>, log: &AccessLog, exchange: &Exchange, completion: &Completion<'_>) {
    let start = out.len();
    log.write(exchange, completion, out);
    out.pop_if(|last| *last == b'\n');
    if let Err(error) = std::str::from_utf8(&out[start..]) {
        out.truncate(start + error.valid_up_to());
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
