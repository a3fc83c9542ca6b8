//! SETTINGS (RFC 9113 section 6.5).

use super::error::{Http2Code, Http2Error};

/// Identifiers (RFC 9113 section 6.5.2, RFC 8441 section 3, RFC 9218 section 2.1).
pub mod identifier {
    /// Size in bytes that the sender's table for HPACK may have.
    pub const HEADER_TABLE_SIZE: u16 = 1;
    /// Whether a server may push.
    pub const ENABLE_PUSH: u16 = 2;
    /// How many streams the peer may have open.
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    /// Window of new streams in bytes.
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    /// Size of the largest payload in bytes.
    pub const MAX_FRAME_SIZE: u16 = 5;
    /// Size of the largest field section in bytes, as RFC 9113 section 6.5.2 counts them.
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// Whether `CONNECT` may have a `:protocol`.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
    /// Whether the priorities of RFC 7540 mean nothing to the sender.
    pub const NO_RFC7540_PRIORITIES: u16 = 9;
}

/// Largest window, in bytes (RFC 9113 section 6.9.1).
pub const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The smallest `MAX_FRAME_SIZE`, which holds before any SETTINGS.
pub const MIN_MAX_FRAME_SIZE: u32 = 1 << 14;
/// The largest `MAX_FRAME_SIZE`.
pub const MAX_MAX_FRAME_SIZE: u32 = (1 << 24) - 1;

/// What a peer has said, or what holds as long as it has said nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `HEADER_TABLE_SIZE`
    pub header_table_size: u32,
    /// `ENABLE_PUSH`
    pub enable_push: bool,
    /// `MAX_CONCURRENT_STREAMS`, or no limit
    pub max_concurrent_streams: Option<u32>,
    /// `INITIAL_WINDOW_SIZE`
    pub initial_window_size: u32,
    /// `MAX_FRAME_SIZE`
    pub max_frame_size: u32,
    /// `MAX_HEADER_LIST_SIZE`, or no limit
    pub max_header_list_size: Option<u32>,
    /// `ENABLE_CONNECT_PROTOCOL`
    pub enable_connect_protocol: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table_size: 4096,
            enable_push: true,
            max_concurrent_streams: None,
            initial_window_size: (1 << 16) - 1,
            max_frame_size: MIN_MAX_FRAME_SIZE,
            max_header_list_size: None,
            enable_connect_protocol: false,
        }
    }
}

impl Settings {
    /// Takes in the payload of a frame whose header was [checked](super::frame::FrameHeader::check), in the order of
    /// its settings; identifiers that nobody has defined are ignored. `from_server`: a server has sent it.
    pub fn read(&mut self, payload: &[u8], from_server: bool) -> Result<(), Http2Error> {
        for &[a, b, c, d, e, f] in payload.as_chunks::<6>().0 {
            self.set(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]), from_server)?;
        }
        Ok(())
    }

    fn set(&mut self, id: u16, value: u32, from_server: bool) -> Result<(), Http2Error> {
        match id {
            identifier::HEADER_TABLE_SIZE => self.header_table_size = value,
            identifier::ENABLE_PUSH => {
                self.enable_push = flag(value)?;
                if self.enable_push && from_server {
                    return Err(protocol("a server that enables push"));
                }
            }
            identifier::MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = Some(value),
            identifier::INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                return Err(Http2Error::connection(
                    Http2Code::FLOW_CONTROL_ERROR,
                    "an initial window that is too large",
                ));
            }
            identifier::INITIAL_WINDOW_SIZE => self.initial_window_size = value,
            identifier::MAX_FRAME_SIZE if !(MIN_MAX_FRAME_SIZE..=MAX_MAX_FRAME_SIZE).contains(&value) => {
                return Err(protocol("a MAX_FRAME_SIZE out of range"));
            }
            identifier::MAX_FRAME_SIZE => self.max_frame_size = value,
            identifier::MAX_HEADER_LIST_SIZE => self.max_header_list_size = Some(value),
            identifier::ENABLE_CONNECT_PROTOCOL => {
                let before = std::mem::replace(&mut self.enable_connect_protocol, flag(value)?);
                // RFC 8441 section 3
                if before && !self.enable_connect_protocol {
                    return Err(protocol("ENABLE_CONNECT_PROTOCOL that was taken back"));
                }
            }
            // RFC 9218 section 2.1
            identifier::NO_RFC7540_PRIORITIES => {
                flag(value)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn flag(value: u32) -> Result<bool, Http2Error> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(protocol("a setting that is neither 0 nor 1")),
    }
}

fn protocol(reason: &'static str) -> Http2Error {
    Http2Error::connection(Http2Code::PROTOCOL_ERROR, reason)
}

#[cfg(test)]
mod tests;
