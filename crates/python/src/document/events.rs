//! The events of a YAML text, as libyaml tells them, which is what `PyYAML` asks as well.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

/// What comes next in a text.
pub(super) enum YamlEvent<'e> {
    StreamStart,
    StreamEnd,
    DocumentStart,
    DocumentEnd,
    SequenceStart,
    MappingStart,
    /// The end of a sequence or of a mapping.
    End,
    Scalar(Scalar<'e>),
    /// An alias, or what has an anchor or a tag.
    Special,
}

/// A text.
pub(super) struct Scalar<'e> {
    pub(super) text: &'e str,
    /// False in quotes: then it is a text whatever is in it.
    pub(super) plain: bool,
}

/// Where an event begins and ends.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// From 1.
    pub(super) line: u64,
    /// In characters, from 1.
    pub(super) column: u64,
    /// The index of the first character, and of that behind the last.
    pub(super) span: (u64, u64),
}

/// The events of a text, one after the other.
pub(super) struct Events<'t> {
    /// It refers to itself, so it stays where it is.
    parser: Box<MaybeUninit<unsafe_libyaml::yaml_parser_t>>,
    /// The latest event, if there is one.
    latest: Option<unsafe_libyaml::yaml_event_t>,
    text: PhantomData<&'t str>,
}

impl<'t> Events<'t> {
    /// None if there is no memory for it.
    pub(super) fn new(text: &'t str) -> Option<Self> {
        let mut parser = Box::new(MaybeUninit::<unsafe_libyaml::yaml_parser_t>::uninit());
        let at = parser.as_mut_ptr();
        // SAFETY: `at` is memory for a parser, which is initialized before it is used and deleted when this is dropped.
        // The text outlives it, and it stays where it is.
        unsafe {
            if unsafe_libyaml::yaml_parser_initialize(at).fail {
                return None;
            }
            unsafe_libyaml::yaml_parser_set_input_string(at, text.as_ptr(), text.len() as u64);
        }
        Some(Self { parser, latest: None, text: PhantomData })
    }

    /// Returns the next event; None at a mistake. Not to be called again after that, or after the end of the stream.
    pub(super) fn next(&mut self) -> Option<(YamlEvent<'_>, Mark)> {
        self.drop_latest();
        let mut event = MaybeUninit::uninit();
        // SAFETY: the parser is initialized, and an event is once it has been parsed.
        let event = unsafe {
            if unsafe_libyaml::yaml_parser_parse(self.parser.as_mut_ptr(), event.as_mut_ptr()).fail {
                return None;
            }
            self.latest.insert(event.assume_init())
        };
        let (start, end) = (event.start_mark, event.end_mark);
        let mark = Mark { line: start.line + 1, column: start.column + 1, span: (start.index, end.index) };
        Some((told(event)?, mark))
    }

    fn drop_latest(&mut self) {
        if let Some(mut event) = self.latest.take() {
            // SAFETY: it was parsed, and is deleted once.
            unsafe { unsafe_libyaml::yaml_event_delete(&raw mut event) };
        }
    }
}

impl Drop for Events<'_> {
    fn drop(&mut self) {
        self.drop_latest();
        // SAFETY: it is initialized, and deleted once.
        unsafe { unsafe_libyaml::yaml_parser_delete(self.parser.as_mut_ptr()) };
    }
}

/// None if a text is not UTF-8, which libyaml does not return.
fn told(event: &unsafe_libyaml::yaml_event_t) -> Option<YamlEvent<'_>> {
    // SAFETY: the type says which part of the union there is, and that has been filled in. A text is as long as it
    // says.
    let (told, anchor, tag) = unsafe {
        match event.type_ {
            unsafe_libyaml::YAML_SCALAR_EVENT => {
                let scalar = &event.data.scalar;
                let bytes = std::slice::from_raw_parts(scalar.value, usize::try_from(scalar.length).ok()?);
                let text = std::str::from_utf8(bytes).ok()?;
                (YamlEvent::Scalar(Scalar { text, plain: scalar.plain_implicit }), scalar.anchor, scalar.tag)
            }
            unsafe_libyaml::YAML_SEQUENCE_START_EVENT => {
                let start = &event.data.sequence_start;
                (YamlEvent::SequenceStart, start.anchor, start.tag)
            }
            unsafe_libyaml::YAML_MAPPING_START_EVENT => {
                let start = &event.data.mapping_start;
                (YamlEvent::MappingStart, start.anchor, start.tag)
            }
            unsafe_libyaml::YAML_SEQUENCE_END_EVENT | unsafe_libyaml::YAML_MAPPING_END_EVENT => {
                (YamlEvent::End, ptr::null_mut(), ptr::null_mut())
            }
            unsafe_libyaml::YAML_STREAM_START_EVENT => (YamlEvent::StreamStart, ptr::null_mut(), ptr::null_mut()),
            unsafe_libyaml::YAML_STREAM_END_EVENT => (YamlEvent::StreamEnd, ptr::null_mut(), ptr::null_mut()),
            unsafe_libyaml::YAML_DOCUMENT_START_EVENT => (YamlEvent::DocumentStart, ptr::null_mut(), ptr::null_mut()),
            unsafe_libyaml::YAML_DOCUMENT_END_EVENT => (YamlEvent::DocumentEnd, ptr::null_mut(), ptr::null_mut()),
            _ => (YamlEvent::Special, ptr::null_mut(), ptr::null_mut()),
        }
    };
    Some(if anchor.is_null() && tag.is_null() { told } else { YamlEvent::Special })
}
