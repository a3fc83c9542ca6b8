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
}

/// The flag of `HEADERS` and `CONTINUATION` that says that the head is complete.
pub const END_HEADERS: u8 = 4;

/// What a client says before its first frame (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD: usize = 9;

/// Finds the heads of frames in a stream of bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Bytes that belong to no head.
    skip: usize,
    head: [u8; HEAD],
    held: usize,
}

impl Frames {
    /// A stream that begins with [`PREFACE`].
    pub fn behind_preface() -> Self {
        Self { skip: PREFACE.len(), head: [0; HEAD], held: 0 }
    }

    /// Reads on, and tells of every head that is complete.
    pub fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameHead)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (HEAD - self.held).min(bytes.len());
            self.head[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken;
            bytes = &bytes[taken..];
            if self.held == HEAD {
                self.held = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.skip = length as usize;
                found(FrameHead { length, kind, flags });
            }
        }
    }
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
            let mut reader = Frames::behind_preface();
            bytes
                .chunks(size)
                .for_each(|piece| reader.read(piece, |head| found.push((head.length, head.kind, head.flags))));
            assert_eq!(found, frames, "in pieces of {size}");
        }
    }
}
