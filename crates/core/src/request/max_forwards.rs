//! Limits how often OPTIONS and TRACE requests are forwarded (RFC 9110 section 7.6.2).

use pylae_http::{Method, Name};

use crate::exchange::Exchange;
use crate::exchange::halt::Halt;
use crate::exchange::request::Request;

const FIELD: &[u8] = b"Max-Forwards";

/// Decrements Max-Forwards of a request that is about to be forwarded. Returns true if it must not be forwarded: the
/// gateway answers it as the last recipient. Refuses a request whose value is not a number.
///
/// Requests of other methods keep the field unchanged, and so does a request whose field was edited.
pub fn decrement(exchange: &mut Exchange) -> Result<bool, Halt> {
    if !matches!(exchange.request.head.method, Method::Options | Method::Trace) {
        return Ok(false);
    }
    let Exchange { request: Request { head, buffer, edits, .. }, .. } = exchange;
    let mut lines = head.fields.values(buffer, "max-forwards");
    let (Some(line), other) = (lines.next(), lines.next()) else { return Ok(false) };
    if edits.removes(Name::Other, FIELD) {
        return Ok(false);
    }
    if line.is_empty() || !line.iter().all(u8::is_ascii_digit) || other.is_some() {
        return Err(Halt::Malformed("Max-Forwards is not one number"));
    }
    // Saturates: no request passes that many gateways.
    let left = line.iter().fold(0, |left: u64, digit| left.saturating_mul(10).saturating_add((digit - b'0').into()));
    let Some(left) = left.checked_sub(1) else { return Ok(true) };
    let counted = edits.set(FIELD, itoa::Buffer::new().format(left).as_bytes());
    counted.map(|()| false).map_err(|error| Halt::Malformed(error.0))
}

#[cfg(test)]
mod tests {
    use pylae_http::HeadLimits;

    use super::*;

    /// Returns the result for a request with these fields, and the value that is forwarded.
    fn counted(method: &str, fields: &str, edit: impl FnOnce(&mut Exchange)) -> (Result<bool, Halt>, Option<String>) {
        let mut exchange = Exchange::new(1024);
        exchange.request.buffer.extend_from_slice(format!("{method} / HTTP/1.1\r\n{fields}\r\n").as_bytes());
        let limits = HeadLimits { head: 1024, target: 16, fields: 8 };
        assert_eq!(exchange.request.head.parse(&exchange.request.buffer, &limits), Ok(true));
        edit(&mut exchange);
        let outcome = decrement(&mut exchange);
        let sent = exchange.request.edits.get(FIELD).map(|value| String::from_utf8(value.to_vec()).unwrap());
        (outcome, sent)
    }

    #[test]
    fn options_and_trace_are_counted() {
        for method in ["OPTIONS", "TRACE"] {
            for (said, outcome, sent) in [
                ("Max-Forwards: 0\r\n", true, None),
                ("Max-Forwards: 00\r\n", true, None),
                ("max-forwards: 1\r\n", false, Some("0")),
                ("Max-Forwards: 18446744073709551616\r\n", false, Some("18446744073709551614")),
                ("", false, None),
            ] {
                assert_eq!(counted(method, said, |_| {}), (Ok(outcome), sent.map(str::to_owned)), "{said}");
            }
            for said in ["", "-1", "1 ", "1;", "x"].map(|value| format!("Max-Forwards: {value}\r\n")) {
                assert_eq!(counted(method, &said, |_| {}).0.is_err(), said != "Max-Forwards: 1 \r\n", "{said}");
            }
        }
        for method in ["GET", "options", "POST"] {
            assert_eq!(counted(method, "Max-Forwards: 0\r\n", |_| {}), (Ok(false), None));
        }
    }

    #[test]
    fn what_an_edit_says_stays() {
        let set = |exchange: &mut Exchange| exchange.request.edits.set(FIELD, b"7").unwrap();
        assert_eq!(counted("TRACE", "Max-Forwards: 0\r\n", set), (Ok(false), Some("7".to_owned())));
        let remove = |exchange: &mut Exchange| exchange.request.edits.remove(FIELD);
        assert_eq!(counted("TRACE", "Max-Forwards: 0\r\n", remove), (Ok(false), None));
    }
}
