//! Observes the headers of HTTP/2 frames in a byte stream (RFC 9113 section 4.1), for code that counts frames and
//! leaves parsing to others.

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Length of its payload in bytes.
    pub length: u32,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
}

/// Types of frames (RFC 9113 section 6).
pub mod kind {
    /// Body bytes.
    pub const DATA: u8 = 0;
    /// The start of a header section.
    pub const HEADERS: u8 = 1;
    /// The reset of a stream.
    pub const RST_STREAM: u8 = 3;
    /// The continuation of a header section.
    pub const CONTINUATION: u8 = 9;
    /// An unassigned type (RFC 9113 section 11.2: for experiments).
    pub const UNKNOWN: u8 = 0xF0;
}

/// Flag of `DATA` and `HEADERS`: the stream ends with this frame.
pub const END_STREAM: u8 = 1;
/// Flag of `DATA` and `HEADERS`: the payload is padded.
pub const PADDED: u8 = 8;
/// Flag of `HEADERS` and `CONTINUATION`: the header section is complete.
pub const END_HEADERS: u8 = 4;

/// What a client sends before its first frame (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD: usize = 9;
/// Position of the type in a frame header.
const KIND: usize = 3;

/// Finds frame headers in a byte stream.
#[derive(Clone, Debug)]
pub struct Http2Frames {
    /// Bytes to skip, which belong to no header.
    skip: usize,
    head: [u8; HEAD],
    held: usize,
}

impl Http2Frames {
    /// Creates a reader for a stream that begins with [`PREFACE`].
    pub fn after_preface() -> Self {
        Self { skip: PREFACE.len(), ..Self::without_preface() }
    }

    /// Creates a reader for a stream that begins with a frame.
    pub fn without_preface() -> Self {
        Self { skip: 0, head: [0; HEAD], held: 0 }
    }

    /// Returns true if the last reported frame is complete.
    pub fn is_at_boundary(&self) -> bool {
        self.skip == 0
    }

    /// Reads more bytes and calls `found` with every complete frame header. If `found` returns `Hidden` and the type is
    /// still in `bytes`, it is overwritten with a type that every reader ignores (RFC 9113 section 4.1).
    pub fn read(&mut self, bytes: &mut [u8], mut found: impl FnMut(FrameHead) -> FrameVisibility) {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
            if at == bytes.len() {
                return;
            }
            let taken = (HEAD - self.held).min(bytes.len() - at);
            self.head[self.held..self.held + taken].copy_from_slice(&bytes[at..at + taken]);
            self.held += taken;
            at += taken;
            if self.held == HEAD {
                self.held = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.skip = length as usize;
                let visibility = found(FrameHead { length, kind, flags });
                if let (FrameVisibility::Hidden, Some(place)) = (visibility, at.checked_sub(HEAD - KIND)) {
                    bytes[place] = kind::UNKNOWN;
                }
            }
        }
    }
}

/// Whether readers see a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameVisibility {
    /// The frame is unchanged.
    Open,
    /// The frame is hidden from its readers.
    Hidden,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let mut bytes = PREFACE.to_vec();
        let frames = [(3_u32, kind::HEADERS, 5_u8), (0, kind::DATA, 1), (300, kind::CONTINUATION, END_HEADERS)];
        for (length, kind, flags) in frames {
            bytes.extend_from_slice(&length.to_be_bytes()[1..]);
            bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
            bytes.resize(bytes.len() + length as usize, 0xAA);
        }
        for size in [1, 2, 7, 9, 24, bytes.len()] {
            let mut found = Vec::new();
            let mut reader = Http2Frames::after_preface();
            bytes.clone().chunks_mut(size).for_each(|piece| {
                reader.read(piece, |head| {
                    found.push((head.length, head.kind, head.flags));
                    FrameVisibility::Open
                });
            });
            assert_eq!(found, frames, "in pieces of {size}");
            assert!(reader.is_at_boundary());
        }
    }

    #[test]
    fn frames_are_hidden_where_their_type_is_at_hand() {
        let empty = [0, 0, 0, kind::DATA, 0, 0, 0, 0, 1];
        for size in 1..=empty.len() {
            let mut bytes = empty;
            let mut reader = Http2Frames::without_preface();
            bytes.chunks_mut(size).for_each(|piece| reader.read(piece, |_| FrameVisibility::Hidden));
            // The last piece begins with the type, or in front of it.
            let at_hand = (empty.len() - 1) / size * size <= 3;
            assert_eq!(bytes[3] == kind::UNKNOWN, at_hand, "in pieces of {size}");
        }
    }
}
