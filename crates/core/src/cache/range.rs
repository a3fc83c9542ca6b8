//! Parts of a stored body (RFC 9110 section 14).

use std::ops::Range;

/// What a Range field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole: the field is not one that we serve, which is allowed.
    Whole,
    /// These bytes.
    Bytes(Range<usize>),
    /// Bytes that the body does not have: 416.
    None,
}

/// The part of a body of `length` bytes that `value` asks for. Several ranges at once are answered with the whole.
pub(super) fn part(value: &[u8], length: usize) -> Part {
    let Some((unit, set)) = value.iter().position(|byte| *byte == b'=').map(|at| (&value[..at], &value[at + 1..]))
    else {
        return Part::Whole;
    };
    let set = set.trim_ascii();
    let Some(dash) = set.iter().position(|byte| *byte == b'-') else { return Part::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes") || set.contains(&b',') {
        return Part::Whole;
    }
    let (from, to) = (&set[..dash], &set[dash + 1..]);
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from > to => Part::Whole,
        (Some(from), _) if from >= length && (to.is_empty() || number(to).is_some()) => Part::None,
        (Some(from), Some(to)) => Part::Bytes(from..length.min(to.saturating_add(1))),
        (Some(from), None) if to.is_empty() => Part::Bytes(from..length),
        (None, Some(0)) if from.is_empty() => Part::None,
        (None, Some(last)) if from.is_empty() && length > 0 => Part::Bytes(length.saturating_sub(last)..length),
        _ => Part::Whole,
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum: usize, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))))
}
