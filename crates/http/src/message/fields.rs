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
    /// The known name that this spells.
    pub id: Name,
    /// The name was spelt with `_` where the known name has `-`: such a line never counts as that field, and
    /// where the known name is one that the gateway owns or that frames the message, it is never forwarded.
    pub underscore: bool,
}

/// Names whose spelling with `_` an instance could take for the gateway's own field or for its credentials.
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
    Name::XRealIp,
    Name::XRequestId,
    Name::XUserEmail,
    Name::XUserId,
    Name::XUserRole,
]);

/// The fields of a head, in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    seen: NameSet,
    /// Where the last line ends, if all lines lie one behind another in the buffer as they were sent; otherwise 0.
    lines_end: usize,
}
impl Fields {
    /// All lines in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }
    /// Number of lines.
    pub fn len(&self) -> usize {
        self.list.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    /// Whether a line of this known name (spelt with `-`) is present: one bit test.
    pub fn has(&self, name: Name) -> bool {
        self.seen.has(name)
    }
    /// Whether a line of any of these known names (spelt with `-`) is present: one test.
    #[inline]
    pub fn has_any(&self, names: NameSet) -> bool {
        self.seen.intersects(names)
    }
    /// The first value of a known name.
    pub fn get<'b>(&self, buf: &'b [u8], name: Name) -> Option<&'b [u8]> {
        if !self.has(name) {
            return None;
        }
        self.named(name).next().map(|field| field.value.of(buf))
    }
    /// How many lines have this known name.
    pub fn count(&self, name: Name) -> usize {
        if self.has(name) { self.named(name).count() } else { 0 }
    }
    /// All values of the field called `name` (any name, case ignored), in order.
    pub fn values<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let id = Name::classify(name.as_bytes());
        self.list
            .iter()
            .filter(move |field| field.id == id && field.name.of(buf).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value.of(buf))
    }
    /// Names of lines, known names apart, that begin with `prefix`; case is ignored, and `_` taken for `-`.
    pub fn unknown_with_prefix<'a>(&'a self, buf: &'a [u8], prefix: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let others = self.list.iter().filter(|field| field.id == Name::Other);
        others.map(|field| field.name.of(buf)).filter(|name| name::starts_with(name, prefix))
    }
    /// Adds a line. For heads that do not come from an HTTP/1 buffer. The caller has checked that the name is a token and
    /// the value holds no control characters.
    pub fn push(&mut self, field: Field) {
        self.add(field);
        self.lines_end = 0;
    }
    /// Makes these the lines of `other`, in memory that is used again. They must be read with the same bytes as those.
    pub fn copy_from(&mut self, other: &Self) {
        self.list.clear();
        self.list.extend_from_slice(&other.list);
        self.seen = other.seen;
        self.lines_end = other.lines_end;
    }
    /// Forgets all lines and keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
        self.seen = NameSet::EMPTY;
        self.lines_end = 0;
    }
    /// The lines of a known name, spelt with `-`.
    pub(crate) fn named(&self, name: Name) -> impl Iterator<Item = &Field> {
        self.list.iter().filter(move |field| field.id == name && !field.underscore)
    }
    /// Where the raw line after the one at `index` starts, or the last line ends; 0 if raw lines are not to be had.
    #[inline]
    pub(crate) fn raw_end(&self, index: usize) -> usize {
        if self.lines_end == 0 {
            return 0;
        }
        self.list.get(index + 1).map_or(self.lines_end, |next| next.name.start as usize)
    }
    /// Says that all lines lie one behind another in the buffer as they were sent, and where they end.
    pub(crate) fn set_lines_end(&mut self, lines_end: usize) {
        self.lines_end = lines_end;
    }
    /// `push` for a line behind the last one in the same buffer.
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
