//! Reads YAML into Python objects, as long as nothing in a text is special. Ten thousand routes are 170,000 events, and
//! an object of Python for each takes longer than all else about them.

mod events;
mod read;

use pyo3::prelude::*;
use pyo3::types::PyString;

use self::read::{PyDocument, ReadStep, Reading, Start};
use crate::gil;

/// How many events are read before other threads may have the interpreter.
const TURN: usize = 1000;

/// Reads a text in which nothing is special: no anchor, alias, tag, merge, key given twice or value missing, no
/// mistake, one document which is a mapping, within the limits `(depth, values)`. Returns None for all other texts.
///
/// `start` is what is added to places, and how far the tree and the reader of values are. `noted` is the key of the
/// list whose items are noted. `scalar` reads a text without quotes that may be more than a text.
#[pyfunction]
pub(crate) fn read_document(
    py: Python<'_>,
    text: &Bound<'_, PyString>,
    start: (u64, u64, u64, usize),
    limits: (usize, usize),
    noted: &str,
    scalar: &Bound<'_, PyAny>,
) -> PyResult<Option<PyDocument>> {
    // Half of a surrogate pair: whoever reads it otherwise says so.
    let Ok(text) = text.to_str() else { return Ok(None) };
    let (base, added, placed, values) = start;
    let mut reading = Reading::new(text, &Start { base, added, placed, values }, limits, noted, scalar);
    loop {
        for _ in 0..TURN {
            match reading.step(py)? {
                ReadStep::More => {}
                ReadStep::Special => return Ok(None),
                ReadStep::Done => return reading.document(py).map(Some),
            }
        }
        gil::detached(py, || ());
    }
}
