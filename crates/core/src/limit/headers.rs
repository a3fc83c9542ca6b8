//! `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers) and `Retry-After` (RFC 9110 section 10.2.3).

use std::time::Duration;

use super::decision::Decision;
use super::shape::LimitShape;

/// Whole seconds, rounded up.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// Appends a limit to the value of `RateLimit-Policy`: `"name";q=100;w=60`.
pub fn write_policy(out: &mut Vec<u8>, name: &str, shape: &LimitShape) {
    item(out, name);
    parameter(out, b";q=", shape.limit().into());
    parameter(out, b";w=", seconds(shape.per()));
}

/// Appends a concurrency limit to the value of `RateLimit-Policy`: `"name";q=10;qu="concurrent-requests"`.
pub fn write_concurrency_policy(out: &mut Vec<u8>, name: &str, limit: u32) {
    item(out, name);
    parameter(out, b";q=", limit.into());
    out.extend_from_slice(b";qu=\"concurrent-requests\"");
}

/// Appends the state of a limit to the value of `RateLimit`: `"name";r=50;t=30`.
pub fn write_limit(out: &mut Vec<u8>, name: &str, decision: &Decision) {
    item(out, name);
    parameter(out, b";r=", decision.remaining.into());
    parameter(out, b";t=", seconds(decision.reset));
}

/// Appends the state of a concurrency limit to the value of `RateLimit`: `"name";r=3`.
pub fn write_concurrency(out: &mut Vec<u8>, name: &str, remaining: u32) {
    item(out, name);
    parameter(out, b";r=", remaining.into());
}

/// Writes the value of `Retry-After`, at least 1, or nothing for an endless wait, which the field cannot express.
pub fn write_retry_after(out: &mut Vec<u8>, wait: Duration) {
    if wait != Duration::MAX {
        parameter(out, b"", seconds(wait).max(1));
    }
}

fn item(out: &mut Vec<u8>, name: &str) {
    if !out.is_empty() {
        out.extend_from_slice(b", ");
    }
    // RFC 9651 section 4.1.6; characters that a String cannot contain become `?`.
    out.push(b'"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => out.push(b'?'),
        }
    }
    out.push(b'"');
}

fn parameter(out: &mut Vec<u8>, name: &[u8], value: u64) {
    // RFC 9651 section 3.3.1: an Integer has at most 15 digits.
    const MOST: u64 = 999_999_999_999_999;
    out.extend_from_slice(name);
    out.extend_from_slice(itoa::Buffer::new().format(value.min(MOST)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::LimitAlgorithm;

    #[test]
    fn values_are_structured_fields() {
        let mut out = Vec::new();
        let shape = LimitShape::new(LimitAlgorithm::TokenBucket, 100, Duration::from_secs(60), Some(20)).unwrap();
        write_policy(&mut out, "per-minute", &shape);
        write_concurrency_policy(&mut out, "a\"b\\c\u{e9}", 4);
        assert_eq!(out, b"\"per-minute\";q=100;w=60, \"a\\\"b\\\\c??\";q=4;qu=\"concurrent-requests\"");
        out.clear();
        let decision = Decision { remaining: 50, reset: Duration::from_millis(29_001), ..Decision::default() };
        write_limit(&mut out, "default", &decision);
        write_concurrency(&mut out, "flights", 3);
        assert_eq!(out, b"\"default\";r=50;t=30, \"flights\";r=3");
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let written = |wait| {
            let mut out = Vec::new();
            write_retry_after(&mut out, wait);
            out
        };
        assert_eq!(written(Duration::from_nanos(1_000_000_001)), b"2");
        assert_eq!(written(Duration::from_secs(3)), b"3");
        assert_eq!(written(Duration::ZERO), b"1");
        assert_eq!(written(Duration::MAX), b"");
    }
}
