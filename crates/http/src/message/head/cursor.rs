//! Incremental parsing of heads, and parsing of field lines.

use super::error::HeadError;
use crate::class::{self, TOKEN};
use crate::{Field, Fields, Name, Span};

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Start,
    Method,
    Target,
    Version,
    Reason,
    Fields,
}

/// Position at which parsing stopped for lack of bytes. No byte is read twice, however small the pieces are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    pub(super) stage: Stage,
    /// Start of the current element, or of the current line once the fields are reached.
    pub(super) line: usize,
    /// The next byte to read.
    pub(super) at: usize,
    /// The name of the current line, once its colon was found.
    name: Option<Field>,
}

impl Cursor {
    #[inline]
    pub(super) fn enter(&mut self, stage: Stage, at: usize) {
        self.stage = stage;
        self.line = at;
        self.at = at;
    }

    /// Parses field lines up to the blank line. Returns the position after it once it has arrived.
    pub(crate) fn fields(&mut self, fields: &mut Fields, view: &[u8], most: usize) -> Result<Option<usize>, HeadError> {
        loop {
            if self.name.is_none() {
                if self.at == self.line {
                    while fields.len() < most
                        && let Some((field, end)) = complete_line(view, self.line)
                    {
                        fields.add(field);
                        self.line = end;
                        self.at = end;
                    }
                    match view.get(self.at) {
                        None => return Ok(None),
                        Some(b'\r') => {
                            let Some(&next) = view.get(self.at + 1) else { return Ok(None) };
                            if next != b'\n' {
                                return Err(HeadError::Syntax("CR without LF"));
                            }
                            fields.set_lines_end(self.at);
                            return Ok(Some(self.at + 2));
                        }
                        Some(_) if fields.len() >= most => return Err(HeadError::TooLarge),
                        Some(_) => {}
                    }
                }
                if !self.field_name(view)? {
                    return Ok(None);
                }
            }
            let Some(end) = self.line_end(view)? else { return Ok(None) };
            let Some(mut field) = self.name.take() else { return Ok(None) };
            field.value = trimmed(view, field.name.end() + 1, end);
            fields.add(field);
            self.line = end + 2;
            self.at = self.line;
        }
    }

    /// Continues in a name. Returns true once its colon was consumed.
    #[inline]
    fn field_name(&mut self, view: &[u8]) -> Result<bool, HeadError> {
        let at = self.at + view[self.at..].iter().take_while(|&&byte| class::is(byte, TOKEN)).count();
        self.at = at;
        match view.get(at) {
            None => return Ok(false),
            Some(b':') if at > self.line => {}
            Some(&byte) => return Err(HeadError::Syntax(bad_name(byte, at == self.line))),
        }
        let (id, underscore) = Name::recognise(view, self.line, at);
        self.name = Some(Field { name: Span::new(self.line, at), value: Span::default(), id, underscore });
        self.at = at + 1;
        Ok(true)
    }

    /// Continues in text up to `CR LF`. Returns the position of the CR once both have arrived.
    #[inline]
    pub(super) fn line_end(&mut self, view: &[u8]) -> Result<Option<usize>, HeadError> {
        loop {
            self.at = class::control_from(view, self.at);
            match view.get(self.at) {
                None => return Ok(None),
                Some(b'\t') => self.at += 1,
                Some(b'\r') => match view.get(self.at + 1) {
                    None => return Ok(None),
                    Some(b'\n') => return Ok(Some(self.at)),
                    Some(_) => return Err(HeadError::Syntax("CR without LF")),
                },
                Some(b'\n') => return Err(HeadError::Syntax("LF without CR")),
                Some(_) => return Err(HeadError::Syntax("control character in a line")),
            }
        }
    }
}

/// Fast path: parses a field line that is complete and valid, and returns where it ends. Anything else is left to
/// `Cursor`, which can stop in between and knows the errors. At the blank line there is none.
#[inline]
pub(crate) fn complete_line(view: &[u8], start: usize) -> Option<(Field, usize)> {
    // At the blank line: what follows is body, and must not be searched for a colon.
    if view.get(start) == Some(&b'\r') {
        return None;
    }
    let colon = class::colon_from(view, start);
    if colon == view.len() {
        return None;
    }
    let (id, underscore) = Name::recognise(view, start, colon);
    if id == Name::Other && !class::is_token(&view[start..colon]) {
        return None;
    }
    let mut at = colon + 1;
    loop {
        at = class::control_from(view, at);
        match view.get(at..) {
            Some([b'\r', b'\n', ..]) => break,
            Some([b'\t', ..]) => at += 1,
            _ => return None,
        }
    }
    let field = Field { name: Span::new(start, colon), value: trimmed(view, colon + 1, at), id, underscore };
    Some((field, at + 2))
}

fn bad_name(byte: u8, first: bool) -> &'static str {
    match byte {
        b' ' | b'\t' if first => "folded field line",
        b' ' | b'\t' => "white space in a field name",
        b':' => "empty field name",
        b'\r' | b'\n' => "field line without a colon",
        _ => "invalid byte in a field name",
    }
}

#[inline]
fn trimmed(view: &[u8], mut start: usize, mut end: usize) -> Span {
    while start < end && matches!(view[start], b' ' | b'\t') {
        start += 1;
    }
    while end > start && matches!(view[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    Span::new(start, end)
}
