//! Writes frames. Their streams are below 2^31, and none is larger than the peer's `MAX_FRAME_SIZE` if the caller keeps
//! to it.

use super::{FrameHeader, FrameKind, HEADER_LEN, flag};
use crate::http2::error::Http2Code;

fn header(out: &mut Vec<u8>, length: usize, kind: FrameKind, flags: u8, stream: u32) {
    FrameHeader { length: length as u32, kind, flags, stream }.write(out);
}

/// Appends the header of a `DATA` frame, whose `length` bytes the caller appends.
pub fn data(out: &mut Vec<u8>, stream: u32, length: usize, end_stream: bool) {
    header(out, length, FrameKind::Data, if end_stream { flag::END_STREAM } else { 0 }, stream);
}

/// Appends a field section, which `encode` appends as one block: `HEADERS`, and as many `CONTINUATION` as it needs.
pub fn block(
    out: &mut Vec<u8>,
    stream: u32,
    end_stream: bool,
    max_frame_size: usize,
    encode: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    encode(out);
    let flags = if end_stream { flag::END_STREAM } else { 0 };
    let length = out.len() - start - HEADER_LEN;
    let whole = length <= max_frame_size;
    let first = FrameHeader {
        length: length.min(max_frame_size) as u32,
        kind: FrameKind::Headers,
        flags: if whole { flags | flag::END_HEADERS } else { flags },
        stream,
    };
    out[start..start + HEADER_LEN].copy_from_slice(&first.bytes());
    if !whole {
        let rest = out.split_off(start + HEADER_LEN + max_frame_size);
        continue_block(out, stream, max_frame_size, &rest);
    }
}

/// Appends the rest of a block, as many `CONTINUATION` as it needs.
#[cold]
fn continue_block(out: &mut Vec<u8>, stream: u32, max_frame_size: usize, rest: &[u8]) {
    let mut pieces = rest.chunks(max_frame_size).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        header(out, piece.len(), FrameKind::Continuation, flags, stream);
        out.extend_from_slice(piece);
    }
}

/// Appends `RST_STREAM`.
pub fn reset(out: &mut Vec<u8>, stream: u32, code: Http2Code) {
    header(out, 4, FrameKind::RstStream, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends `SETTINGS` with these identifiers and values.
pub fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    header(out, 6 * settings.len(), FrameKind::Settings, 0, 0);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of `SETTINGS`.
pub fn settings_ack(out: &mut Vec<u8>) {
    header(out, 0, FrameKind::Settings, flag::ACK, 0);
}

/// Appends `PING`, or the answer to one.
pub fn ping(out: &mut Vec<u8>, data: [u8; 8], ack: bool) {
    header(out, data.len(), FrameKind::Ping, if ack { flag::ACK } else { 0 }, 0);
    out.extend_from_slice(&data);
}

/// Appends `GOAWAY`.
pub fn go_away(out: &mut Vec<u8>, last_stream: u32, code: Http2Code, debug: &[u8]) {
    header(out, 8 + debug.len(), FrameKind::GoAway, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(debug);
}

/// Appends `WINDOW_UPDATE` for a stream or, if it is 0, for the connection.
pub fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    header(out, 4, FrameKind::WindowUpdate, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}
