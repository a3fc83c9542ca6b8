//! What a collector has answered (OTLP specification, "Full Success", "Partial Success", "Failures").

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::telemetry::otlp::reader::{WireField, bytes_of, fields, number_of};

/// Largest answer that is read.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// Longest text of a collector that is told on.
const MAX_TOLD: usize = 200;
/// Whether binary metadata is padded is the sender's choice.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ExportOutcome {
    /// It was taken, apart from `refused` items.
    Taken { refused: u64, told: String },
    /// It may be sent again, after a time that the collector asks for.
    Again { why: String, after: Option<Duration> },
    /// It must not be sent again.
    Refused(String),
}

impl ExportOutcome {
    pub(super) fn again(why: impl Into<String>) -> Self {
        Self::Again { why: why.into(), after: None }
    }
}

/// Judges an `ExportTraceServiceResponse`, or that of another signal.
pub(super) fn taken(message: &[u8]) -> ExportOutcome {
    let message = fields(message);
    let partial = fields(bytes_of(&message, 1).unwrap_or_default());
    let refused = number_of(&partial, 1).map_or(0, |refused| refused.cast_signed().max(0).cast_unsigned());
    ExportOutcome::Taken { refused, told: shown(bytes_of(&partial, 2).unwrap_or_default()) }
}

/// Judges an answer over HTTP. `retry_after` is the field of this name.
pub(super) fn of_http(
    status: u16,
    retry_after: Option<&str>,
    content_type: Option<&str>,
    body: &[u8],
) -> ExportOutcome {
    if (200..300).contains(&status) {
        // Proxies in between may answer what is no message.
        let is_message = content_type.is_none_or(|kind| kind.starts_with("application/x-protobuf"));
        return taken(if is_message { body } else { &[] });
    }
    let told = match content_type {
        Some(kind) if kind.starts_with("application/x-protobuf") => {
            shown(bytes_of(&fields(body), 2).unwrap_or_default())
        }
        Some(kind) if kind.starts_with("text/plain") => shown(body),
        _ => String::new(),
    };
    let why = if told.is_empty() { format!("status {status}") } else { format!("status {status}: {told}") };
    match status {
        429 | 502 | 503 | 504 => ExportOutcome::Again { why, after: retry_after.and_then(seconds_of) },
        _ => ExportOutcome::Refused(why),
    }
}

/// Judges the status of gRPC, which has failed. `details` is `grpc-status-details-bin`.
pub(super) fn of_grpc(status: u32, message: &[u8], details: Option<&[u8]>) -> ExportOutcome {
    let told = shown(&percent_decoded(message));
    let name = grpc_name(status);
    let why = if told.is_empty() { name.to_owned() } else { format!("{name}: {told}") };
    let after = details.and_then(retry_info);
    match status {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
        1 | 4 | 10 | 11 | 14 | 15 => ExportOutcome::Again { why, after },
        // RESOURCE_EXHAUSTED passes only if the collector says when.
        8 if after.is_some() => ExportOutcome::Again { why, after },
        _ => ExportOutcome::Refused(why),
    }
}

/// The wait that a `google.rpc.Status` in base64 asks for with a `RetryInfo`.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = BASE64.decode(details).ok()?;
    let found = fields(&status);
    let mut any = found.iter().filter_map(|(number, value)| match value {
        WireField::Bytes(bytes) if *number == 3 => Some(fields(bytes)),
        _ => None,
    });
    let info = any.find(|any| bytes_of(any, 1).is_some_and(|kind| kind.ends_with(b"/google.rpc.RetryInfo")))?;
    let delay = fields(bytes_of(&fields(bytes_of(&info, 2)?), 1)?);
    let seconds = number_of(&delay, 1).unwrap_or(0).cast_signed();
    let nanos = number_of(&delay, 2).unwrap_or(0).cast_signed();
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?.min(999_999_999)))
}

/// Reads `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
fn seconds_of(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// What a collector has said, on one short line.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.trim().chars().take(MAX_TOLD).flat_map(char::escape_debug);
    line.collect()
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, hex(text.get(at + 1)), hex(text.get(at + 2))) {
            out.push((high << 4 | low) as u8);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    out
}

/// Name of a status of gRPC.
fn grpc_name(status: u32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(status as usize).unwrap_or(&"an unknown status")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::protobuf::{put_message, put_string, put_uint};

    fn again(why: &str, seconds: Option<u64>) -> ExportOutcome {
        ExportOutcome::Again { why: why.to_owned(), after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn a_collector_takes_all_or_some() {
        let all = ExportOutcome::Taken { refused: 0, told: String::new() };
        assert_eq!(of_http(200, None, Some("application/x-protobuf"), b""), all);
        assert_eq!(of_http(202, None, Some("application/json"), b"{}"), all);
        let mut some = Vec::new();
        put_message(&mut some, 1, |out| {
            put_uint(out, 1, 3);
            put_string(out, 2, "too\nold");
        });
        let expected = ExportOutcome::Taken { refused: 3, told: "too\\nold".to_owned() };
        assert_eq!(of_http(200, None, Some("application/x-protobuf"), &some), expected);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(of_http(503, Some("7"), None, b""), again("status 503", Some(7)));
        assert_eq!(of_http(429, Some("soon"), None, b""), again("status 429", None));
        assert_eq!(of_http(502, Some("Thu, 01 Jan 1970 00:00:00 GMT"), None, b""), again("status 502", Some(0)));
        for status in [301, 400, 401, 404, 413, 500] {
            assert_eq!(of_http(status, Some("1"), None, b""), ExportOutcome::Refused(format!("status {status}")));
        }
        let mut status = Vec::new();
        put_string(&mut status, 2, "no such tenant");
        let told = of_http(400, None, Some("application/x-protobuf"), &status);
        assert_eq!(told, ExportOutcome::Refused("status 400: no such tenant".to_owned()));
        assert_eq!(of_http(403, None, Some("text/html"), b"<p>"), ExportOutcome::Refused("status 403".to_owned()));
    }

    #[test]
    fn grpc_says_when_to_try_again() {
        assert_eq!(of_grpc(14, b"no%20upstream", None), again("UNAVAILABLE: no upstream", None));
        assert_eq!(of_grpc(8, b"", None), ExportOutcome::Refused("RESOURCE_EXHAUSTED".to_owned()));
        assert_eq!(of_grpc(16, b"%", None), ExportOutcome::Refused("UNAUTHENTICATED: %".to_owned()));
        assert_eq!(of_grpc(99, b"", None), ExportOutcome::Refused("an unknown status".to_owned()));
        let mut status = Vec::new();
        put_message(&mut status, 3, |out| {
            put_string(out, 1, "type.googleapis.com/google.rpc.RetryInfo");
            put_message(out, 2, |out| put_message(out, 1, |out| put_uint(out, 1, 5)));
        });
        let details = BASE64.encode(&status);
        assert_eq!(
            of_grpc(8, b"", Some(details.trim_end_matches('=').as_bytes())),
            again("RESOURCE_EXHAUSTED", Some(5))
        );
        assert_eq!(of_grpc(14, b"", Some(b"!")), again("UNAVAILABLE", None));
    }

    #[test]
    fn what_a_collector_says_is_short() {
        let ExportOutcome::Refused(why) = of_grpc(3, &[b'x'; 5000], None) else { panic!("refused") };
        assert!(why.len() < 250);
    }
}
