//! Payloads of frames.

use super::{FrameHeader, FrameKind, flag};
use crate::http2::error::{Http2Code, Http2Error};

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePayload<'a> {
    /// Body bytes, without padding. The window counts the whole payload (section 6.9.1).
    Data(&'a [u8]),
    /// A field section, or its start.
    Headers(HeadersPayload<'a>),
    /// The end of a stream.
    RstStream(Http2Code),
    /// Settings of the peer, for [`Settings::read`](crate::http2::settings::Settings::read).
    Settings(&'a [u8]),
    /// The peer has taken in the settings of this side.
    SettingsAck,
    /// A question, to be sent back.
    Ping([u8; 8]),
    /// The answer to a question.
    PingAck([u8; 8]),
    /// The end of the connection.
    GoAway {
        /// The last stream that the peer may have begun to work on.
        last_stream: u32,
        /// Why.
        code: Http2Code,
        /// What the peer says about it; anything.
        debug: &'a [u8],
    },
    /// More window for the stream or the connection, at least 1.
    WindowUpdate(u32),
    /// More of a field section.
    Continuation(&'a [u8]),
    /// Nothing that anybody has to act on: `PRIORITY`, and types that are to be ignored.
    Ignored,
}

/// The payload of a `HEADERS` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadersPayload<'a> {
    /// The block, or its start.
    pub block: &'a [u8],
    /// Its priority depends on its own stream, which is an error of the stream, `PROTOCOL_ERROR` (RFC 7540 section
    /// 5.3.1). The block has to be decoded nevertheless.
    pub depends_on_itself: bool,
}

impl<'a> FramePayload<'a> {
    /// Reads the whole payload of a frame whose header was [checked](FrameHeader::check).
    pub fn read(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, Http2Error> {
        Ok(match header.kind {
            FrameKind::Data => Self::Data(without_padding(header, payload)?),
            FrameKind::Headers => Self::Headers(headers(header, payload)?),
            FrameKind::Continuation => Self::Continuation(payload),
            FrameKind::Priority => {
                if dependency(payload) == Some(header.stream) {
                    // RFC 7540 section 5.3.1
                    return Err(Http2Error::stream(Http2Code::PROTOCOL_ERROR, "a stream that depends on itself"));
                }
                Self::Ignored
            }
            FrameKind::RstStream => Self::RstStream(Http2Code(word(payload)?)),
            FrameKind::Settings if header.has(flag::ACK) => Self::SettingsAck,
            FrameKind::Settings => Self::Settings(payload),
            FrameKind::Ping => {
                let data = *payload.first_chunk().ok_or(TOO_SHORT)?;
                if header.has(flag::ACK) { Self::PingAck(data) } else { Self::Ping(data) }
            }
            FrameKind::GoAway => {
                let (head, debug) = payload.split_at_checked(8).ok_or(TOO_SHORT)?;
                Self::GoAway { last_stream: word(head)? & !RESERVED, code: Http2Code(word(&head[4..])?), debug }
            }
            FrameKind::WindowUpdate => match word(payload)? & !RESERVED {
                0 if header.stream == 0 => return Err(Http2Error::connection(Http2Code::PROTOCOL_ERROR, NO_INCREMENT)),
                // Section 6.9
                0 => return Err(Http2Error::stream(Http2Code::PROTOCOL_ERROR, NO_INCREMENT)),
                increment => Self::WindowUpdate(increment),
            },
            FrameKind::PushPromise | FrameKind::Unknown(_) => Self::Ignored,
        })
    }
}

/// The bit in front of the number of a stream or of an increment, which is ignored.
const RESERVED: u32 = 1 << 31;
const NO_INCREMENT: &str = "WINDOW_UPDATE by 0";
/// Section 4.2
const TOO_SHORT: Http2Error = Http2Error::connection(Http2Code::FRAME_SIZE_ERROR, "a frame that is too short");

fn word(payload: &[u8]) -> Result<u32, Http2Error> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or(TOO_SHORT)
}

/// Returns the stream that a priority depends on.
fn dependency(priority: &[u8]) -> Option<u32> {
    priority.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) & !RESERVED)
}

fn headers<'a>(header: &FrameHeader, payload: &'a [u8]) -> Result<HeadersPayload<'a>, Http2Error> {
    let payload = without_padding(header, payload)?;
    if !header.has(flag::PRIORITY) {
        return Ok(HeadersPayload { block: payload, depends_on_itself: false });
    }
    // Section 6.2: padding that reaches into the priority
    let (priority, block) = payload.split_at_checked(5).ok_or(TOO_MUCH_PADDING)?;
    Ok(HeadersPayload { block, depends_on_itself: dependency(priority) == Some(header.stream) })
}

/// Sections 6.1 and 6.2
const TOO_MUCH_PADDING: Http2Error =
    Http2Error::connection(Http2Code::PROTOCOL_ERROR, "padding that is longer than the payload");

/// Returns the payload of `DATA` or `HEADERS` without its padding.
#[inline]
fn without_padding<'a>(header: &FrameHeader, payload: &'a [u8]) -> Result<&'a [u8], Http2Error> {
    if !header.has(flag::PADDED) {
        return Ok(payload);
    }
    let (&padding, padded) = payload.split_first().ok_or(TOO_SHORT)?;
    let len = padded.len().checked_sub(usize::from(padding)).ok_or(TOO_MUCH_PADDING)?;
    Ok(&padded[..len])
}
