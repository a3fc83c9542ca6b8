//! Takes bytes of the peer apart: the preface, frames, bodies.

use super::input::DataInput;
use super::mistakes::{CLOSED, protocol, stream_error};
use super::state::{Ending, Http2Connection, PREFACE, RECENT_RESETS, Role};
use crate::http2::error::{ErrorScope, Http2Code, Http2Error};
use crate::http2::frame::{self, FrameHeader, FrameKind, HEADER_LEN, flag};
use crate::http2::settings::MIN_MAX_FRAME_SIZE;
use crate::http2::stream::{StreamKey, StreamProgress};

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
                    let payload = std::mem::take(&mut self.input.partial);
                    let taken = self.take_frame(&frame, &payload);
                    self.input.give_back(payload);
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
        self.ending != Ending::Failed
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

    /// Acts on an error of the peer. One of a stream that nobody has opened is one of the connection.
    pub(super) fn fault(&mut self, stream: u32, error: Http2Error) -> Result<(), Http2Error> {
        match (error.scope, self.streams.find(stream)) {
            (ErrorScope::Connection, _) => Err(error),
            (ErrorScope::Stream, Some(key)) => {
                self.faults += 1;
                self.reset(key, error.code);
                Ok(())
            }
            (ErrorScope::Stream, None) if self.is_idle(stream) => Err(Http2Error::connection(error.code, error.reason)),
            (ErrorScope::Stream, None) => {
                self.faults += 1;
                if !self.ignores(stream) {
                    frame::reset(&mut self.out, stream, error.code);
                }
                Ok(())
            }
        }
    }

    /// Returns true if nobody has opened the stream yet.
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        stream > self.last_stream || stream.is_multiple_of(2)
    }

    fn begin_data(&mut self, frame: &FrameHeader) -> Result<(), Http2Error> {
        let (padded, length) = (frame.has(flag::PADDED), frame.length as usize);
        if padded && length == 0 {
            return Err(Http2Error::connection(Http2Code::FRAME_SIZE_ERROR, "padding without a length"));
        }
        if !self.receive_window.take(length) {
            return Err(Http2Error::connection(
                Http2Code::FLOW_CONTROL_ERROR,
                "more than the window of the connection",
            ));
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
            frame::reset(&mut self.out, frame.stream, Http2Code::STREAM_CLOSED);
            self.faults += 1;
        }
        self.input.data = Some(DataInput { key, padded, left: length, padding: 0, ends: frame.has(flag::END_STREAM) });
        Ok(())
    }

    /// Counts a DATA frame in the window of its stream. Returns what is wrong with it.
    fn take_of_window(&mut self, key: StreamKey, length: usize) -> Option<Http2Error> {
        let stream = self.streams.get_mut(key)?;
        match stream.receiving {
            StreamProgress::Ended => Some(CLOSED),
            StreamProgress::Head => Some(stream_error("DATA before a head")),
            StreamProgress::Body if stream.receive_window.take(length) => None,
            StreamProgress::Body => {
                Some(Http2Error::stream(Http2Code::FLOW_CONTROL_ERROR, "more than the stream's window"))
            }
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
    pub(super) fn end(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.reset.is_none()) else { return };
        if stream.content_left.is_some_and(|left| left > 0) {
            return self.reset_malformed(Some(key));
        }
        stream.receiving = StreamProgress::Ended;
        if stream.is_closed() {
            self.streams.close(key);
        }
        self.change(key);
    }

    /// Resets a stream whose message is malformed (RFC 9113 section 8.1.1).
    pub(super) fn reset_malformed(&mut self, key: Option<StreamKey>) {
        if let Some(key) = key {
            self.faults += 1;
            self.reset(key, Http2Code::PROTOCOL_ERROR);
        }
    }

    /// Returns true between the frames of the peer, and outside of a field section.
    pub fn is_within_head(&self) -> bool {
        self.input.block.is_some() || self.input.frame.is_some_and(|frame| frame.kind == FrameKind::Headers)
    }

    /// Remembers a stream whose late frames mean nothing.
    pub(super) fn remember_reset(&mut self, id: u32) {
        if self.recent_resets.len() == RECENT_RESETS {
            self.recent_resets.pop_front();
        }
        self.recent_resets.push_back(id);
    }

    /// Returns true if frames of a closed stream mean nothing: its peer may have sent them before it knew. Of an
    /// instance, any may have come late.
    pub(super) fn ignores(&self, stream: u32) -> bool {
        self.role == Role::Client
            || self.recent_resets.contains(&stream)
            || matches!(self.ending, Ending::Last(last) if stream > last)
    }
}
