//! gRPC over HTTP/2: deadlines in a field, and the status of a call in the trailers (gRPC over HTTP2,
//! `PROTOCOL-HTTP2.md`).

use std::fmt::Write;
use std::time::Duration;

use pylae_http::Name;

use crate::clock::Instant;
use crate::exchange::Exchange;
use crate::exchange::halt::Halt;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};

/// The call took longer than its client wanted to wait.
pub const DEADLINE_EXCEEDED: u32 = 4;
/// The service is unavailable; the client may retry the call.
pub const UNAVAILABLE: u32 = 14;

/// A gRPC call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcCall {
    /// When the call must be over, if the client sets a deadline.
    pub deadline: Option<Instant>,
    /// The status with which it ended, if that came after the head.
    status: Option<u32>,
}

/// The exchange's call, if it is one.
#[derive(Debug, Default)]
pub(crate) struct DetectedCall(Option<GrpcCall>);

impl FeatureMemory for DetectedCall {
    fn reset(&mut self) {
        self.0 = None;
    }
}

impl Feature for DetectedCall {
    const POSITION: FeatureSlot = FeatureSlot::Grpc;
}

impl Exchange {
    /// Returns true for a gRPC call: its errors are reported as a gRPC status.
    #[inline]
    pub fn is_call(&self) -> bool {
        self.call().is_some()
    }

    /// When the call must be over, including its response, if the client sets a deadline.
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.call().and_then(|call| call.deadline)
    }

    /// Takes the status of the call from the end of the response.
    pub fn end_call(&mut self, status: u32) {
        if let Some(call) = &mut self.slots.get_or_default::<DetectedCall>().0 {
            call.status = Some(status);
        }
    }

    /// The status with which the call has ended: from the trailers, the head or the gateway itself. None if it is no
    /// call, and if its status never came.
    pub fn call_status(&self) -> Option<u32> {
        let by_gateway = self.response.code.map(|_| status_of(self.response.status));
        self.call()?.status.or(by_gateway).or_else(|| status_in_head(self))
    }

    #[inline]
    fn call(&self) -> Option<GrpcCall> {
        self.slots.get::<DetectedCall>().and_then(|detected| detected.0)
    }
}

/// Detects whether the request in `exchange` is a gRPC call, and reads its deadline.
pub fn detect(exchange: &mut Exchange) -> Result<(), Halt> {
    let media_type = exchange.request.head.fields.get(&exchange.request.buffer, Name::ContentType);
    if !media_type.is_some_and(is_grpc) {
        return Ok(());
    }
    exchange.slots.get_or_default::<DetectedCall>().0 = Some(GrpcCall::default());
    let timeout = {
        let mut timeouts = exchange.request.values("grpc-timeout");
        let Some(timeout) = timeouts.next() else { return Ok(()) };
        parse_timeout(timeout).filter(|_| timeouts.next().is_none())
    };
    let timeout = timeout.ok_or(Halt::Malformed("the grpc-timeout is not one to eight digits and a unit"))?;
    let deadline = Some(exchange.times.started.saturating_add(timeout));
    exchange.slots.get_or_default::<DetectedCall>().0 = Some(GrpcCall { deadline, status: None });
    Ok(())
}

/// Matches `application/grpc` with any suffix or parameters.
fn is_grpc(media_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    media_type.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
        && matches!(media_type.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

/// At most eight digits and one of `H`, `M`, `S`, `m`, `u`, `n`.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Maps the HTTP status of a gateway response to a gRPC status. It follows gRPC's own table
/// (`http-grpc-status-mapping.md`) except for 429 and 504, where the gateway knows better.
pub fn status_of(http: u16) -> u32 {
    match http {
        200 => 0,
        499 => 1,
        408 | 504 => DEADLINE_EXCEEDED,
        403 => 7,
        413 | 429 => 8,
        404 | 405 | 501 => 12,
        400 | 500 => 13,
        502 | 503 => UNAVAILABLE,
        401 => 16,
        411..=422 | 431 => 3,
        _ => 2,
    }
}

/// Maps a gRPC status to the nearest HTTP status, for retries, breakers and health checks, which judge responses by
/// status.
pub fn http_status_of(status: u32) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        2 | 13 | 15 => 500,
        4 => 504,
        5 => 404,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 400,
    }
}

/// The name of a status for which the server is to blame (OpenTelemetry, "Semantic conventions for gRPC"); None for
/// others.
pub fn server_error(status: u32) -> Option<&'static str> {
    Some(match status {
        2 => "UNKNOWN",
        DEADLINE_EXCEEDED => "DEADLINE_EXCEEDED",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        UNAVAILABLE => "UNAVAILABLE",
        15 => "DATA_LOSS",
        _ => return None,
    })
}

/// Encodes `text` for `grpc-message`: everything but printable ASCII is percent-encoded.
pub fn encode_message(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7F.. => {
                // Writing to a String does not fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

/// The trailer lines that end a call.
pub fn trailers(status: u32, message: &str) -> String {
    format!("grpc-status: {status}\r\ngrpc-message: {}\r\n", encode_message(message))
}

/// Reads the gRPC status from trailer lines.
pub fn read_status(lines: &[u8]) -> Option<u32> {
    let mut lines = lines.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(b"grpc-status:".len())?;
        name.eq_ignore_ascii_case(b"grpc-status:").then_some(value)
    })?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Returns the HTTP status by which to judge an instance's response. A call that fails at once has its status in the
/// head.
pub fn effective_status(exchange: &Exchange) -> u16 {
    let http = exchange.response.head.status;
    if !exchange.is_call() || http != 200 {
        return http;
    }
    status_in_head(exchange).map_or(http, |status| effective_call_status(exchange, status))
}

/// The status of a call that fails at once.
fn status_in_head(exchange: &Exchange) -> Option<u32> {
    let mut values = exchange.response.head.fields.values(&exchange.response.buffer, "grpc-status");
    std::str::from_utf8(values.next()?).ok()?.parse().ok()
}

/// Returns the HTTP status by which to judge a call that ended with this gRPC status.
pub fn effective_call_status(exchange: &Exchange, status: u32) -> u16 {
    match status {
        // The client chose the deadline, so exceeding it says nothing about the instance.
        DEADLINE_EXCEEDED if exchange.deadline().is_some() => 408,
        _ => http_status_of(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("7n", Some(Duration::from_nanos(7))),
            ("100000000S", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("1s", None),
            ("", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn media_types() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC; a=b"] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in ["application/grpc-web", "application/json", "application/grp", ""] {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn messages_are_encoded() {
        assert_eq!(encode_message("50 % of “it”\n"), "50 %25 of %E2%80%9Cit%E2%80%9D%0A");
        assert_eq!(trailers(14, "a%"), "grpc-status: 14\r\ngrpc-message: a%25\r\n");
        assert_eq!(read_status(trailers(14, "a").as_bytes()), Some(14));
        assert_eq!(read_status(b"x: 1\r\nGrpc-Status: 0\r\n"), Some(0));
        assert_eq!(read_status(b"x: 1\r\n"), None);
    }

    #[test]
    fn what_fails_for_one_fails_for_the_other() {
        for http in [500_u16, 502, 503, 504] {
            assert!(http_status_of(status_of(http)) >= 500, "{http}");
        }
        for http in [400_u16, 401, 403, 404, 408, 413, 415, 422, 429, 431, 499] {
            assert_ne!(status_of(http), 0, "{http}");
        }
    }
}
