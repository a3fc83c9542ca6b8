//! What the owner of a stream sends.

use super::state::{Http2Connection, Role};
use crate::Name;
use crate::http2::error::Http2Code;
use crate::http2::frame;
use crate::http2::head_fields::{self, HeadLines, HeadUnfit};
use crate::http2::stream::{Stream, StreamKey, StreamProgress, StreamReset};

/// Most bytes of a stream that are taken at once.
const MAX_WRITE: usize = 64 * 1024;

/// What has become of bytes that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamSent {
    /// So many of them are on their way.
    Bytes(usize),
    /// None of them, until an event says that the stream has changed: the peer has to widen a window.
    Blocked,
    /// None of them, until an event says that the stream has changed: output has to be written, or it is the turn of
    /// others.
    Queued,
    /// The stream takes none any more.
    Broken,
    /// They make no head of HTTP/2.
    Unfit,
}

impl Http2Connection {
    /// Opens a stream with the head at the start of `text`. `scheme` is that of the address. `ends`: there is no body,
    /// if nothing follows the head in `text`. Returns the stream and the length of the head. To be called only if
    /// [a stream can be opened](Self::may_open).
    pub fn open(&mut self, text: &[u8], scheme: &[u8], ends: bool) -> Result<(StreamKey, usize), HeadUnfit> {
        let head = HeadLines::read(text, &mut self.lines)?;
        let mut parts = head.first.splitn(3, |&byte| byte == b' ');
        let (method, target) = (parts.next().ok_or(HeadUnfit)?, parts.next().ok_or(HeadUnfit)?);
        let mut encoded = Vec::new();
        let path = head_fields::path(target, &mut encoded);
        let mut host = None;
        let mut size = 0;
        for line in &self.lines {
            if line.id == Name::Host {
                host = Some(line.value.of(text));
            } else {
                size += head_fields::size(line.name.of(text), line.value.of(text));
            }
        }
        let host = host.ok_or(HeadUnfit)?;
        let pseudo = [(&b":method"[..], method), (b":scheme", scheme), (b":authority", host), (b":path", path)];
        size += pseudo.iter().map(|&(name, value)| head_fields::size(name, value)).sum::<usize>();
        if self.peer.max_header_list_size.is_some_and(|max| size > max as usize) {
            return Err(HeadUnfit);
        }
        self.last_stream = if self.last_stream == 0 { 1 } else { self.last_stream + 2 };
        let ends = ends && head.len == text.len();
        let (encoder, lines) = (&mut self.encoder, &self.lines);
        frame::block(&mut self.out, self.last_stream, ends, self.peer.max_frame_size as usize, |out| {
            for (name, value) in pseudo {
                encoder.encode(out, name, value, false);
            }
            for line in lines.iter().filter(|line| !matches!(line.id, Name::Host | Name::Te)) {
                head_fields::encode(encoder, text, line, out);
            }
            // The gateway accepts trailers (RFC 9110 section 10.1.4), and gRPC requires this field.
            encoder.encode(out, b"te", b"trailers", false);
        });
        let window = self.stream_window();
        let key = self.streams.open_stream(self.last_stream, self.peer.initial_window_size, window);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.sending = if ends { StreamProgress::Ended } else { StreamProgress::Body };
            stream.bodiless = method == b"HEAD";
        }
        Ok((key, head.len))
    }

    /// Sends the response head at the start of `text`. `ends` is as for [`open`](Self::open). `upgraded`: it grants a
    /// WebSocket (RFC 8441 section 5.1). Interim heads may come before the final one.
    pub fn respond(&mut self, key: StreamKey, text: &[u8], ends: bool, upgraded: bool) -> StreamSent {
        if !self.streams.get(key).is_some_and(|stream| stream.reset.is_none() && stream.sending == StreamProgress::Head)
        {
            return StreamSent::Broken;
        }
        if !self.has_room() {
            self.waiting_heads.push(key);
            return StreamSent::Queued;
        }
        let Ok(head) = HeadLines::read(text, &mut self.lines) else { return StreamSent::Unfit };
        let Some(status) = head.first.get(9..12) else { return StreamSent::Unfit };
        let interim = status[0] == b'1' && !upgraded;
        let ends = ends && !interim && head.len == text.len();
        let (encoder, lines) = (&mut self.encoder, &self.lines);
        frame::block(&mut self.out, key.id, ends, self.peer.max_frame_size as usize, |out| {
            encoder.encode(out, b":status", if upgraded { b"200" } else { status }, false);
            for line in lines.iter().filter(|line| !(upgraded && line.id == Name::SecWebsocketAccept)) {
                head_fields::encode(encoder, text, line, out);
            }
        });
        if !interim {
            self.sent(key, ends);
        }
        StreamSent::Bytes(head.len)
    }

    /// Sends body bytes, as far as the windows, the output and the shares of others allow. `ends`: the message ends
    /// with the last of them.
    pub fn send_data(&mut self, key: StreamKey, bytes: &[u8], ends: bool) -> StreamSent {
        let Some(stream) = self.writable(key) else { return StreamSent::Broken };
        let (share, window) = (stream.share, stream.send_window.available());
        if window == 0 && !bytes.is_empty() {
            stream.blocked = true;
            return StreamSent::Blocked;
        }
        let most = bytes.len().min(window).min(MAX_WRITE);
        let n = most.min(self.room_of(share));
        if n == 0 && !bytes.is_empty() {
            self.wait_for_share(key);
            return if self.send_window.available() == 0 { StreamSent::Blocked } else { StreamSent::Queued };
        }
        let ends = ends && n == bytes.len();
        let left = self.use_share(share, n);
        self.send_window.spend(n);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.send_window.spend(n);
            stream.share = left;
        }
        let max = self.peer.max_frame_size as usize;
        let mut rest = &bytes[..n];
        loop {
            let (piece, after) = rest.split_at(rest.len().min(max));
            rest = after;
            frame::data(&mut self.out, key.id, piece.len(), ends && rest.is_empty());
            self.out.extend_from_slice(piece);
            if rest.is_empty() {
                break;
            }
        }
        if ends {
            self.sent(key, true);
        }
        StreamSent::Bytes(n)
    }

    /// Ends the message with these trailer lines. Returns false if it has ended or not begun.
    pub fn send_trailers(&mut self, key: StreamKey, lines: &[u8]) -> bool {
        if self.writable(key).is_none() {
            return false;
        }
        head_fields::read_lines(lines, 0, &mut self.lines);
        let (encoder, fields) = (&mut self.encoder, &self.lines);
        frame::block(&mut self.out, key.id, true, self.peer.max_frame_size as usize, |out| {
            for field in fields {
                head_fields::encode(encoder, lines, field, out);
            }
        });
        self.sent(key, true);
        true
    }

    /// The stream, if its body may be sent.
    fn writable(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.streams.get_mut(key).filter(|stream| stream.reset.is_none() && stream.sending == StreamProgress::Body)
    }

    /// Records that a head was sent, or the end of the message.
    fn sent(&mut self, key: StreamKey, ends: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.sending = if ends { StreamProgress::Ended } else { StreamProgress::Body };
        if stream.is_closed() {
            self.streams.close(key);
        }
    }

    /// Resets the stream, unless it is closed.
    pub fn reset(&mut self, key: StreamKey, code: Http2Code) {
        let Some(stream) = self.streams.get(key).filter(|stream| !stream.is_closed()) else { return };
        if stream.receiving != StreamProgress::Ended && self.role == Role::Server {
            self.remember_reset(key.id);
        }
        frame::reset(&mut self.out, key.id, code);
        self.cut(key, StreamReset { code: Some(code), unprocessed: false });
        self.discard(key);
    }

    /// Gives a stream back. One that is not closed is reset: nobody reads or writes it any more.
    pub fn release(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        // A client that has its answer takes this for what it is (RFC 9113 section 8.1).
        let answered = self.role == Role::Server && stream.sending == StreamProgress::Ended;
        self.reset(key, if answered { Http2Code::NO_ERROR } else { Http2Code::CANCEL });
        self.discard(key);
        self.forget_share(key);
        self.waiting_heads.retain(|&waiting| waiting != key);
        self.streams.release(key);
    }
}
