//! Heads and trailers that the peer sends.

use super::input::BlockInput;
use super::mistakes::{CLOSED, protocol, stream_error};
use super::state::{Ending, Http2Connection, Http2Event, MAX_LISTS, Role};
use crate::http2::error::{Http2Code, Http2Error};
use crate::http2::frame::{self, FrameHeader, HeadersPayload, flag};
use crate::http2::head_text::{HeadFacts, HeadText, Section};
use crate::http2::hpack::HpackError;
use crate::http2::stream::{StreamKey, StreamProgress};

/// A complete block.
struct FieldBlock<'a> {
    stream: u32,
    bytes: &'a [u8],
    ends: bool,
    depends_on_itself: bool,
}

impl Http2Connection {
    pub(super) fn take_headers(
        &mut self,
        header: &FrameHeader,
        headers: &HeadersPayload<'_>,
    ) -> Result<(), Http2Error> {
        let (stream, ends) = (header.stream, header.has(flag::END_STREAM));
        let depends_on_itself = headers.depends_on_itself;
        if header.has(flag::END_HEADERS) {
            return self.take_block(&FieldBlock { stream, bytes: headers.block, ends, depends_on_itself });
        }
        self.input.block = Some(BlockInput { stream, bytes: headers.block.to_vec(), ends, depends_on_itself });
        Ok(())
    }

    pub(super) fn take_continuation(&mut self, header: &FrameHeader, more: &[u8]) -> Result<(), Http2Error> {
        let Some(mut block) = self.input.block.take() else { return Ok(()) };
        block.bytes.extend_from_slice(more);
        // Its fields would be larger still, unless Huffman's code is against it.
        if block.bytes.len() > self.limits.max_head.saturating_mul(MAX_LISTS) {
            return Err(TOO_LARGE);
        }
        if !header.has(flag::END_HEADERS) {
            self.input.block = Some(block);
            return Ok(());
        }
        let BlockInput { stream, ref bytes, ends, depends_on_itself } = block;
        self.take_block(&FieldBlock { stream, bytes, ends, depends_on_itself })
    }

    fn take_block(&mut self, block: &FieldBlock<'_>) -> Result<(), Http2Error> {
        match self.streams.find(block.stream) {
            Some(key) => self.take_more_fields(key, block),
            None if self.role == Role::Server && self.is_idle(block.stream) => self.take_request(block),
            None if self.is_idle(block.stream) => Err(protocol("HEADERS on a stream that nobody has opened")),
            None if self.ignores(block.stream) => self.drop_block(block),
            None => Err(Http2Error::connection(Http2Code::STREAM_CLOSED, CLOSED.reason)),
        }
    }

    /// Keeps the table in step with a block that nobody wants.
    fn drop_block(&mut self, block: &FieldBlock<'_>) -> Result<(), Http2Error> {
        match self.decoder.decode(block.bytes, |_| Ok::<_, ()>(())) {
            Ok(()) => Ok(()),
            Err(error) => Err(decoding(&error)),
        }
    }

    fn take_request(&mut self, block: &FieldBlock<'_>) -> Result<(), Http2Error> {
        if block.stream.is_multiple_of(2) {
            return Err(protocol("a stream of a client with an even number"));
        }
        self.last_stream = block.stream;
        if matches!(self.ending, Ending::Last(_)) {
            return self.drop_block(block);
        }
        let max = self.limits.max_streams as usize;
        // Streams that were reset count until their owners know.
        if self.streams.open() >= max || self.streams.in_use() >= max.saturating_mul(2) {
            self.drop_block(block)?;
            // Before the client can know better, it makes no mistake.
            self.faults += u32::from(self.acknowledged);
            self.remember_reset(block.stream);
            frame::reset(&mut self.out, block.stream, Http2Code::REFUSED_STREAM);
            return Ok(());
        }
        let window = self.stream_window();
        let key = self.streams.open_stream(block.stream, self.peer.initial_window_size, window);
        let read = self.read_block(key, Section::Request, block)?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        stream.receiving = if block.ends { StreamProgress::Ended } else { StreamProgress::Body };
        match read {
            Ok(facts) => {
                stream.websocket = facts.websocket;
                stream.content_left = facts.content_length;
                if block.ends && facts.content_length.is_some_and(|length| length > 0) {
                    stream.refusal = Some("a body that is shorter than its Content-Length");
                }
            }
            Err(reason) => stream.refusal = Some(reason),
        }
        if block.depends_on_itself {
            stream.refusal = Some("a stream that depends on itself");
        }
        self.faults += u32::from(stream.refusal.is_some());
        self.events.push_back(Http2Event::Opened(key));
        Ok(())
    }

    /// Takes trailers, or the head of a response.
    fn take_more_fields(&mut self, key: StreamKey, block: &FieldBlock<'_>) -> Result<(), Http2Error> {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let (section, wrong) = match stream.receiving {
            StreamProgress::Ended => (Section::Trailers, Some(CLOSED)),
            StreamProgress::Body if !block.ends => (Section::Trailers, Some(stream_error("trailers without an end"))),
            StreamProgress::Body => (Section::Trailers, None),
            StreamProgress::Head if stream.heads > self.limits.max_head => (Section::Response, Some(TOO_MANY)),
            StreamProgress::Head => (Section::Response, None),
        };
        if let Some(error) = wrong {
            self.drop_block(block)?;
            return self.fault(block.stream, error);
        }
        let read = self.read_block(key, section, block)?;
        let facts = match read {
            Err(reason) => return self.fault(block.stream, stream_error(reason)),
            Ok(_) if block.depends_on_itself => {
                return self.fault(block.stream, stream_error("a stream that depends on itself"));
            }
            Ok(facts) => facts,
        };
        if section == Section::Response {
            let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
            if facts.status < 200 {
                if block.ends {
                    return self.fault(block.stream, stream_error("an interim response that ends"));
                }
                self.change(key);
                return Ok(());
            }
            stream.receiving = StreamProgress::Body;
            let bodiless = stream.bodiless || matches!(facts.status, 204 | 304);
            stream.content_left = if bodiless { Some(0) } else { facts.content_length };
        }
        if block.ends {
            self.end(key);
        }
        self.change(key);
        Ok(())
    }

    /// Writes the fields of a block as text. Fails if the connection has to end; the result is an error if the message
    /// is malformed.
    fn read_block(
        &mut self,
        key: StreamKey,
        section: Section,
        block: &FieldBlock<'_>,
    ) -> Result<Result<HeadFacts, &'static str>, Http2Error> {
        let Self { decoder, streams, scratch, limits, .. } = self;
        let Some(stream) = streams.get_mut(key) else { return Ok(Err("no stream")) };
        let out = if section == Section::Trailers { &mut stream.trailers } else { &mut stream.held };
        let start = out.len();
        let mut head = HeadText::new(section, limits.max_head, out, &mut stream.lines, scratch);
        let read = match decoder.decode(block.bytes, |field| head.field(field)) {
            Ok(()) => head.finish(!block.ends),
            Err(HpackError::Refused(reason)) => Err(reason),
            Err(error) => return Err(decoding(&error)),
        };
        if read.is_err() {
            out.truncate(start);
        } else if section != Section::Trailers {
            stream.heads += stream.held.len() - start;
        }
        Ok(read)
    }
}

const TOO_MANY: Http2Error = Http2Error::stream(Http2Code::ENHANCE_YOUR_CALM, "interim responses that nobody reads");
const TOO_LARGE: Http2Error = Http2Error::connection(Http2Code::ENHANCE_YOUR_CALM, "a field section that is too large");

fn decoding<E>(error: &HpackError<E>) -> Http2Error {
    match *error {
        HpackError::Compression(reason) => Http2Error::connection(Http2Code::COMPRESSION_ERROR, reason),
        HpackError::ListTooLarge | HpackError::Refused(_) => TOO_LARGE,
    }
}
