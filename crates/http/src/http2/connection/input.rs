//! Bytes and blocks of the peer that are incomplete.

use crate::http2::frame::FrameHeader;
use crate::http2::stream::StreamKey;

/// Bytes of memory that are kept for frames that come in pieces.
const KEPT: usize = 1024;

/// Bytes on their way to be frames.
#[derive(Debug)]
pub(super) struct Input {
    /// Bytes of the preface still to come.
    pub(super) preface: usize,
    /// A frame header, or else a payload, that is incomplete.
    pub(super) partial: Vec<u8>,
    /// The frame whose payload is awaited.
    pub(super) frame: Option<FrameHeader>,
    /// The DATA frame whose payload comes in.
    pub(super) data: Option<DataInput>,
    /// The block that CONTINUATION goes on with.
    pub(super) block: Option<BlockInput>,
    /// The frame is left out, because its header was wrong.
    pub(super) skip: bool,
}

/// A DATA frame of which some is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataInput {
    /// None if nobody wants it.
    pub(super) key: Option<StreamKey>,
    /// The first byte is the length of the padding.
    pub(super) padded: bool,
    /// Bytes still to come, without padding.
    pub(super) left: usize,
    pub(super) padding: usize,
    pub(super) ends: bool,
}

impl Input {
    pub(super) fn new(preface: usize) -> Self {
        Self { preface, partial: Vec::new(), frame: None, data: None, block: None, skip: false }
    }

    /// Keeps the memory of a payload that came in pieces for the next one.
    pub(super) fn give_back(&mut self, mut payload: Vec<u8>) {
        payload.clear();
        payload.shrink_to(KEPT);
        self.partial = payload;
    }

    pub(super) fn rest(&mut self) {
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
    }
}

/// A block of which some is still to come.
#[derive(Debug)]
pub(super) struct BlockInput {
    pub(super) stream: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) ends: bool,
    pub(super) depends_on_itself: bool,
}
