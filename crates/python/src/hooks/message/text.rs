//! Converts header bytes to Python text and back. HTTP does not define bytes above 0x7F; as Latin-1 they pass
//! unchanged.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::borrow::Cow;

/// Decodes bytes as Latin-1.
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().map(|&byte| char::from(byte)).collect::<String>()),
    }
}

/// Encodes text as Latin-1. Raises `ValueError` for other characters.
pub(crate) fn encode(text: &str) -> PyResult<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    bytes.map(Cow::Owned).map_err(|_| PyValueError::new_err("a header value has only Latin-1 characters"))
}

/// Percent-decodes a part of a canonical path, whose encoding is known to be valid.
pub(crate) fn percent_decode(escaped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        rest = if let (b'%', Some(high), Some(low)) = (byte, hex(0), hex(1)) {
            plain.push((high * 16 + low) as u8);
            &after[2..]
        } else {
            plain.push(byte);
            after
        };
    }
    plain
}
