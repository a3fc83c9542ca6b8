//! Makes Python objects of events, and notes their places as `pylae.config.document.nodes.Tree` has them.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::events::{Events, Mark, Scalar, YamlEvent};

/// Bits of a place that hold the column, and of those that hold the line: `PART` in `nodes.py`.
const PART: u32 = 26;
/// How anything begins that is no text: `_NO_TEXT` in `reader.py`.
const NO_TEXT: &[u8] = b"-+.0123456789tTfFnN~";

/// What is special about a text: its mapping or list, its key or place there, the path to it, the text, the line and
/// column (from 1) and the indexes of its characters.
type PyReference = (Py<PyAny>, Py<PyAny>, Py<PyList>, Py<PyAny>, (u64, u64, u64, u64));

/// The content and its place, what is added to the tree, how many values there are by then, the items of the list and
/// how far everything was before each, and the texts with references.
pub(super) type PyDocument =
    (Py<PyAny>, u64, Py<PyBytes>, Py<PyBytes>, usize, Option<(Py<PyAny>, [Py<PyBytes>; 3])>, Vec<PyReference>);

/// How far the tree and the reader are.
pub(super) struct Start {
    /// What is added to each place.
    pub(super) base: u64,
    /// Numbers in the tree's list of what was added.
    pub(super) added: u64,
    /// Its places.
    pub(super) placed: u64,
    /// Values read.
    pub(super) values: usize,
}

/// What came of an event.
pub(super) enum ReadStep {
    More,
    Done,
    /// This has to be read another way.
    Special,
}

/// A mapping or list that is being read.
struct Frame {
    inside: Inside,
    /// Where it begins.
    at: u64,
    /// The places of its entries, of keys and values in a mapping.
    places: Vec<u64>,
}

enum Inside {
    /// With the key whose value comes next.
    Mapping(Py<PyDict>, Option<Py<PyString>>),
    List(Py<PyList>),
}

/// The list whose items are noted, and how far everything was before each of them and at its end.
#[derive(Default)]
struct Noted {
    listed: Option<Py<PyAny>>,
    added: Vec<u64>,
    placed: Vec<u64>,
    values: Vec<u64>,
}

/// One pass over the events of a text.
pub(super) struct Reading<'a, 'py> {
    events: Option<Events<'a>>,
    base: u64,
    max_depth: usize,
    max_values: usize,
    key: &'a str,
    scalar: &'a Bound<'py, PyAny>,
    /// What was there before, in numbers of the tree.
    before: (u64, u64),
    values: usize,
    frames: Vec<Frame>,
    added: Vec<u64>,
    places: Vec<u64>,
    keys: HashMap<Box<str>, Py<PyString>>,
    /// Texts without quotes, each once, because many repeat.
    plain: HashMap<Box<str>, Py<PyAny>>,
    noted: Noted,
    references: Vec<PyReference>,
    root: Option<(Py<PyAny>, u64)>,
    documents: usize,
}

impl<'a, 'py> Reading<'a, 'py> {
    pub(super) fn new(
        text: &'a str,
        start: &Start,
        (max_depth, max_values): (usize, usize),
        key: &'a str,
        scalar: &'a Bound<'py, PyAny>,
    ) -> Self {
        Self {
            events: Events::new(text),
            base: start.base,
            max_depth,
            max_values,
            key,
            scalar,
            before: (start.added, start.placed),
            values: start.values,
            frames: Vec::new(),
            added: Vec::new(),
            places: Vec::new(),
            keys: HashMap::new(),
            plain: HashMap::new(),
            noted: Noted::default(),
            references: Vec::new(),
            root: None,
            documents: 0,
        }
    }

    /// Reads the next event.
    pub(super) fn step(&mut self, py: Python<'py>) -> PyResult<ReadStep> {
        // For as long as an event is borrowed from them.
        let Some(mut events) = self.events.take() else { return Ok(ReadStep::Special) };
        let step = match events.next() {
            None => Ok(ReadStep::Special),
            Some((event, mark)) => self.take(py, &event, mark),
        };
        self.events = Some(events);
        step
    }

    fn take(&mut self, py: Python<'py>, event: &YamlEvent<'_>, mark: Mark) -> PyResult<ReadStep> {
        match event {
            YamlEvent::StreamStart | YamlEvent::DocumentEnd => {}
            YamlEvent::DocumentStart => {
                self.documents += 1;
                if self.documents > 1 {
                    return Ok(ReadStep::Special);
                }
            }
            YamlEvent::StreamEnd => return Ok(if self.root.is_some() { ReadStep::Done } else { ReadStep::Special }),
            YamlEvent::End => return self.end(py),
            YamlEvent::MappingStart => {
                let mapping = PyDict::new(py).unbind();
                return self.begin(py, Inside::Mapping(mapping, None), mark);
            }
            YamlEvent::SequenceStart if !self.frames.is_empty() => {
                let list = PyList::empty(py).unbind();
                return self.begin(py, Inside::List(list), mark);
            }
            YamlEvent::Scalar(scalar) if !self.frames.is_empty() => return self.scalar(py, scalar, mark),
            YamlEvent::Special | YamlEvent::SequenceStart | YamlEvent::Scalar(_) => return Ok(ReadStep::Special),
        }
        Ok(ReadStep::More)
    }

    fn place(&self, mark: Mark) -> u64 {
        self.base + (mark.line << PART) + mark.column
    }

    /// Counts a value. Returns false if it is not one that can be here: there are too many, or a key comes next.
    fn counted(&mut self) -> bool {
        self.values += 1;
        let fits = self.values <= self.max_values && self.frames.len() <= self.max_depth;
        let is_key = matches!(self.frames.last(), Some(Frame { inside: Inside::Mapping(_, None), .. }));
        if let Some(Frame { inside: Inside::List(list), .. }) = self.frames.last()
            && self.noted.listed.as_ref().is_some_and(|noted| noted.as_ptr() == list.as_ptr())
            && self.frames.len() == 2
        {
            // Before this value.
            self.note(self.values - 1);
        }
        fits && !is_key
    }

    fn note(&mut self, values: usize) {
        self.noted.added.push(self.before.0 + self.added.len() as u64);
        self.noted.placed.push(self.before.1 + self.places.len() as u64);
        self.noted.values.push(values as u64);
    }

    fn begin(&mut self, py: Python<'py>, inside: Inside, mark: Mark) -> PyResult<ReadStep> {
        if !self.counted() {
            return Ok(ReadStep::Special);
        }
        if let (Inside::List(list), [Frame { inside: Inside::Mapping(_, Some(key)), .. }]) = (&inside, &self.frames[..])
            && key.bind(py).to_str()? == self.key
        {
            self.noted.listed = Some(list.clone_ref(py).into_any());
        }
        let at = self.place(mark);
        self.frames.push(Frame { inside, at, places: Vec::new() });
        Ok(ReadStep::More)
    }

    fn end(&mut self, py: Python<'py>) -> PyResult<ReadStep> {
        let Some(frame) = self.frames.pop() else { return Ok(ReadStep::Special) };
        let inside = match frame.inside {
            Inside::Mapping(mapping, _) => mapping.into_any(),
            Inside::List(list) => list.into_any(),
        };
        if self.frames.len() == 1 && self.noted.listed.as_ref().is_some_and(|noted| noted.as_ptr() == inside.as_ptr()) {
            self.note(self.values);
        }
        self.added.push(inside.as_ptr() as u64);
        self.added.push(self.before.1 + self.places.len() as u64);
        self.places.extend(frame.places);
        if self.frames.is_empty() {
            self.root = Some((inside, frame.at));
            return Ok(ReadStep::More);
        }
        self.entry(py, inside, frame.at)
    }

    /// Adds a value to the mapping or list that is being read.
    fn entry(&mut self, py: Python<'py>, value: Py<PyAny>, at: u64) -> PyResult<ReadStep> {
        let Some(frame) = self.frames.last_mut() else { return Ok(ReadStep::Special) };
        match &mut frame.inside {
            Inside::Mapping(mapping, key) => {
                let Some(key) = key.take() else { return Ok(ReadStep::Special) };
                mapping.bind(py).set_item(key, value)?;
            }
            Inside::List(list) => list.bind(py).append(value)?,
        }
        frame.places.push(at);
        Ok(ReadStep::More)
    }

    fn scalar(&mut self, py: Python<'py>, scalar: &Scalar<'_>, mark: Mark) -> PyResult<ReadStep> {
        let at = self.place(mark);
        if let Some(Frame { inside: Inside::Mapping(mapping, key @ None), places, .. }) = self.frames.last_mut() {
            let found = if let Some(found) = self.keys.get(scalar.text) {
                found.clone_ref(py)
            } else {
                let made = PyString::new(py, scalar.text).unbind();
                self.keys.insert(scalar.text.into(), made.clone_ref(py));
                made
            };
            let merges = scalar.plain && scalar.text == "<<";
            if merges || mapping.bind(py).contains(&found)? {
                return Ok(ReadStep::Special);
            }
            *key = Some(found);
            places.push(at);
            return Ok(ReadStep::More);
        }
        if !self.counted() || (scalar.plain && scalar.text.is_empty()) {
            return Ok(ReadStep::Special);
        }
        let value = self.value(py, scalar)?;
        if scalar.text.contains("${") {
            self.refer(py, &value, mark)?;
        }
        self.entry(py, value, at)
    }

    /// What a text stands for by itself.
    fn value(&mut self, py: Python<'py>, scalar: &Scalar<'_>) -> PyResult<Py<PyAny>> {
        let text = scalar.text;
        if !scalar.plain {
            return Ok(PyString::new(py, text).into_any().unbind());
        }
        if let Some(found) = self.plain.get(text) {
            return Ok(found.clone_ref(py));
        }
        let special = text.as_bytes().first().is_some_and(|first| NO_TEXT.contains(first));
        let made = PyString::new(py, text).into_any();
        let made = if special { self.scalar.call1((made,))? } else { made }.unbind();
        self.plain.insert(text.into(), made.clone_ref(py));
        Ok(made)
    }

    /// Notes a text that contains references, which is about to be added.
    fn refer(&mut self, py: Python<'py>, text: &Py<PyAny>, mark: Mark) -> PyResult<()> {
        let path = PyList::empty(py);
        let mut last = None;
        for frame in &self.frames {
            let (inside, step) = match &frame.inside {
                Inside::Mapping(mapping, key) => (mapping.clone_ref(py).into_any(), key.into_pyobject(py)?.unbind()),
                Inside::List(list) => {
                    (list.clone_ref(py).into_any(), list.bind(py).len().into_pyobject(py)?.into_any().unbind())
                }
            };
            path.append(step.clone_ref(py))?;
            last = Some((inside, step));
        }
        if let Some((inside, step)) = last {
            let (line, column) = (mark.line, mark.column);
            let place = (line, column, mark.span.0, mark.span.1);
            self.references.push((inside, step, path.unbind(), text.clone_ref(py), place));
        }
        Ok(())
    }

    /// Returns what was read, once all of it has been.
    pub(super) fn document(self, py: Python<'py>) -> PyResult<PyDocument> {
        let Some((root, at)) = self.root else {
            return Err(pyo3::exceptions::PyRuntimeError::new_err("the document has not been read yet"));
        };
        let Noted { listed, added, placed, values } = self.noted;
        let items = listed.map(|listed| (listed, [&added, &placed, &values].map(|one| packed(py, one))));
        Ok((root, at, packed(py, &self.added), packed(py, &self.places), self.values, items, self.references))
    }
}

/// The numbers as an array of Python holds them.
fn packed(py: Python<'_>, numbers: &[u64]) -> Py<PyBytes> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    PyBytes::new(py, &bytes).unbind()
}
