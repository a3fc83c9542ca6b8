//! What an entry of the stream says.

use std::str::FromStr;

use super::revocation::Revocation;
use super::stream::{StreamEntry, StreamHead, StreamId};
use crate::cache::Purge;

/// A change of which every node's response cache must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheChange {
    /// Somebody has purged.
    Purge(Purge),
    /// A request with an unsafe method has changed whatever is stored for this path.
    Changed {
        /// The host, as in the key of an entry.
        host: Box<[u8]>,
        /// The path.
        path: Box<[u8]>,
    },
}

/// An entry of the stream, read.
#[derive(Debug)]
pub(super) struct Message {
    /// Epoch, number and place of the entry.
    pub(super) head: StreamHead,
    /// Place of the entry before; zero for the first of an epoch.
    pub(super) after: StreamId,
    /// The node that has written the entry; empty for the first entry of an epoch.
    pub(super) origin: Box<[u8]>,
    pub(super) revocations: Vec<Revocation>,
    /// Revocations that only a later version understands.
    pub(super) strange: usize,
    pub(super) changes: Vec<CacheChange>,
    /// False if there is a change that only a later version understands.
    pub(super) understood: bool,
}

impl CacheChange {
    /// Returns name and value of the field of an entry.
    pub fn field(&self) -> (&'static str, Vec<u8>) {
        match self {
            Self::Purge(purge) => ("purge", serde_json::to_vec(purge).unwrap_or_default()),
            Self::Changed { host, path } => {
                ("changed", [host.len().to_string().as_bytes(), b":", host.as_ref(), path.as_ref()].concat())
            }
        }
    }

    /// Returns about how many bytes the change takes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Purge(purge) => purge.size(),
                Self::Changed { host, path } => host.len() + path.len(),
            }
    }

    fn read_changed(value: &[u8]) -> Option<Self> {
        let colon = memchr::memchr(b':', value)?;
        let host: usize = parse(&value[..colon])?;
        let (host, path) = value[colon + 1..].split_at_checked(host)?;
        Some(Self::Changed { host: host.into(), path: path.into() })
    }
}

impl Message {
    /// Reads an entry. Returns None if it is none of ours.
    pub(super) fn read<Bytes: AsRef<[u8]>>(entry: &StreamEntry<Bytes>) -> Option<Self> {
        let (mut epoch, mut number, mut after, mut origin) = (None, None, StreamId::default(), Box::default());
        let (mut revocations, mut strange, mut changes, mut understood) = (Vec::new(), 0, Vec::new(), true);
        for (name, value) in &entry.fields {
            let value = value.as_ref();
            match name.as_ref() {
                b"epoch" => epoch = Some(value.into()),
                b"number" => number = parse(value),
                b"after" => after = parse(value)?,
                b"origin" => origin = value.into(),
                // Something of a later version would be no token and no user.
                b"revoked" => match read_revoked(value) {
                    Some(revocation) => revocations.push(revocation),
                    None => strange += 1,
                },
                b"purge" => match serde_json::from_slice(value) {
                    Ok(purge) => changes.push(CacheChange::Purge(purge)),
                    Err(_) => understood = false,
                },
                b"changed" => match CacheChange::read_changed(value) {
                    Some(change) => changes.push(change),
                    None => understood = false,
                },
                _ => understood = false,
            }
        }
        let head = StreamHead { epoch: epoch?, number: number?, id: entry.id };
        Some(Self { head, after, origin, revocations, strange, changes, understood })
    }
}

/// Reads a member of the live set, and until when it stays there.
fn read_revoked(value: &[u8]) -> Option<Revocation> {
    let space = memchr::memchr(b' ', value)?;
    Revocation::read(&value[..space], parse(&value[space + 1..])?)
}

fn parse<T: FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
