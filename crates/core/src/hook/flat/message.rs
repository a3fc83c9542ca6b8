//! The messages between a worker and a host: a head of fixed size, then the content.

use super::{FlatReader, FlatWriter};

/// Size of a message's head in bytes: length of the content, kind, and the exchange that it is about.
pub const HEAD: usize = 13;
/// Largest content of a message in bytes.
pub const MOST: usize = 64 * 1024 * 1024;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlatMessageKind {
    /// To the host: a stage, which exchanges name by its number from now on.
    Stage,
    /// To the host: call the request hooks.
    Request,
    /// To the host: call the response hooks.
    Response,
    /// To the host: call the response hooks that see answers to what is no request.
    Refusal,
    /// To the host: nobody waits for the call any more.
    Cancel,
    /// To the host: the exchange is over.
    End,
    /// To the host: a body begins to pass.
    Stream,
    /// Both ways: a piece of the body.
    Piece,
    /// Both ways: the last piece of the body.
    LastPiece,
    /// Both ways: a piece was taken, so there is room for another.
    Taken,
    /// To the worker: what the hooks have come to.
    Done,
    /// To the worker: a hook has failed in the middle of a body.
    Broken,
    /// To the worker: the true cost of a request whose body passes.
    Cost,
}

const KINDS: [FlatMessageKind; 13] = [
    FlatMessageKind::Stage,
    FlatMessageKind::Request,
    FlatMessageKind::Response,
    FlatMessageKind::Refusal,
    FlatMessageKind::Cancel,
    FlatMessageKind::End,
    FlatMessageKind::Stream,
    FlatMessageKind::Piece,
    FlatMessageKind::LastPiece,
    FlatMessageKind::Taken,
    FlatMessageKind::Done,
    FlatMessageKind::Broken,
    FlatMessageKind::Cost,
];

/// The head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlatMessage {
    /// What it says.
    pub kind: FlatMessageKind,
    /// The exchange that it is about; the number of the stage in a [`FlatMessageKind::Stage`].
    pub key: u64,
    /// Size of its content in bytes.
    pub len: usize,
}

impl FlatMessage {
    /// Begins a message, whose content `write` writes. Returns false if that is too large, and takes it back.
    pub fn write(out: &mut Vec<u8>, kind: FlatMessageKind, key: u64, write: impl FnOnce(&mut FlatWriter)) -> bool {
        let start = out.len();
        let mut writer = FlatWriter(std::mem::take(out));
        writer.short(0);
        writer.byte(kind as u8);
        writer.long(key);
        write(&mut writer);
        *out = writer.0;
        let len = out.len() - start - HEAD;
        if len > MOST {
            out.truncate(start);
            return false;
        }
        out[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
        true
    }

    /// Reads a head. Returns None if it is none.
    pub fn read(head: &[u8; HEAD]) -> Option<Self> {
        let mut reader = FlatReader::new(head);
        let (len, kind, key) = (reader.size()?, reader.byte()?, reader.long()?);
        let kind = *KINDS.get(usize::from(kind))?;
        (len <= MOST).then_some(Self { kind, key, len })
    }
}
