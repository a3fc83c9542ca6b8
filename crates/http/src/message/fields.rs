//! The field lines of a message, as positions in the buffer they were read into.

use crate::message::name;
use crate::{Name, NameSet, Span};

/// One field line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The name as sent.
    pub name: Span,
    /// The value without surrounding white space.
    pub value: Span,
    /// The known name that it spells.
    pub id: Name,
    /// True if the name was spelt with `_` where the known name has `-`. Such a line never counts as that field, and is
    /// never forwarded if the known name belongs to the gateway or to the framing.
    pub underscore: bool,
}

/// Names whose spelling with `_` an instance could take for the gateway's own field or for credentials.
pub(crate) const NEVER_WITH_UNDERSCORE: NameSet = NameSet::of(&[
    Name::ContentEncoding,
    Name::ContentType,
    Name::SetCookie,
    Name::XApiKey,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedPrefix,
    Name::XForwardedProto,
    Name::XPylaeTrace,
    Name::XRealIp,
    Name::XRequestId,
    Name::XUserEmail,
    Name::XUserId,
    Name::XUserRole,
]);

/// The fields of a head, in the order received.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    seen: NameSet,
    /// End of the last line if all lines are contiguous in the buffer as sent; otherwise 0.
    lines_end: usize,
}

impl Fields {
    /// Returns all lines in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    /// Returns the number of lines.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns true if there are no lines.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns true if a line of this known name (spelt with `-`) is present: one bit test.
    pub fn has(&self, name: Name) -> bool {
        self.seen.has(name)
    }

    /// Returns true if a line of any of these known names (spelt with `-`) is present: one test.
    #[inline]
    pub fn has_any(&self, names: NameSet) -> bool {
        self.seen.intersects(names)
    }

    /// Returns the first value of a known name.
    pub fn get<'b>(&self, buf: &'b [u8], name: Name) -> Option<&'b [u8]> {
        if !self.has(name) {
            return None;
        }
        self.named(name).next().map(|field| field.value.of(buf))
    }

    /// Returns the number of lines with this known name.
    pub fn count(&self, name: Name) -> usize {
        if self.has(name) { self.named(name).count() } else { 0 }
    }

    /// Returns all values of the field called `name` (any name, case ignored), in order.
    pub fn values<'a>(&'a self, buf: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
        let id = Name::classify(name.as_bytes());
        self.list
            .iter()
            .filter(move |field| field.id == id && field.name.of(buf).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value.of(buf))
    }

    /// Returns the unknown names that begin with `prefix`, ignoring case and treating `_` as `-`.
    pub fn unknown_with_prefix<'a>(&'a self, buf: &'a [u8], prefix: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let others = self.list.iter().filter(|field| field.id == Name::Other);
        others.map(|field| field.name.of(buf)).filter(|name| name::starts_with(name, prefix))
    }

    /// Removes all lines whose names are among `names`, ignoring case and treating `_` as `-`.
    pub fn remove(&mut self, buf: &[u8], names: &[Box<str>]) {
        let goes = |field: &Field| names.iter().any(|name| name::equal(field.name.of(buf), name.as_bytes()));
        if !self.list.iter().any(goes) {
            return;
        }
        self.list.retain(|field| !goes(field));
        self.lines_end = 0;
        self.seen = NameSet::EMPTY;
        for field in self.list.iter().filter(|field| !field.underscore) {
            self.seen.add(field.id);
        }
    }

    /// Removes all lines of a known name, however it is spelt.
    pub fn remove_known(&mut self, name: Name) {
        self.list.retain(|field| field.id != name);
        self.lines_end = 0;
        self.seen = NameSet::EMPTY;
        for field in self.list.iter().filter(|field| !field.underscore) {
            self.seen.add(field.id);
        }
    }

    /// Adds a line to a head that does not come from an HTTP/1 buffer. The caller must have checked that the name is a
    /// token and that the value has no control characters.
    pub fn push(&mut self, field: Field) {
        self.add(field);
        self.lines_end = 0;
    }

    /// Copies the lines of `other` and reuses the memory. They refer to the same bytes as those of `other`.
    pub fn copy_from(&mut self, other: &Self) {
        self.list.clear();
        self.list.extend_from_slice(&other.list);
        self.seen = other.seen;
        self.lines_end = other.lines_end;
    }

    /// Removes all lines and keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
        self.seen = NameSet::EMPTY;
        self.lines_end = 0;
    }

    /// Returns the lines of a known name, spelt with `-`.
    pub(crate) fn named(&self, name: Name) -> impl Iterator<Item = &Field> {
        self.list.iter().filter(move |field| field.id == name && !field.underscore)
    }

    /// Returns where the raw line at `index` ends, or 0 if the lines are not contiguous.
    #[inline]
    pub(crate) fn raw_end(&self, index: usize) -> usize {
        if self.lines_end == 0 {
            return 0;
        }
        self.list.get(index + 1).map_or(self.lines_end, |next| next.name.start as usize)
    }

    /// Records that all lines are contiguous in the buffer as sent, and where they end.
    pub(crate) fn set_lines_end(&mut self, lines_end: usize) {
        self.lines_end = lines_end;
    }

    /// Like `push`, for a line right after the last one in the same buffer.
    #[inline]
    pub(crate) fn add(&mut self, field: Field) {
        if !field.underscore {
            self.seen.add(field.id);
        }
        self.list.push(field);
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
