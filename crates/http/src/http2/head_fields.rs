//! Heads and trailers that are sent: lines of HTTP/1.1, which the gateway has written itself, as blocks of fields.

use super::hpack::{HpackEncoder, OF_CONNECTION};
use crate::message::head::complete_line;
use crate::{Field, Name, class};

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
    /// Bytes of the head, blank line included.
    pub(super) len: usize,
}

impl<'a> HeadLines<'a> {
    /// Finds the head at the start of `text`, and its field lines, whose places in `text` are put into `lines`.
    pub(super) fn read(text: &'a [u8], lines: &mut Vec<Field>) -> Result<Self, HeadUnfit> {
        let first = class::control_from(text, 0);
        if text.get(first..first + 2) != Some(b"\r\n") {
            return Err(HeadUnfit);
        }
        let end = read_lines(text, first + 2, lines);
        if text.get(end..end + 2) != Some(b"\r\n") {
            return Err(HeadUnfit);
        }
        Ok(Self { first: &text[..first], len: end + 2 })
    }
}

/// Finds the field lines of `text` from `start` on, without those of the connection (RFC 9113 section 8.2.2). Returns
/// where they end.
pub(super) fn read_lines(text: &[u8], start: usize, lines: &mut Vec<Field>) -> usize {
    lines.clear();
    let mut at = start;
    while let Some((mut field, end)) = complete_line(text, at) {
        at = end;
        if field.underscore {
            field.id = Name::Other;
        }
        if !OF_CONNECTION.has(field.id) {
            lines.push(field);
        }
    }
    at
}

/// The size of a field in a head.
pub(super) fn size(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + OVERHEAD
}

/// Appends a field.
pub(super) fn encode(encoder: &mut HpackEncoder, text: &[u8], line: &Field, out: &mut Vec<u8>) {
    encoder.encode_line(out, line.id, line.name.of(text), line.value.of(text), false);
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
