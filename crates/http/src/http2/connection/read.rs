//! What the owner of a stream reads.

use super::state::{Ending, Http2Connection};
use crate::RequestHead;
use crate::http2::frame;
use crate::http2::stream::{StreamKey, StreamProgress, StreamReset};

/// What can be read of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes were appended.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The message has ended.
    End,
    /// The stream was cut off.
    Reset(StreamReset),
}

impl Http2Connection {
    /// Appends what was received of a stream: its heads, and at most `room` bytes of its body.
    pub fn read(&mut self, key: StreamKey, into: &mut Vec<u8>, room: usize) -> Received {
        let Some(stream) = self.streams.get_mut(key) else { return RELEASED };
        let (heads, body) = (stream.heads, stream.body_held().min(room.saturating_sub(stream.heads)));
        if heads + body == 0 {
            return match (stream.receiving, stream.reset) {
                (StreamProgress::Ended, _) => Received::End,
                (_, Some(reset)) => Received::Reset(reset),
                _ => Received::Nothing,
            };
        }
        into.extend_from_slice(&stream.held[stream.read..stream.read + heads + body]);
        stream.read += heads + body;
        stream.heads = 0;
        stream.compact();
        if body > 0 {
            self.free(Some(key), body);
        }
        Received::Bytes(heads + body)
    }

    /// Lets `head` know the field lines of the request, once its text was read into an empty buffer. Its parser finds
    /// them otherwise.
    pub fn describe(&mut self, key: StreamKey, head: &mut RequestHead) {
        if let Some(stream) = self.streams.get_mut(key) {
            head.adopt(&mut stream.lines);
        }
    }

    /// Takes the trailer lines that ended the message, with the blank line behind them. Empty if there were none.
    pub fn take_trailers(&mut self, key: StreamKey, into: &mut Vec<u8>) {
        if let Some(stream) = self.streams.get_mut(key) {
            into.extend_from_slice(&stream.trailers);
            stream.trailers.clear();
        }
    }

    /// Lets the peer send as many bytes again.
    pub(super) fn free(&mut self, key: Option<StreamKey>, bytes: usize) {
        let limits = self.limits;
        if let Some(stream) = key.and_then(|key| self.streams.get_mut(key))
            && stream.receiving != StreamProgress::Ended
            && stream.reset.is_none()
            && let Some(more) = stream.receive_window.read(bytes, limits.stream_window)
        {
            frame::window_update(&mut self.out, stream.id, more);
        }
        if self.ending != Ending::Failed
            && let Some(more) = self.receive_window.read(bytes, limits.connection_window)
        {
            frame::window_update(&mut self.out, 0, more);
        }
    }

    /// Forgets what was received of a stream and nobody reads.
    pub(super) fn discard(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key) {
            let bytes = stream.discard_held();
            if bytes > 0 {
                // What its reader has is not all.
                stream.receiving = StreamProgress::Body;
                self.free(None, bytes);
            }
        }
    }

    /// Why the request of a stream is malformed, if it is.
    pub fn refusal(&self, key: StreamKey) -> Option<&'static str> {
        self.streams.get(key)?.refusal
    }

    /// Returns true if the request asks for a WebSocket. Its head is that of an upgrade, without a key.
    pub fn opens_websocket(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.websocket)
    }

    /// How the stream was cut off, if it was.
    pub fn reset_of(&self, key: StreamKey) -> Option<StreamReset> {
        self.streams.get(key).map_or(Some(RELEASED_RESET), |stream| stream.reset)
    }
}

const RELEASED_RESET: StreamReset = StreamReset { code: None, unprocessed: false };
const RELEASED: Received = Received::Reset(RELEASED_RESET);
