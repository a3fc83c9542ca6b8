//! `Vary` (RFC 9110 section 12.5.5), which several policies add to.

use pylae_core::Exchange;
use pylae_http::Name;

/// Says that the response depends on the request field `name`, unless it says so already.
pub(crate) fn vary(exchange: &mut Exchange, name: &str) {
    let names = |line: &[u8]| {
        let mut members = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        members.any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_bytes()))
    };
    let edits = &mut exchange.response_edits;
    let kept = !edits.removes(Name::Vary, b"");
    let sent = kept && exchange.response.fields.values(&exchange.response_buffer, "vary").any(names);
    let added = edits.added().any(|(field, line)| field.eq_ignore_ascii_case(b"vary") && names(line));
    if !sent && !added {
        // Cannot fail: callers give literals.
        let _ = edits.append(b"Vary", name.as_bytes());
    }
}
