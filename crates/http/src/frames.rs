//! The heads of HTTP/2 frames as they pass by (RFC 9113 section 4.1), for those who count frames and leave reading them to others.

/// What stands in front of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of its payload.
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
    /// The beginning of a head.
    pub const HEADERS: u8 = 1;
    /// The end of a stream before its time.
    pub const RST_STREAM: u8 = 3;
    /// The rest of a head.
    pub const CONTINUATION: u8 = 9;
    /// One of those that nobody knows (RFC 9113 section 11.2: for experiments).
    pub const UNKNOWN: u8 = 0xF0;
}

/// The flag of `DATA` and `HEADERS` that says that the stream ends with it.
pub const END_STREAM: u8 = 1;
/// The flag of `DATA` and `HEADERS` that says that the payload is padded.
pub const PADDED: u8 = 8;
/// The flag of `HEADERS` and `CONTINUATION` that says that the head is complete.
pub const END_HEADERS: u8 = 4;

/// What a client says before its first frame (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD: usize = 9;
/// Where in a head its type stands.
const KIND: usize = 3;

/// Finds the heads of frames in a stream of bytes.
#[derive(Clone, Debug)]
pub struct Http2Frames {
    /// Bytes that belong to no head.
    skip: usize,
    head: [u8; HEAD],
    held: usize,
}

impl Http2Frames {
    /// A stream that begins with [`PREFACE`].
    pub fn after_preface() -> Self {
        Self { skip: PREFACE.len(), ..Self::without_preface() }
    }

    /// A stream that begins with a frame.
    pub fn without_preface() -> Self {
        Self { skip: 0, head: [0; HEAD], held: 0 }
    }

    /// Whether the last frame that was told of has come whole.
    pub fn is_at_boundary(&self) -> bool {
        self.skip == 0
    }

    /// Reads on, and tells of every head that is complete. A frame of which nothing remains but its head is turned into one that
    /// every reader passes over (RFC 9113 section 4.1) if `found` asks for it, and its type is among `bytes`.
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

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameVisibility {
    /// It is read as it came.
    Open,
    /// Its readers are not to see it.
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
