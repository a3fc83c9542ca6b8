//! Frames (RFC 9113 sections 4 and 6): their headers, and every rule about them that needs no state of a connection.
//!
//! Errors of streams that cost work to keep apart are errors of the connection here, as RFC 9113 section 5.4.1 allows:
//! a frame that is too large, and padding.

mod payload;
mod write;

use super::error::{Http2Code, Http2Error};

pub use self::payload::{FramePayload, HeadersPayload};
pub use self::write::{block, data, go_away, ping, reset, settings, settings_ack, window_update};

/// Size of a frame header in bytes.
pub const HEADER_LEN: usize = 9;

/// The greatest number of a stream.
const MAX_STREAM: u32 = (1 << 31) - 1;

/// Flags (RFC 9113 section 6).
pub mod flag {
    /// `DATA`, `HEADERS`: the sender ends the stream with it.
    pub const END_STREAM: u8 = 1;
    /// `SETTINGS`, `PING`: an acknowledgement.
    pub const ACK: u8 = 1;
    /// `HEADERS`, `CONTINUATION`: the block is complete.
    pub const END_HEADERS: u8 = 4;
    /// `DATA`, `HEADERS`: the payload is padded.
    pub const PADDED: u8 = 8;
    /// `HEADERS`: the payload has a priority.
    pub const PRIORITY: u8 = 0x20;
}

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Body bytes (section 6.1).
    Data,
    /// A field section, or its start (section 6.2).
    Headers,
    /// A priority, which means nothing any more (section 6.3).
    Priority,
    /// The end of a stream by an error (section 6.4).
    RstStream,
    /// Settings (section 6.5).
    Settings,
    /// A push, which is never allowed here (section 6.6).
    PushPromise,
    /// A question whether the peer is there (section 6.7).
    Ping,
    /// The end of a connection (section 6.8).
    GoAway,
    /// More window (section 6.9).
    WindowUpdate,
    /// More of a field section (section 6.10).
    Continuation,
    /// A type that is to be ignored (section 5.5), `PRIORITY_UPDATE` (RFC 9218 section 7.1) among them.
    Unknown(u8),
}

impl FrameKind {
    /// Returns the type with this number.
    #[inline]
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown(byte),
        }
    }

    /// Returns its number.
    #[inline]
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::RstStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown(byte) => byte,
        }
    }
}

/// The header of a frame (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of its payload in bytes, below 2^24.
    pub length: u32,
    /// Its type.
    pub kind: FrameKind,
    /// Its flags, those included that its type does not have.
    pub flags: u8,
    /// Its stream, below 2^31; 0 is the connection.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads a header. The reserved bit is ignored (section 4.1).
    #[inline]
    pub fn read(bytes: &[u8; HEADER_LEN]) -> Self {
        let &[high, middle, low, kind, flags, ref stream @ ..] = bytes;
        Self {
            length: u32::from_be_bytes([0, high, middle, low]),
            kind: FrameKind::from_byte(kind),
            flags,
            stream: u32::from_be_bytes(*stream) & MAX_STREAM,
        }
    }

    /// Returns its bytes.
    #[inline]
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&(self.length << 8 | u32::from(self.kind.to_byte())).to_be_bytes());
        bytes[4] = self.flags;
        bytes[5..].copy_from_slice(&(self.stream & MAX_STREAM).to_be_bytes());
        bytes
    }

    /// Appends it.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes());
    }

    /// Returns true if the flag is set.
    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Checks what can be said before the payload is there: its length and its stream. `max_frame_size` is the
    /// `SETTINGS_MAX_FRAME_SIZE` of this side.
    #[inline]
    pub fn check(&self, max_frame_size: u32) -> Result<(), Http2Error> {
        // Section 4.2
        if self.length > max_frame_size {
            return Err(size("a frame that is larger than allowed"));
        }
        match (self.kind, self.stream) {
            // Sections 6.1, 6.2, 6.3, 6.4, 6.10
            (FrameKind::Data, 0) => Err(protocol("DATA without a stream")),
            (FrameKind::Headers, 0) => Err(protocol("HEADERS without a stream")),
            (FrameKind::Priority, 0) => Err(protocol("PRIORITY without a stream")),
            (FrameKind::RstStream, 0) => Err(protocol("RST_STREAM without a stream")),
            (FrameKind::Continuation, 0) => Err(protocol("CONTINUATION without a stream")),
            (FrameKind::Data | FrameKind::Continuation, _) => Ok(()),
            // A client must not push (section 8.4), and a server only if it is allowed to (section 6.6).
            (FrameKind::PushPromise, _) => Err(protocol("PUSH_PROMISE without leave")),
            (FrameKind::Settings | FrameKind::Ping | FrameKind::GoAway, 1..) => {
                // Sections 6.5, 6.7, 6.8
                Err(protocol("a frame of the connection on a stream"))
            }
            _ => self.check_length(),
        }
    }

    fn check_length(&self) -> Result<(), Http2Error> {
        match (self.kind, self.length) {
            // Section 6.2: the priority, and the length of the padding
            (FrameKind::Headers, length) => {
                let least = if self.has(flag::PRIORITY) { 5 } else { 0 } + u32::from(self.has(flag::PADDED));
                if length < least { Err(size("HEADERS that are too short for their flags")) } else { Ok(()) }
            }
            // Sections 6.3, 6.4, 6.7 and 6.9
            (FrameKind::Priority, 5) | (FrameKind::RstStream | FrameKind::WindowUpdate, 4) | (FrameKind::Ping, 8) => {
                Ok(())
            }
            (FrameKind::Priority, _) => {
                Err(Http2Error::stream(Http2Code::FRAME_SIZE_ERROR, "PRIORITY that is not of 5 bytes"))
            }
            (FrameKind::RstStream, _) => Err(size("RST_STREAM that is not of 4 bytes")),
            (FrameKind::WindowUpdate, _) => Err(size("WINDOW_UPDATE that is not of 4 bytes")),
            (FrameKind::Ping, _) => Err(size("PING that is not of 8 bytes")),
            // Section 6.5
            (FrameKind::Settings, 1..) if self.has(flag::ACK) => Err(size("an acknowledgement of SETTINGS with some")),
            (FrameKind::Settings, length) if length % 6 != 0 => Err(size("SETTINGS that are not of 6 bytes each")),
            // Section 6.8
            (FrameKind::GoAway, 0..8) => Err(size("GOAWAY that is shorter than 8 bytes")),
            _ => Ok(()),
        }
    }
}

fn size(reason: &'static str) -> Http2Error {
    Http2Error::connection(Http2Code::FRAME_SIZE_ERROR, reason)
}

fn protocol(reason: &'static str) -> Http2Error {
    Http2Error::connection(Http2Code::PROTOCOL_ERROR, reason)
}

#[cfg(test)]
mod tests;
