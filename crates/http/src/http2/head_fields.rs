//! Heads and trailers that are sent: lines of HTTP/1.1, which the gateway has written itself, as blocks of fields.

use super::hpack::HpackEncoder;
use crate::class;

/// What a field counts for in the size of a head besides its bytes (RFC 9113 section 6.5.2).
const OVERHEAD: usize = 32;

/// The head has no equivalent in HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadUnfit;

/// A head of HTTP/1.1 at the start of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLines<'a> {
    /// The first line, without its end.
    pub(super) first: &'a [u8],
    /// The field lines.
    pub(super) fields: &'a [u8],
    /// Bytes of the head, blank line included.
    pub(super) len: usize,
}

/// A field line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> HeadLines<'a> {
    /// Finds the head at the start of `text`.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, HeadUnfit> {
        let first = class::control_from(text, 0);
        let mut end = first;
        loop {
            if text.get(end..end + 2).ok_or(HeadUnfit)? != b"\r\n" {
                return Err(HeadUnfit);
            }
            let at = end + 2;
            end = line_end(text, at);
            if end == at {
                break;
            }
        }
        text.get(end..end + 2).filter(|&end| end == b"\r\n").ok_or(HeadUnfit)?;
        Ok(Self { first: &text[..first], fields: &text[first + 2..end], len: end + 2 })
    }
}

/// The fields in lines of the form `name: value`, without those of the connection (RFC 9113 section 8.2.2).
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let (start, colon) = (at, class::colon_from(text, at));
            let end = line_end(text, colon.min(text.len()));
            at = end + 2;
            let Some(value) = text.get(colon + 1..end) else { continue };
            let name = &text[start..colon];
            if !is_of_connection(name) {
                return Some(Line { name, value: class::trim(value) });
            }
        }
        None
    })
}

/// The end of the line that goes on at `from`, without CR and LF.
fn line_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        at = class::control_from(text, at);
        if text.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

fn is_of_connection(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"proxy-connection"];
    matches!(name.len(), 7 | 10 | 16 | 17) && NAMES.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The size of a field in a head.
pub(super) fn size(line: Line<'_>) -> usize {
    line.name.len() + line.value.len() + OVERHEAD
}

/// Appends a field, its name in small letters.
pub(super) fn encode(encoder: &mut HpackEncoder, line: Line<'_>, lower: &mut Vec<u8>, out: &mut Vec<u8>) {
    lower.clear();
    lower.extend(line.name.iter().map(u8::to_ascii_lowercase));
    encoder.encode(out, lower, line.value, false);
}

/// The target of a request as `:path`. Bytes that HTTP/1.1 has let in but no URI has are percent-encoded.
pub(super) fn path<'a>(target: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_odd = |byte: &u8| matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
    if !target.iter().any(is_odd) {
        return target;
    }
    scratch.clear();
    for byte in target {
        if is_odd(byte) {
            scratch.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            scratch.push(*byte);
        }
    }
    scratch
}
