//! Range requests (RFC 9110 section 14).

use std::ops::Range;

/// The part of the body that a Range field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestedRange {
    /// The whole body: the field is of a kind that the cache ignores, which is allowed.
    Whole,
    /// This range of bytes.
    Bytes(Range<usize>),
    /// A range beyond the end of the body: 416.
    None,
}

/// Parses Range for a body of `length` bytes. Several ranges at once are answered with the whole body.
pub(super) fn parse_range(value: &[u8], length: usize) -> RequestedRange {
    let Some((unit, set)) = value.iter().position(|byte| *byte == b'=').map(|at| (&value[..at], &value[at + 1..]))
    else {
        return RequestedRange::Whole;
    };
    let set = set.trim_ascii();
    let Some(dash) = set.iter().position(|byte| *byte == b'-') else { return RequestedRange::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes") || set.contains(&b',') {
        return RequestedRange::Whole;
    }
    let (from, to) = (&set[..dash], &set[dash + 1..]);
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from > to => RequestedRange::Whole,
        (Some(from), _) if from >= length && (to.is_empty() || number(to).is_some()) => RequestedRange::None,
        (Some(from), Some(to)) => RequestedRange::Bytes(from..length.min(to.saturating_add(1))),
        (Some(from), None) if to.is_empty() => RequestedRange::Bytes(from..length),
        (None, Some(0)) if from.is_empty() => RequestedRange::None,
        (None, Some(last)) if from.is_empty() && length > 0 => {
            RequestedRange::Bytes(length.saturating_sub(last)..length)
        }
        _ => RequestedRange::Whole,
    }
}

/// Parses Content-Range (section 14.4): positions of the first and the last byte, and the length of the whole if known.
/// Returns None for an invalid value.
pub(super) fn parse_content_range(value: &[u8]) -> Option<(usize, usize, Option<usize>)> {
    let (unit, range) = value.split_at_checked(6)?;
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let slash = range.iter().position(|byte| *byte == b'/')?;
    let (first, last) = (number(range.get(..dash)?)?, number(range.get(dash + 1..slash)?)?);
    let whole = match &range[slash + 1..] {
        b"*" => None,
        length => Some(number(length)?),
    };
    let can_be = first <= last && last < whole.unwrap_or(usize::MAX);
    (unit.eq_ignore_ascii_case(b"bytes ") && can_be).then_some((first, last, whole))
}

fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum: usize, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))))
}
