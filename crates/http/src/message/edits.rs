//! Changes to the fields of a head, collected while policies run and applied when the head is written.

use crate::message::name;
use crate::{Name, NameSet, Span, class};

/// An invalid field name or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHeader(pub &'static str);

/// A list of edits in one arena; once warm, it allocates nothing per field.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    arena: Vec<u8>,
    added: Vec<(Name, Span, Span)>,
    removed: NameSet,
    removed_other: Vec<Span>,
}

/// Names that only the encoder and the proxy may write.
const REFUSED: NameSet = NameSet::of(&[
    Name::Connection,
    Name::ContentLength,
    Name::Expect,
    Name::Host,
    Name::Http2Settings,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::Te,
    Name::Trailer,
    Name::TransferEncoding,
    Name::Upgrade,
]);

impl Edits {
    /// Removes all edits and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.added.clear();
        self.removed = NameSet::EMPTY;
        self.removed_other.clear();
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed == NameSet::EMPTY && self.removed_other.is_empty()
    }

    /// Replaces every line of `name`, received or added, by this one. Together with `append` this is the only way for a
    /// header to get into a message: both validate names and values. Framing and hop-by-hop names are refused, because
    /// only the encoder writes them. A known name is written in its usual spelling.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        let id = name_of(name)?;
        check(id, value)?;
        self.forget(id, name);
        self.add(id, name, value);
        Ok(())
    }

    /// Like `set`, for a known name, which needs no check.
    pub fn set_known(&mut self, name: Name, value: &[u8]) -> Result<(), InvalidHeader> {
        if name == Name::Other {
            return Err(InvalidHeader("header name is not a known one"));
        }
        check(name, value)?;
        self.forget(name, b"");
        self.add(name, b"", value);
        Ok(())
    }

    /// Adds a line.
    pub fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        let id = name_of(name)?;
        check(id, value)?;
        self.add(id, name, value);
        Ok(())
    }

    /// Removes every line of `name`, received or added.
    pub fn remove(&mut self, name: &[u8]) {
        self.forget(Name::classify(name), name);
    }

    /// Like `remove`, for a known name.
    pub fn remove_known(&mut self, name: Name) {
        self.forget(name, b"");
    }

    /// Returns true if a received line must be dropped.
    pub fn removes(&self, id: Name, name: &[u8]) -> bool {
        if id == Name::Other { self.removes_other(name) } else { self.removed.has(id) }
    }

    /// Returns the added lines, in order.
    pub fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.added_except(NameSet::EMPTY)
    }

    /// Returns the added lines but for those of these names.
    pub(crate) fn added_except(&self, names: NameSet) -> impl Iterator<Item = (&[u8], &[u8])> {
        let added = self.added.iter().filter(move |line| !names.has(line.0));
        added.map(|&(id, name, value)| (self.spelling(id, name), value.of(&self.arena)))
    }

    /// Returns the last value that an edit gives to `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let id = Name::classify(name);
        let line = self.added.iter().rev().find(|line| self.is(line, id, name))?;
        Some(line.2.of(&self.arena))
    }

    /// Returns every name of which received lines are removed.
    pub fn removed_names(&self) -> impl Iterator<Item = &[u8]> {
        let known = self.removed.names().map(|name| name.as_str().as_bytes());
        known.chain(self.removed_other.iter().map(|span| span.of(&self.arena)))
    }

    /// Returns the known names that are removed.
    pub(crate) fn removed(&self) -> NameSet {
        self.removed
    }

    /// Returns true if unknown names are removed.
    pub(crate) fn removes_others(&self) -> bool {
        !self.removed_other.is_empty()
    }

    fn removes_other(&self, name: &[u8]) -> bool {
        self.removed_other.iter().any(|span| name::equal(span.of(&self.arena), name))
    }

    fn spelling(&self, id: Name, name: Span) -> &[u8] {
        if id == Name::Other { name.of(&self.arena) } else { id.as_str().as_bytes() }
    }

    fn is(&self, line: &(Name, Span, Span), id: Name, name: &[u8]) -> bool {
        line.0 == id && (id != Name::Other || name::equal(line.1.of(&self.arena), name))
    }

    fn forget(&mut self, id: Name, name: &[u8]) {
        if self.added.iter().any(|line| self.is(line, id, name)) {
            let mut added = std::mem::take(&mut self.added);
            added.retain(|line| !self.is(line, id, name));
            self.added = added;
        }
        if id != Name::Other {
            self.removed.add(id);
        } else if !name.is_empty() && !self.removes_other(name) {
            let span = self.store(name);
            self.removed_other.push(span);
        }
    }

    fn add(&mut self, id: Name, name: &[u8], value: &[u8]) {
        let name = if id == Name::Other { self.store(name) } else { Span::default() };
        let value = self.store(value);
        self.added.push((id, name, value));
    }

    fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span::new(start, self.arena.len())
    }
}

fn name_of(name: &[u8]) -> Result<Name, InvalidHeader> {
    if class::is_token(name) { Ok(Name::classify(name)) } else { Err(InvalidHeader("header name is not a token")) }
}

fn check(id: Name, value: &[u8]) -> Result<(), InvalidHeader> {
    if REFUSED.has(id) {
        return Err(InvalidHeader("header belongs to the connection or frames the message"));
    }
    if class::is_value(value) { Ok(()) } else { Err(InvalidHeader("control character in a header value")) }
}

#[cfg(test)]
mod tests;
