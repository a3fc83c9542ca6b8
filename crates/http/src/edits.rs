//! Changes to the fields of a head, collected while policies run and applied when the head is written.

use crate::{Name, NameSet, Span};

/// A field name that is not a token, or a value with a byte that may not stand in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHeader(pub &'static str);

/// A list of edits. One arena, no allocation per field once warm.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    arena: Vec<u8>,
    added: Vec<(Name, Span, Span)>,
    removed: NameSet,
    removed_other: Vec<Span>,
}
impl Edits {
    /// Forgets all edits and keeps the memory.
    pub fn clear(&mut self) {
        todo!()
    }
    /// Replaces every line of `name`, whether it came with the head or by an edit, by this one. The one function, with
    /// `append`, through which a header gets into a message: names and values are validated here.
    /// Framing and hop-by-hop names are refused: the encoder owns them.
    pub fn set(&mut self, _name: &[u8], _value: &[u8]) -> Result<(), InvalidHeader> {
        todo!()
    }
    /// `set` for a known name: skips the name check.
    pub fn set_known(&mut self, _name: Name, _value: &[u8]) -> Result<(), InvalidHeader> {
        todo!()
    }
    /// Adds a line.
    pub fn append(&mut self, _name: &[u8], _value: &[u8]) -> Result<(), InvalidHeader> {
        todo!()
    }
    /// Removes every line of `name`, whether it came with the head or by an edit.
    pub fn remove(&mut self, _name: &[u8]) {
        todo!()
    }
    /// `remove` for a known name.
    pub fn remove_known(&mut self, _name: Name) {
        todo!()
    }
    /// Whether a line that came with the head is to be left out.
    pub fn removes(&self, _id: Name, _name: &[u8]) -> bool {
        todo!()
    }
    /// The lines that were added, in order.
    pub fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }
    /// The last value that an edit gives to `name`, if one does.
    pub fn get(&self, _name: &[u8]) -> Option<&[u8]> {
        todo!()
    }
}
