//! WebSocket frames (RFC 6455 section 5) as a relay sees them: finds where each begins and ends, and checks its header.
//! Payloads are not read, so compressed messages (RFC 7692) need no decompression, and limits apply to the size as
//! sent.

/// Close: going away (section 7.4.1).
pub const GOING_AWAY: u16 = 1001;
/// Close: the peer violated the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Close: a message is too large.
pub const TOO_LARGE: u16 = 1009;

/// Size of the longest header in bytes.
pub const MAX_HEADER: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const OPCODE: u8 = 0x0F;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
const MAX_CONTROL: u64 = 125;

/// The sender of frames: a client masks them, a server never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The side that opened the connection.
    Client,
    /// The side that accepted it.
    Server,
}

/// Limits in bytes of payload as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// One frame.
    pub frame: u64,
    /// All frames of one message.
    pub message: u64,
}

/// A violation of the protocol or of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Status code of the Close frame to send.
    pub code: u16,
    /// What is wrong, for people.
    pub reason: &'static str,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// All frames are valid so far. Bytes that were not passed are the start of a header.
    More,
    /// A complete Close frame, after which nothing may follow (section 5.5.1).
    Closed,
    /// An invalid header.
    Broken(Violation),
}

/// Follows the frames of one sender.
#[derive(Clone, Debug)]
pub struct WebSocketFrames {
    sender: Sender,
    limits: FrameLimits,
    compressed: bool,
    /// Bytes of the frame's payload that are still to come.
    left: u64,
    /// Size so far of a message that is not complete.
    message: Option<u64>,
    /// True if the frame is a Close.
    closing: bool,
    /// True if Close frames are held back.
    holds_close: bool,
}

impl WebSocketFrames {
    /// `compressed` means that permessage-deflate was negotiated, so the first frame of a message may have RSV1 set.
    pub fn new(sender: Sender, limits: FrameLimits, compressed: bool) -> Self {
        Self { sender, limits, compressed, left: 0, message: None, closing: false, holds_close: false }
    }

    /// Holds back Close frames from now on: [`ScanEnd::Closed`] then reports where one begins.
    pub fn hold_close(&mut self) {
        self.holds_close = true;
    }

    /// Returns how many of `bytes`, which follow those passed before, may be forwarded: everything up to an incomplete
    /// or invalid header, and nothing after a Close frame.
    pub fn scan(&mut self, bytes: &[u8]) -> (usize, ScanEnd) {
        let mut at = 0;
        loop {
            at += self.pass(&bytes[at..]);
            if self.left > 0 {
                return (at, ScanEnd::More);
            }
            if self.closing {
                return (at, ScanEnd::Closed);
            }
            match self.header(&bytes[at..]) {
                Ok(Some(_)) if self.closing && self.holds_close => {
                    self.left = 0;
                    return (at, ScanEnd::Closed);
                }
                Ok(Some(length)) => at += length,
                Ok(None) => return (at, ScanEnd::More),
                Err(violation) => return (at, ScanEnd::Broken(violation)),
            }
        }
    }

    /// Passes the bytes of the current frame and returns how many of `bytes` those are.
    pub fn pass(&mut self, bytes: &[u8]) -> usize {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= n as u64;
        n
    }

    /// Returns true if a frame was just completed, so that a frame of another source may follow.
    pub fn is_at_boundary(&self) -> bool {
        self.left == 0
    }

    /// Returns true once a Close frame was passed completely.
    pub fn is_closed(&self) -> bool {
        self.closing && self.left == 0
    }

    /// Parses a header and returns its length, if it is complete.
    fn header(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        self.check_bits(*first, *second)?;
        let (length, extended) = match second & LENGTH {
            126 => (rest.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes))), 2),
            127 => (rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)), 8),
            short => (Some(u64::from(short)), 0),
        };
        let Some(length) = length else { return Ok(None) };
        let shortest = match extended {
            0 => 0,
            2 => 126,
            _ => 1 << 16,
        };
        if length < shortest || length > i64::MAX as u64 {
            return Err(broken("the length of a frame is not written in the shortest way"));
        }
        let message = self.check_length(first & OPCODE, length)?;
        let header = 2 + extended + if self.sender == Sender::Client { 4 } else { 0 };
        if bytes.len() < header {
            return Ok(None);
        }
        if first & OPCODE < CLOSE {
            self.message = (first & FIN == 0).then_some(message);
        }
        self.closing = first & OPCODE == CLOSE;
        self.left = length;
        Ok(Some(header))
    }

    /// Checks the first two bytes of a header, except for the length.
    fn check_bits(&self, first: u8, second: u8) -> Result<(), Violation> {
        let opcode = first & OPCODE;
        let starts_message = matches!(opcode, 1 | 2);
        if first & RSV2_AND_3 != 0 || (first & RSV1 != 0 && !(self.compressed && starts_message)) {
            return Err(broken("a reserved bit is set"));
        }
        match opcode {
            CONTINUATION if self.message.is_none() => return Err(broken("a continuation without a message")),
            1 | 2 if self.message.is_some() => return Err(broken("a message within a message")),
            CONTINUATION..=2 => {}
            8..=10 if first & FIN == 0 => return Err(broken("a control frame in pieces")),
            8..=10 => {}
            _ => return Err(broken("a reserved opcode")),
        }
        match (self.sender, second & MASKED != 0) {
            (Sender::Client, false) => Err(broken("a client's frame is not masked")),
            (Sender::Server, true) => Err(broken("a server's frame is masked")),
            _ => Ok(()),
        }
    }

    /// Checks the length. Returns the size of the message so far.
    fn check_length(&self, opcode: u8, length: u64) -> Result<u64, Violation> {
        if opcode >= CLOSE {
            return if length > MAX_CONTROL {
                Err(broken("a control frame of more than 125 bytes"))
            } else if opcode == CLOSE && length == 1 {
                Err(broken("a Close frame with half a status code"))
            } else {
                Ok(0)
            };
        }
        let message = self.message.unwrap_or(0).saturating_add(length);
        if length > self.limits.frame {
            Err(Violation { code: TOO_LARGE, reason: "a frame is larger than allowed" })
        } else if message > self.limits.message {
            Err(Violation { code: TOO_LARGE, reason: "a message is larger than allowed" })
        } else {
            Ok(message)
        }
    }
}

fn broken(reason: &'static str) -> Violation {
    Violation { code: PROTOCOL_ERROR, reason }
}

/// Appends a Close frame. `mask` is the key of a client's frame; `reason` is cut after 123 bytes.
pub fn close(out: &mut Vec<u8>, code: u16, reason: &str, mask: Option<[u8; 4]>) {
    let mut end = reason.len().min(MAX_CONTROL as usize - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    out.push(FIN | CLOSE);
    out.push((2 + end) as u8 | if mask.is_some() { MASKED } else { 0 });
    out.extend_from_slice(mask.as_ref().map_or(&[], |key| &key[..]));
    let start = out.len();
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
    if let Some(key) = mask {
        for (byte, key) in out[start..].iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests;
