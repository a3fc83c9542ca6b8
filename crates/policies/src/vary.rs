//! The `Vary` response field (RFC 9110 section 12.5.5), which several policies add to.

use pylae_core::Exchange;

/// Adds the request field `name` to `Vary`, unless it is listed already.
pub(crate) fn vary(exchange: &mut Exchange, name: &str) {
    let names = |line: &[u8]| {
        let mut members = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        members.any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !exchange.response.values("vary").any(names) {
        // Cannot fail: all callers pass literals.
        let _ = exchange.response.edits.append(b"Vary", name.as_bytes());
    }
}
