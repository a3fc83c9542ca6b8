//! WebSocket frames (RFC 6455 section 5) as a relay sees them: where each begins and ends, and whether its header keeps the
//! rules. Payloads are passed over unread, so compressed messages (RFC 7692) need no decompression; their size is what is sent.

/// Close: going away (section 7.4.1).
pub const GOING_AWAY: u16 = 1001;
/// Close: the peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Close: a message is too large.
pub const TOO_LARGE: u16 = 1009;

/// Bytes of the longest header.
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

/// Who sends frames: a client masks them, a server never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The side that opened the connection.
    Client,
    /// The side that accepted it.
    Server,
}

/// Bounds of what passes, in bytes of payload as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// One frame.
    pub frame: u64,
    /// All frames of one message.
    pub message: u64,
}

/// Which rule a frame breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The status code of the Close frame that it calls for.
    pub code: u16,
    /// What is wrong, for people.
    pub reason: &'static str,
}

/// What the bytes that were scanned end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// Nothing special: more is to come. What was not passed is the beginning of a header.
    More,
    /// A complete Close frame, behind which nothing may follow (section 5.5.1).
    Closed,
    /// A header that breaks a rule.
    Broken(Violation),
}

/// Follows the frames that one side sends.
#[derive(Clone, Debug)]
pub struct WebSocketFrames {
    sender: Sender,
    limits: FrameLimits,
    compressed: bool,
    /// Bytes of the frame's payload still to come.
    left: u64,
    /// Bytes of the message under way, which has frames still to come.
    message: Option<u64>,
    /// The frame is a Close.
    closing: bool,
    /// A Close frame is found, but not passed.
    holds_close: bool,
}

impl WebSocketFrames {
    /// `compressed`: permessage-deflate was negotiated, so the first frame of a message may have RSV1 set.
    pub fn new(sender: Sender, limits: FrameLimits, compressed: bool) -> Self {
        Self { sender, limits, compressed, left: 0, message: None, closing: false, holds_close: false }
    }

    /// From now on a Close frame is not passed: [`ScanEnd::Closed`] says where it would begin.
    pub fn hold_close(&mut self) {
        self.holds_close = true;
    }

    /// How many of `bytes`, which follow those passed before, may be passed on: everything up to a header that is not complete
    /// or breaks a rule, and nothing behind a Close frame.
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

    /// How many of `bytes` belong to the frame under way, which are passed; nothing of the next one is.
    pub fn pass(&mut self, bytes: &[u8]) -> usize {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= n as u64;
        n
    }

    /// Whether what was passed ends with a whole frame, so that one of somebody else's may follow.
    pub fn is_at_boundary(&self) -> bool {
        self.left == 0
    }

    /// Whether a Close frame was passed completely.
    pub fn is_closed(&self) -> bool {
        self.closing && self.left == 0
    }

    /// Reads a header and says how long it is, if it is complete.
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

    /// What the first two bytes of a header must be like, length aside.
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

    /// What the length must be like. Returns the bytes of the message so far.
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

/// Appends a Close frame. `mask` is the key of a client's frame; `reason` has at most 123 bytes, what is beyond is left out.
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
