//! Parts of a stored body (RFC 9110 section 14).

use std::ops::Range;

/// What a Range field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The whole: the field is not one that we serve, which is allowed.
    Whole,
    /// These bytes.
    Bytes(Range<usize>),
    /// Bytes that the body does not have: 416.
    None,
}

/// The part of a body of `length` bytes that `value` asks for. Several ranges at once are answered with the whole.
pub(super) fn wanted(value: &[u8], length: usize) -> Wanted {
    let Some((unit, set)) = value.iter().position(|byte| *byte == b'=').map(|at| (&value[..at], &value[at + 1..]))
    else {
        return Wanted::Whole;
    };
    let set = set.trim_ascii();
    let Some(dash) = set.iter().position(|byte| *byte == b'-') else { return Wanted::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes") || set.contains(&b',') {
        return Wanted::Whole;
    }
    let (from, to) = (&set[..dash], &set[dash + 1..]);
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from > to => Wanted::Whole,
        (Some(from), _) if from >= length && (to.is_empty() || number(to).is_some()) => Wanted::None,
        (Some(from), Some(to)) => Wanted::Bytes(from..length.min(to.saturating_add(1))),
        (Some(from), None) if to.is_empty() => Wanted::Bytes(from..length),
        (None, Some(0)) if from.is_empty() => Wanted::None,
        (None, Some(last)) if from.is_empty() && length > 0 => Wanted::Bytes(length.saturating_sub(last)..length),
        _ => Wanted::Whole,
    }
}

/// Positions of the first and the last byte and the length of the whole, if it is known, of a Content-Range
/// (section 14.4). None if it does not say so, or what cannot be.
pub(super) fn content(value: &[u8]) -> Option<(usize, usize, Option<usize>)> {
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
