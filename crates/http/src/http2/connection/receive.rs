//! What the peer sends: bytes, frames, heads, bodies.

mod frames;
mod heads;

use super::super::error::{ErrorScope, Http2Code, Http2Error};
use super::super::frame::{FrameHeader, FrameKind, HEADER_LEN, flag};
use super::super::stream::Direction;
use super::{Http2Connection, PREFACE, StreamKey, StreamReset};
use crate::http2::settings::MIN_MAX_FRAME_SIZE;

/// Bytes of memory that are kept for frames that come in pieces.
const KEPT: usize = 1024;

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

/// Bytes on their way to be frames.
#[derive(Debug)]
pub(super) struct Input {
    /// Bytes of the preface still to come.
    preface: usize,
    /// A frame header, or else a payload, that is incomplete.
    partial: Vec<u8>,
    /// The frame whose payload is awaited.
    frame: Option<FrameHeader>,
    /// The DATA frame whose payload comes in.
    data: Option<DataInput>,
    /// The block that CONTINUATION goes on with.
    block: Option<heads::BlockInput>,
    /// The frame is left out, because its header was wrong.
    skip: bool,
}

/// A DATA frame of which some is still to come.
#[derive(Clone, Copy, Debug)]
struct DataInput {
    /// None if nobody wants it.
    key: Option<StreamKey>,
    /// The first byte is the length of the padding.
    padded: bool,
    /// Bytes still to come, without padding.
    left: usize,
    padding: usize,
    ends: bool,
}

impl Input {
    pub(super) fn new(preface: usize) -> Self {
        Self { preface, partial: Vec::new(), frame: None, data: None, block: None, skip: false }
    }

    pub(super) fn rest(&mut self) {
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
    }
}

impl Http2Connection {
    /// Takes in bytes of the peer. Calls `counts` with each frame as soon as its header is there; once that returns
    /// false, nothing more is taken in.
    pub fn receive(&mut self, bytes: &[u8], mut counts: impl FnMut(FrameHeader) -> bool) {
        let mut rest = bytes;
        if let Err(error) = self.take_preface(&mut rest).and_then(|()| self.take_frames(&mut rest, &mut counts)) {
            self.abort(error);
        }
    }

    fn take_preface(&mut self, rest: &mut &[u8]) -> Result<(), Http2Error> {
        let n = self.input.preface.min(rest.len());
        let (preface, after) = rest.split_at(n);
        let at = PREFACE.len() - self.input.preface;
        if n > 0 && preface != &PREFACE[at..at + n] {
            return Err(protocol("no preface"));
        }
        self.input.preface -= n;
        *rest = after;
        Ok(())
    }

    fn take_frames(
        &mut self,
        rest: &mut &[u8],
        counts: &mut impl FnMut(FrameHeader) -> bool,
    ) -> Result<(), Http2Error> {
        while self.may_go_on() {
            if self.input.data.is_some() {
                if !self.take_data(rest)? {
                    return Ok(());
                }
                continue;
            }
            if let Some(frame) = self.input.frame {
                let length = frame.length as usize;
                if self.input.partial.is_empty() && rest.len() >= length {
                    let (payload, after) = rest.split_at(length);
                    *rest = after;
                    self.input.frame = None;
                    self.take_frame(&frame, payload)?;
                } else if self.fill(rest, length) {
                    self.input.frame = None;
                    let mut payload = std::mem::take(&mut self.input.partial);
                    let taken = self.take_frame(&frame, &payload);
                    payload.clear();
                    payload.shrink_to(KEPT);
                    self.input.partial = payload;
                    taken?;
                } else {
                    return Ok(());
                }
                continue;
            }
            let header = if let Some((header, after)) =
                rest.split_first_chunk::<HEADER_LEN>().filter(|_| self.input.partial.is_empty())
            {
                *rest = after;
                FrameHeader::read(header)
            } else if self.fill(rest, HEADER_LEN)
                && let Some(header) = self.input.partial.first_chunk()
            {
                let header = FrameHeader::read(header);
                self.input.partial.clear();
                header
            } else {
                return Ok(());
            };
            if !counts(header) {
                return Ok(());
            }
            self.announce(header)?;
        }
        Ok(())
    }

    fn may_go_on(&self) -> bool {
        self.ending != super::Ending::Failed
    }

    /// Gathers bytes until there are `length`. Returns true once there are.
    fn fill(&mut self, rest: &mut &[u8], length: usize) -> bool {
        let partial = &mut self.input.partial;
        let (more, after) = rest.split_at((length - partial.len()).min(rest.len()));
        partial.extend_from_slice(more);
        *rest = after;
        partial.len() == length
    }

    /// Checks a frame whose payload is still to come.
    fn announce(&mut self, frame: FrameHeader) -> Result<(), Http2Error> {
        // RFC 9113 section 3.4.
        if !self.introduced && (frame.kind != FrameKind::Settings || frame.has(flag::ACK)) {
            return Err(protocol("a first frame that is no SETTINGS"));
        }
        let continued = self.input.block.as_ref().map(|block| block.stream);
        let continues = (frame.kind == FrameKind::Continuation).then_some(frame.stream);
        if continued != continues {
            return Err(protocol("a field section that is interrupted, or continued by nothing"));
        }
        self.input.skip = false;
        if let Err(error) = frame.check(MIN_MAX_FRAME_SIZE) {
            self.fault(frame.stream, error)?;
            self.input.skip = true;
        }
        if frame.kind == FrameKind::Data {
            self.begin_data(&frame)
        } else {
            self.input.frame = Some(frame);
            Ok(())
        }
    }

    /// Acts on an error of the peer. One of a stream that is not open is one of the connection.
    fn fault(&mut self, stream: u32, error: Http2Error) -> Result<(), Http2Error> {
        match (error.scope, self.streams.find(stream)) {
            (ErrorScope::Connection, _) => Err(error),
            (ErrorScope::Stream, Some(key)) => {
                self.faults += 1;
                self.reset(key, error.code);
                Ok(())
            }
            (ErrorScope::Stream, None) if self.is_idle(stream) => {
                Err(Http2Error::connection(error.code, error.reason))
            }
            (ErrorScope::Stream, None) => {
                self.faults += 1;
                Ok(())
            }
        }
    }

    /// Returns true if nobody has opened the stream yet.
    fn is_idle(&self, stream: u32) -> bool {
        stream > self.last_stream || stream % 2 == 0
    }

    fn begin_data(&mut self, frame: &FrameHeader) -> Result<(), Http2Error> {
        let (padded, length) = (frame.has(flag::PADDED), frame.length as usize);
        if padded && length == 0 {
            return Err(Http2Error::connection(Http2Code::FRAME_SIZE_ERROR, "padding without a length"));
        }
        if !self.receive_window.take(length) {
            return Err(Http2Error::connection(Http2Code::FLOW_CONTROL_ERROR, "more than the window of the connection"));
        }
        if self.is_idle(frame.stream) {
            return Err(protocol("DATA on a stream that nobody has opened"));
        }
        let mut key = self.streams.find(frame.stream);
        if let Some(error) = key.and_then(|key| self.take_of_window(key, length)) {
            self.fault(frame.stream, error)?;
            key = None;
        } else if key.is_none() && !self.ignores(frame.stream) {
            // RFC 9113 section 6.1.
            super::frame::reset(&mut self.out, frame.stream, Http2Code::STREAM_CLOSED);
            self.faults += 1;
        }
        self.input.data =
            Some(DataInput { key, padded, left: length, padding: 0, ends: frame.has(flag::END_STREAM) });
        Ok(())
    }

    /// Counts a DATA frame in the window of its stream. Returns what is wrong with it.
    fn take_of_window(&mut self, key: StreamKey, length: usize) -> Option<Http2Error> {
        let stream = self.streams.get_mut(key)?;
        match stream.receiving {
            Direction::Ended => Some(CLOSED),
            Direction::Head => Some(stream_error("DATA before a head")),
            Direction::Body if stream.receive_window.take(length) => None,
            Direction::Body => Some(Http2Error::stream(Http2Code::FLOW_CONTROL_ERROR, "more than the stream's window")),
        }
    }

    /// Takes what has come of a DATA frame. Returns false if that is not all.
    fn take_data(&mut self, rest: &mut &[u8]) -> Result<bool, Http2Error> {
        let Some(mut data) = self.input.data else { return Ok(true) };
        if data.padded {
            let Some((&padding, after)) = rest.split_first() else { return Ok(false) };
            *rest = after;
            data.padded = false;
            data.padding = usize::from(padding);
            data.left = (data.left - 1).checked_sub(data.padding).ok_or(protocol("padding as long as its frame"))?;
            // It is read at once.
            self.free(data.key, 1 + data.padding);
        }
        let (piece, after) = rest.split_at(data.left.min(rest.len()));
        *rest = after;
        data.left -= piece.len();
        if !piece.is_empty() {
            self.hold(&mut data, piece);
        }
        let skipped = if data.left == 0 { data.padding.min(rest.len()) } else { 0 };
        data.padding -= skipped;
        *rest = &rest[skipped..];
        if data.left > 0 || data.padding > 0 {
            self.input.data = Some(data);
            return Ok(false);
        }
        self.input.data = None;
        if data.ends
            && let Some(key) = data.key
        {
            self.end(key);
        }
        Ok(true)
    }

    /// Holds body bytes until they are read, unless nobody wants them.
    fn hold(&mut self, data: &mut DataInput, piece: &[u8]) {
        let stream = data.key.and_then(|key| self.streams.get_mut(key)).filter(|stream| stream.reset.is_none());
        let Some(stream) = stream else { return self.free(None, piece.len()) };
        let fits = stream.content_left.is_none_or(|left| piece.len() as u64 <= left);
        if fits {
            stream.content_left = stream.content_left.map(|left| left - piece.len() as u64);
            stream.held.extend_from_slice(piece);
            if let Some(key) = data.key {
                self.change(key);
            }
        } else {
            self.free(None, piece.len());
            self.reset_malformed(data.key.take());
        }
    }

    /// Ends what the peer sends on a stream.
    fn end(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.reset.is_none()) else { return };
        if stream.content_left.is_some_and(|left| left > 0) {
            return self.reset_malformed(Some(key));
        }
        stream.receiving = Direction::Ended;
        if stream.is_closed() {
            self.streams.close(key);
        }
        self.change(key);
    }

    /// Resets a stream whose message is malformed (RFC 9113 section 8.1.1).
    fn reset_malformed(&mut self, key: Option<StreamKey>) {
        if let Some(key) = key {
            self.faults += 1;
            self.reset(key, Http2Code::PROTOCOL_ERROR);
        }
    }

    /// Appends what was received of a stream: its heads, and at most `room` bytes of its body.
    pub fn read(&mut self, key: StreamKey, into: &mut Vec<u8>, room: usize) -> Received {
        let Some(stream) = self.streams.get_mut(key) else { return RELEASED };
        let (heads, body) = (stream.heads, stream.body_held().min(room.saturating_sub(stream.heads)));
        if heads + body == 0 {
            return match (stream.receiving, stream.reset) {
                (Direction::Ended, _) => Received::End,
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

    /// Takes the trailer lines that ended the message, with the blank line behind them. Empty if there were none.
    pub fn take_trailers(&mut self, key: StreamKey, into: &mut Vec<u8>) {
        if let Some(stream) = self.streams.get_mut(key) {
            into.extend_from_slice(&stream.trailers);
            stream.trailers.clear();
        }
    }

    /// Lets the peer send as many bytes again.
    fn free(&mut self, key: Option<StreamKey>, bytes: usize) {
        let limits = self.limits;
        if let Some(stream) = key.and_then(|key| self.streams.get_mut(key))
            && stream.receiving != Direction::Ended
            && stream.reset.is_none()
            && let Some(more) = stream.receive_window.read(bytes, limits.stream_window)
        {
            super::frame::window_update(&mut self.out, stream.id, more);
        }
        if self.ending != super::Ending::Failed
            && let Some(more) = self.receive_window.read(bytes, limits.connection_window)
        {
            super::frame::window_update(&mut self.out, 0, more);
        }
    }

    /// Forgets what was received of a stream and nobody reads.
    pub(super) fn discard(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key) {
            let bytes = stream.discard_held();
            if bytes > 0 {
                // What its reader has is not all.
                stream.receiving = Direction::Body;
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

    /// Returns true between the frames of the peer, and outside of a field section.
    pub fn is_within_head(&self) -> bool {
        self.input.block.is_some() || self.input.frame.is_some_and(|frame| frame.kind == FrameKind::Headers)
    }

    /// Remembers a stream whose late frames mean nothing.
    pub(super) fn remember_reset(&mut self, id: u32) {
        if self.recent_resets.len() == super::RECENT_RESETS {
            self.recent_resets.pop_front();
        }
        self.recent_resets.push_back(id);
    }

    /// Returns true if frames of a closed stream mean nothing: its peer may have sent them before it knew. Of an
    /// instance, any may have come late.
    fn ignores(&self, stream: u32) -> bool {
        self.role == super::Role::Client
            || self.recent_resets.contains(&stream)
            || matches!(self.ending, super::Ending::Last(last) if stream > last)
    }
}

const RELEASED_RESET: StreamReset = StreamReset { code: None, unprocessed: false };
const RELEASED: Received = Received::Reset(RELEASED_RESET);
const CLOSED: Http2Error = Http2Error::stream(Http2Code::STREAM_CLOSED, "a frame behind the end of its stream");

fn protocol(reason: &'static str) -> Http2Error {
    Http2Error::connection(Http2Code::PROTOCOL_ERROR, reason)
}

fn stream_error(reason: &'static str) -> Http2Error {
    Http2Error::stream(Http2Code::PROTOCOL_ERROR, reason)
}
