//! Path templates: `/users/{id}`, `/v{version:int}/{rest:path}`.

use std::cmp::Reverse;

use memchr::memchr;
use pylae_http::Span;

use crate::route::matching::literal::{self, MAX_SEGMENTS};

/// Kind of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ParamKind {
    /// ASCII digits.
    Int,
    /// Anything but `/`.
    Str,
}

impl ParamKind {
    /// Returns true if it matches `text`; never for an empty text.
    pub(crate) fn matches(self, text: &[u8]) -> bool {
        !text.is_empty() && (self == Self::Str || text.iter().all(u8::is_ascii_digit))
    }
}

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    /// Exactly this text.
    Literal(Box<[u8]>),
    /// One parameter, perhaps with text around it.
    Param {
        /// Text before the parameter.
        before: Box<[u8]>,
        /// Text after the parameter.
        after: Box<[u8]>,
        /// Kind of the parameter.
        kind: ParamKind,
    },
    /// The rest of the path, including slashes; possibly empty.
    Rest,
}

impl Segment {
    /// Returns the part of `text` that the parameter matches, if this segment is a parameter and matches.
    pub(crate) fn param(&self, text: &[u8]) -> Option<(usize, usize)> {
        let Self::Param { before, after, kind } = self else { return None };
        let inner = text.strip_prefix(&**before)?.strip_suffix(&**after)?;
        kind.matches(inner).then_some((before.len(), before.len() + inner.len()))
    }
}

/// Position of a segment in the order of preference: smaller is more specific.
type SegmentKey = (u8, Reverse<usize>, u8);

/// A parsed template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) segments: Box<[Segment]>,
    pub(crate) params: Box<[Box<str>]>,
}

impl Template {
    /// Parses `text`; the error says what is wrong and what to do.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('/').ok_or("a template starts with `/`")?;
        let count = inner.split('/').count();
        if count > MAX_SEGMENTS {
            return Err(format!("{count} segments, {MAX_SEGMENTS} are allowed"));
        }
        let (mut segments, mut params) = (Vec::with_capacity(count), Vec::new());
        for (i, part) in inner.split('/').enumerate() {
            let segment = parse_segment(part, &mut params)?;
            if segment == Segment::Rest && i + 1 != count {
                return Err(format!("`{part}` takes the rest of the path and must be the last segment"));
            }
            segments.push(segment);
        }
        let sample: String = segments.iter().map(sample).collect();
        literal::check(&sample)?;
        Ok(Self { segments: segments.into(), params: params.into() })
    }

    /// Returns the sort key of a template among those that match the same path.
    pub(crate) fn key(&self) -> Vec<SegmentKey> {
        let key = |segment: &Segment| match segment {
            Segment::Literal(_) => (0, Reverse(0), 0),
            Segment::Param { before, after, kind } => {
                let around = before.len() + after.len();
                (if around > 0 { 1 } else { 2 }, Reverse(around), *kind as u8)
            }
            Segment::Rest => (3, Reverse(0), 0),
        };
        self.segments.iter().map(key).collect()
    }

    /// Returns the common start of all matching paths.
    pub(crate) fn start(&self) -> Vec<u8> {
        let mut start = Vec::new();
        for segment in &self.segments {
            start.push(b'/');
            match segment {
                Segment::Literal(text) => start.extend_from_slice(text),
                Segment::Param { before, .. } => {
                    start.extend_from_slice(before);
                    break;
                }
                Segment::Rest => break,
            }
        }
        start
    }

    /// Returns a matching path.
    pub(crate) fn sample(&self) -> String {
        self.segments.iter().map(sample).collect()
    }

    /// Returns true if the prefix contains all matching paths, as far as the literal segments tell.
    pub(crate) fn starts_with(&self, prefix: &[u8]) -> bool {
        let slash = prefix.ends_with(b"/");
        let inner = prefix[1..].strip_suffix(b"/").unwrap_or(&prefix[1..]);
        let mut own = self.segments.iter();
        for text in inner.split(|b| *b == b'/').filter(|text| !text.is_empty()) {
            match own.next() {
                Some(Segment::Literal(literal)) if **literal == *text => {}
                _ => return false,
            }
        }
        // After a prefix that ends in `/` there must be a `/`, and a segment follows every `/`.
        !slash || own.next().is_some()
    }

    /// Returns true if it matches `path`; then adds one span per parameter to `out`.
    pub(crate) fn find(&self, path: &[u8], out: &mut Vec<Span>) -> bool {
        let mut at = 0;
        for segment in &self.segments {
            if path.get(at) != Some(&b'/') {
                return false;
            }
            at += 1;
            let text = &path[at..];
            let text = &text[..memchr(b'/', text).unwrap_or(text.len())];
            match segment {
                Segment::Literal(literal) if **literal == *text => {}
                Segment::Literal(_) => return false,
                Segment::Rest => {
                    out.push(Span::new(at, path.len()));
                    return true;
                }
                Segment::Param { .. } => match segment.param(text) {
                    Some((from, to)) => out.push(Span::new(at + from, at + to)),
                    None => return false,
                },
            }
            at += text.len();
        }
        at == path.len()
    }
}

fn sample(segment: &Segment) -> String {
    match segment {
        Segment::Literal(text) => format!("/{}", String::from_utf8_lossy(text)),
        Segment::Param { before, after, kind } => {
            let inner = if *kind == ParamKind::Int { "0" } else { "x" };
            format!("/{}{inner}{}", String::from_utf8_lossy(before), String::from_utf8_lossy(after))
        }
        Segment::Rest => "/".into(),
    }
}

fn parse_segment(text: &str, params: &mut Vec<Box<str>>) -> Result<Segment, String> {
    let Some((before, tail)) = text.split_once('{') else {
        if text.contains('}') {
            return Err(format!("`}}` without `{{` in `{text}`"));
        }
        return Ok(Segment::Literal(text.as_bytes().into()));
    };
    let (inner, after) = tail.split_once('}').ok_or_else(|| format!("`{{` without `}}` in `{text}`"))?;
    if before.contains('}') || inner.contains('{') || after.contains(['{', '}']) {
        return Err(format!("`{text}` has more than one parameter; a segment may have one, use a pattern for more"));
    }
    let (name, converter) = inner.split_once(':').unwrap_or((inner, "str"));
    if name.is_empty() {
        return Err(format!("the parameter in `{text}` has no name; write `{{name}}`"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.as_bytes()[0].is_ascii_digit() {
        return Err(format!("`{name}` is not a name: letters, digits and `_`, no digit first"));
    }
    if params.iter().any(|p| &**p == name) {
        return Err(format!("the parameter `{name}` appears twice; give each its own name"));
    }
    params.push(name.into());
    let kind = match converter {
        "int" => ParamKind::Int,
        "str" => ParamKind::Str,
        "path" if before.is_empty() && after.is_empty() => return Ok(Segment::Rest),
        "path" => return Err(format!("`{text}`: a `path` parameter is a whole segment")),
        _ => return Err(format!("unknown converter `{converter}` in `{text}`; there are `int`, `str` and `path`")),
    };
    Ok(Segment::Param { before: before.as_bytes().into(), after: after.as_bytes().into(), kind })
}
