//! Request targets, made canonical once: policies, routing, cache key and instances all see the same path (RFC 9112
//! section 3.2).
//!
//! Only the parameters of segments (`/admin;x/y`, RFC 3986 section 3.3) are an exception: some services drop them
//! before they look up the path. So decisions about a request use the path without them, as such a service reads it,
//! while the path that is stored and forwarded has them. `%3B` is data: those services look for `;` before they decode.
//!
//! Some services treat `%2F` as data within a segment, others decode it to `/` before they look up the path. So `%2F`
//! is refused unless the caller keeps it and checks both readings, and even then only accepted if the other reading is
//! canonical too.

use crate::class::{self, PATH, PLAIN, QUERY, TARGET, UNRESERVED};
use crate::message::host;
use crate::{Method, Span};

/// Form of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `*`, only with OPTIONS
    Asterisk,
}

/// A canonical target. Reused from one request to the next.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The canonical path, always starting with `/` (`*` in asterisk form): only unreserved characters decoded, hex in
    /// upper case, dot segments removed, `//` merged. Segments keep their parameters.
    pub path: Vec<u8>,
    /// The path without parameters; empty if there are none.
    bare: Vec<u8>,
    /// True if the path has `%2F`.
    slashes: bool,
    /// The query as sent, without `?`, as a span of the raw target.
    pub query: Option<Span>,
    /// The authority of an absolute-form target, as a span of the raw target.
    pub authority: Option<Span>,
    /// The form.
    pub form: Form,
}

/// Why a target was refused: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetError(pub &'static str);

/// A path with `%2F` was refused.
pub const ENCODED_SLASH: TargetError =
    TargetError("encoded slash in the path; `encoded_slash: keep` on a route lets it pass");
/// A `%2F` next to something that ends or removes a segment.
pub const ODD_SLASH: TargetError = TargetError("encoded slash beside a slash, a dot segment or a parameter");

impl Target {
    /// Clears everything and keeps the memory.
    pub fn clear(&mut self) {
        self.path.clear();
        self.bare.clear();
        self.slashes = false;
        self.query = None;
        self.authority = None;
        self.form = Form::Origin;
    }

    /// Returns the path without parameters of segments: routing and policies use this one.
    #[inline]
    pub fn routing_path(&self) -> &[u8] {
        if self.bare.is_empty() { &self.path } else { &self.bare }
    }

    /// Returns true if segments of the path have parameters.
    #[inline]
    pub fn has_parameters(&self) -> bool {
        !self.bare.is_empty()
    }

    /// Returns true if the path has `%2F`, which only [`Target::read_with_slashes`] allows.
    #[inline]
    pub fn has_slashes(&self) -> bool {
        self.slashes
    }

    /// Returns the routing path as services read it that decode `%2F` to `/`.
    pub fn routing_path_with_slashes_decoded(&self) -> Vec<u8> {
        let mut decoded = Vec::with_capacity(self.routing_path().len());
        for (index, part) in parts(self.routing_path()).enumerate() {
            decoded.extend_from_slice(if index > 0 { b"/" } else { b"" });
            decoded.extend_from_slice(part);
        }
        decoded
    }

    /// Returns the part of `path`, with parameters, that corresponds to the routing path from `start` on. `start` is at
    /// a `/` of the routing path, right after one, or at its end.
    pub fn end_from(&self, start: usize) -> &[u8] {
        if self.bare.is_empty() {
            return self.path.get(start..).unwrap_or_default();
        }
        // Both have the same number of slashes before that position.
        let slash = |byte: &u8| *byte == b'/';
        let before = self.bare.iter().take(start).filter(|byte| slash(byte)).count();
        let mut slashes = self.path.iter().enumerate().filter(|(_, byte)| slash(byte)).map(|(at, _)| at);
        let from = if self.bare.get(start).is_some_and(slash) {
            slashes.nth(before)
        } else if before > 0 && self.bare.get(start - 1).is_some_and(slash) {
            slashes.nth(before - 1).map(|at| at + 1)
        } else {
            None
        };
        from.map_or(&[], |from| &self.path[from..])
    }

    /// Parses the raw target of a request into `self`, which is cleared first.
    ///
    /// Refused: `%2F`, `%5C`, `%00`, `\`, `#`, control characters and bytes above 0x7E as sent, broken
    /// percent-encoding, percent-encoded bytes that are not UTF-8, `..;` segments, segments before the last that
    /// consist only of parameters, dot segments that leave the root, authority form, asterisk with any method but
    /// OPTIONS. Bytes that a URI must not contain but clients send (`"`, `<`, `>`, `^`, `` ` ``, `{`, `|`, `}`) are
    /// percent-encoded.
    pub fn read(&mut self, raw: &[u8], method: Method) -> Result<(), TargetError> {
        self.read_with_slashes(raw, method)?;
        if self.slashes { Err(ENCODED_SLASH) } else { Ok(()) }
    }

    /// Like [`Target::read`], but keeps `%2F` as data within its segment, unless it is next to a `/`, a dot segment or
    /// a parameter. For callers that check [`Target::has_slashes`] before they use the path.
    pub fn read_with_slashes(&mut self, raw: &[u8], method: Method) -> Result<(), TargetError> {
        self.clear();
        if raw.first() == Some(&b'/') {
            return self.path_and_query(raw, 0);
        }
        if raw == b"*" {
            if method != Method::Options {
                return Err(TargetError("asterisk form is for OPTIONS only"));
            }
            self.form = Form::Asterisk;
            self.path.push(b'*');
            return Ok(());
        }
        let start = after_scheme(raw).ok_or(TargetError("neither a path nor an http or https URI"))?;
        let rest = &raw[start..];
        let len = rest.iter().position(|byte| b"/?#\\".contains(byte)).unwrap_or(rest.len());
        host::read(&rest[..len]).map_err(|error| TargetError(error.0))?;
        self.form = Form::Absolute;
        self.authority = Some(Span::new(start, start + len));
        self.path_and_query(raw, start + len)
    }

    fn path_and_query(&mut self, raw: &[u8], start: usize) -> Result<(), TargetError> {
        let plain = plain_end(raw, start);
        let mut end = plain;
        if plain == raw.len() || raw[plain] == b'?' {
            self.path.extend_from_slice(&raw[start..plain]);
        } else {
            end += raw[plain..].iter().position(|&byte| byte == b'?').unwrap_or(raw.len() - plain);
            self.segments(&raw[start..end])?;
            self.drop_parameters()?;
        }
        if self.path.is_empty() {
            self.path.push(b'/');
        }
        if end < raw.len() {
            let query = Span::new(end + 1, raw.len());
            if !class::all(query.of(raw), QUERY) {
                return Err(TargetError("invalid byte in the query"));
            }
            self.query = Some(query);
        }
        Ok(())
    }

    /// Writes a path segment by segment: between two of them `self.path` ends with `/`.
    fn segments(&mut self, path: &[u8]) -> Result<(), TargetError> {
        self.path.push(b'/');
        let mut segments = path.strip_prefix(b"/").unwrap_or(path).split(|&byte| byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            let start = self.path.len();
            self.segment(segment)?;
            if self.slashes && is_odd(&self.path[start..], segments.peek().is_none()) {
                return Err(ODD_SLASH);
            }
            match &self.path[start..] {
                [] => {}
                b"." => self.path.truncate(start),
                b".." => {
                    let parent = self.path[..start - 1].iter().rposition(|&byte| byte == b'/');
                    let parent = parent.ok_or(TargetError("path leaves the root"))?;
                    if self.slashes && parts(&self.path[parent..]).nth(1).is_some() {
                        return Err(ODD_SLASH);
                    }
                    self.path.truncate(parent + 1);
                }
                written if has_dot_parameter(written) => return Err(TargetError("dot segment with a parameter")),
                _ if segments.peek().is_some() => self.path.push(b'/'),
                _ => {}
            }
        }
        Ok(())
    }

    /// Fills `bare` if `path` has parameters.
    fn drop_parameters(&mut self) -> Result<(), TargetError> {
        if !self.path.contains(&b';') {
            return Ok(());
        }
        let mut segments = self.path.split(|&byte| byte == b'/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
            // Without its parameters it is empty, and services disagree on whether that is a segment.
            if name.is_empty() && segments.peek().is_some() {
                return Err(TargetError("a segment of parameters alone"));
            }
            self.bare.push(b'/');
            self.bare.extend_from_slice(name);
        }
        Ok(())
    }

    fn segment(&mut self, segment: &[u8]) -> Result<(), TargetError> {
        let mut rest = segment;
        while let Some((&byte, after)) = rest.split_first() {
            if class::is(byte, PATH) {
                self.path.push(byte);
                rest = after;
            } else if byte == b'%' {
                rest = self.escape(rest)?;
            } else if byte == b'\\' || byte == b'#' || !class::is(byte, TARGET) {
                return Err(TargetError("invalid byte in the path"));
            } else {
                self.push_escaped(byte);
                rest = after;
            }
        }
        Ok(())
    }

    /// Decodes a percent-encoded character at the start of `bytes` and returns what follows it.
    fn escape<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], TargetError> {
        let (first, mut rest) = unescape(bytes)?;
        if matches!(first, b'\\' | 0) {
            return Err(TargetError("encoded backslash or NUL in the path"));
        }
        if first == b'/' {
            self.slashes = true;
        }
        if class::is(first, UNRESERVED) {
            self.path.push(first);
            return Ok(rest);
        }
        let len = match first {
            0..=0x7F => 1,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return Err(TargetError("path is not UTF-8")),
        };
        let mut character = [first, 0, 0, 0];
        for byte in &mut character[1..len] {
            (*byte, rest) = unescape(rest).map_err(|_| TargetError("path is not UTF-8"))?;
        }
        if std::str::from_utf8(&character[..len]).is_err() {
            return Err(TargetError("path is not UTF-8"));
        }
        for &byte in &character[..len] {
            self.push_escaped(byte);
        }
        Ok(rest)
    }

    fn push_escaped(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        self.path.extend_from_slice(&[b'%', HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]);
    }
}

/// Returns how far a path is canonical without changes and has no parameters: its end, or the position of a byte or
/// segment that `segments` must process.
#[inline]
fn plain_end(raw: &[u8], start: usize) -> usize {
    let mut last = 0;
    for (at, &byte) in raw.iter().enumerate().skip(start) {
        if !class::is(byte, PLAIN) || (last == b'/' && (byte == b'/' || byte == b'.')) {
            return at;
        }
        last = byte;
    }
    raw.len()
}

/// Returns true if `path`, in which `%2F` is kept, is not canonical once that is decoded to `/`. A path made by cutting
/// parts out of a canonical one need not be canonical.
pub fn has_odd_slashes(path: &[u8]) -> bool {
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        if is_odd(segment, segments.peek().is_none()) {
            return true;
        }
    }
    false
}

/// Returns true if decoding the `%2F` of a segment would make an empty segment, a dot segment, or one with parameters
/// before others.
fn is_odd(segment: &[u8], is_last: bool) -> bool {
    let mut parts = parts(segment).peekable();
    let mut first = true;
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        if first && last {
            return false;
        }
        first = false;
        let empty = part.is_empty() && !(last && is_last);
        let dots = matches!(part, b"." | b"..") || has_dot_parameter(part);
        if empty || dots || part.first() == Some(&b';') || (!last && part.contains(&b';')) {
            return true;
        }
    }
    false
}

/// Splits a path at `%2F`. In a canonical path it occurs only where it was written.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    const ESCAPE: &[u8] = b"%2F";
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let text = rest?;
        let (part, tail) = match text.windows(ESCAPE.len()).position(|letters| letters == ESCAPE) {
            Some(at) => (&text[..at], Some(&text[at + ESCAPE.len()..])),
            None => (text, None),
        };
        rest = tail;
        Some(part)
    })
}

/// `..;x` and `.;x`: instances that strip parameters would read a dot segment.
fn has_dot_parameter(segment: &[u8]) -> bool {
    let Some(rest) = segment.strip_prefix(b".") else { return false };
    let rest = rest.strip_prefix(b".").unwrap_or(rest);
    rest.starts_with(b";") || rest.starts_with(b"%3B")
}

fn after_scheme(raw: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| raw.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(<[u8]>::len)
}

fn unescape(bytes: &[u8]) -> Result<(u8, &[u8]), TargetError> {
    let [b'%', high, low, rest @ ..] = bytes else { return Err(TargetError("broken percent-encoding")) };
    let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(TargetError("broken percent-encoding"));
    Ok(((digit(*high)? << 4 | digit(*low)?) as u8, rest))
}

#[cfg(test)]
mod tests;
