//! The state of a connection, and what concerns it as a whole.

use std::collections::VecDeque;

use super::input::Input;
use super::turns::ShareQueue;
use crate::Field;
use crate::http2::error::{Http2Code, Http2Error};
use crate::http2::frame;
use crate::http2::head_text::HeadScratch;
use crate::http2::hpack::{HpackDecoder, HpackEncoder};
use crate::http2::settings::{Settings, identifier};
use crate::http2::stream::{StreamKey, StreamReset, Streams};
use crate::http2::window::{DEFAULT_WINDOW, ReceiveWindow, SendWindow};

/// What a client sends before its first frame (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of output beyond which streams wait.
pub(super) const MAX_OUTPUT: usize = 64 * 1024;
/// Bytes of output beyond which the owner should read nothing: what it reads may have to be answered.
pub(super) const MAX_REPLIES: usize = 2 * MAX_OUTPUT;
/// Bytes of memory that a buffer keeps while there are streams.
const KEPT: usize = 16 * 1024;
/// Largest table of HPACK, and what it is before settings (RFC 9113 section 6.5.2).
const TABLE: usize = 4096;
/// How many times the size of a head a list of fields may have before it is taken for an attack.
pub(super) const MAX_LISTS: usize = 4;
/// Streams that a server has reset whose late frames are ignored.
pub(super) const RECENT_RESETS: usize = 128;
/// Streams that may be open before the peer has said how many.
const MAX_STREAMS: u32 = 100;
/// The largest number of a stream.
const LAST_STREAM: u32 = 0x7FFF_FFFF;
/// What the PING of a shutdown carries.
pub(super) const SHUTDOWN: [u8; 8] = *b"shutdown";

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer opens streams.
    Server,
    /// This side opens streams. Nothing may be pushed to it.
    Client,
}

/// What a side of a connection grants the other.
#[derive(Clone, Copy, Debug)]
pub struct Http2Grants {
    /// Streams that the peer may have open. Nothing for clients.
    pub max_streams: u32,
    /// Bytes of one stream that are held.
    pub stream_window: u32,
    /// Bytes of all streams that are held.
    pub connection_window: u32,
    /// Size in bytes of a head as HTTP/1.1.
    pub max_head: usize,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Event {
    /// The peer has opened a stream, whose head can be read.
    Opened(StreamKey),
    /// More of a stream can be read or written, or it was reset.
    Changed(StreamKey),
}

/// How far the end of the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Open,
    /// The peer was told that the end is near. Once it has answered, it is told the last stream.
    Announced,
    /// The peer was told the last stream.
    Last(u32),
    /// It has failed, or was lost.
    Failed,
}

/// One connection.
#[derive(Debug)]
pub struct Http2Connection {
    pub(super) role: Role,
    pub(super) limits: Http2Grants,
    pub(super) peer: Settings,
    /// The peer has acknowledged this side's settings.
    pub(super) acknowledged: bool,
    /// The peer has sent its settings.
    pub(super) introduced: bool,
    pub(super) ending: Ending,
    /// The last stream that the peer will answer, from its GOAWAY.
    pub(super) peer_last: Option<u32>,
    pub(super) streams: Streams,
    /// The greatest number of a stream that was opened.
    pub(super) last_stream: u32,
    pub(super) recent_resets: VecDeque<u32>,
    pub(super) input: Input,
    pub(super) decoder: HpackDecoder,
    pub(super) encoder: HpackEncoder,
    pub(super) scratch: HeadScratch,
    /// The field lines of what is sent.
    pub(super) lines: Vec<Field>,
    pub(super) receive_window: ReceiveWindow,
    pub(super) send_window: SendWindow,
    pub(super) out: Vec<u8>,
    /// Bytes at the start of `out` that were written.
    pub(super) written: usize,
    pub(super) share: ShareQueue,
    /// Streams whose heads wait for room in `out`.
    pub(super) waiting_heads: Vec<StreamKey>,
    pub(super) events: VecDeque<Http2Event>,
    /// Streams reset because the peer has made a mistake, which nobody has counted yet.
    pub(super) faults: u32,
    pub(super) failure: Option<Http2Error>,
}

impl Http2Connection {
    /// The side of a connection that clients speak to. It begins by saying what it grants.
    pub fn server(limits: Http2Grants) -> Self {
        let mut connection = Self::new(Role::Server, limits, PREFACE.len());
        let settings = [
            (identifier::MAX_CONCURRENT_STREAMS, limits.max_streams),
            (identifier::INITIAL_WINDOW_SIZE, limits.stream_window),
            (identifier::MAX_HEADER_LIST_SIZE, limits.max_head as u32),
            (identifier::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        connection.begin(&settings);
        connection
    }

    /// The side that sends requests.
    pub fn client(limits: Http2Grants) -> Self {
        let mut connection = Self::new(Role::Client, limits, 0);
        connection.out.extend_from_slice(PREFACE);
        let settings = [
            (identifier::ENABLE_PUSH, 0),
            (identifier::INITIAL_WINDOW_SIZE, limits.stream_window),
            (identifier::MAX_HEADER_LIST_SIZE, limits.max_head as u32),
        ];
        connection.begin(&settings);
        connection
    }

    fn new(role: Role, limits: Http2Grants, preface: usize) -> Self {
        Self {
            role,
            limits,
            peer: Settings::default(),
            acknowledged: false,
            introduced: false,
            ending: Ending::Open,
            peer_last: None,
            streams: Streams::default(),
            last_stream: 0,
            recent_resets: VecDeque::new(),
            input: Input::new(preface),
            decoder: HpackDecoder::new(TABLE, limits.max_head.saturating_mul(MAX_LISTS)),
            encoder: HpackEncoder::new(),
            scratch: HeadScratch::default(),
            lines: Vec::new(),
            receive_window: ReceiveWindow::new(DEFAULT_WINDOW),
            send_window: SendWindow::new(DEFAULT_WINDOW),
            out: Vec::new(),
            written: 0,
            share: ShareQueue::default(),
            waiting_heads: Vec::new(),
            events: VecDeque::new(),
            faults: 0,
            failure: None,
        }
    }

    /// Sends the first settings and opens the window of the connection.
    fn begin(&mut self, settings: &[(u16, u32)]) {
        frame::settings(&mut self.out, settings);
        if let Some(more @ 1..) = self.limits.connection_window.checked_sub(DEFAULT_WINDOW) {
            self.receive_window.resize(i64::from(more));
            frame::window_update(&mut self.out, 0, more);
        }
    }

    /// What is to be written to the peer.
    pub fn output(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// Records that the first `bytes` of the output were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.written = 0;
            self.out.clear();
            if self.out.capacity() > KEPT {
                self.out = Vec::new();
            }
        } else if self.written >= MAX_OUTPUT {
            self.out.drain(..self.written);
            self.written = 0;
        }
        if !self.waiting_heads.is_empty() && self.has_room() {
            for key in std::mem::take(&mut self.waiting_heads) {
                self.change(key);
            }
        }
    }

    /// Returns true while streams need not wait until output is written.
    pub(super) fn has_room(&self) -> bool {
        self.output().len() < MAX_OUTPUT
    }

    /// Returns true if more may be read from the peer. Not while it takes none of what it is told.
    pub fn may_receive(&self) -> bool {
        self.output().len() < MAX_REPLIES && self.ending != Ending::Failed
    }

    /// Takes what has changed.
    pub fn next_event(&mut self) -> Option<Http2Event> {
        let event = self.events.pop_front()?;
        if let Http2Event::Changed(key) = event
            && let Some(stream) = self.streams.get_mut(key)
        {
            stream.changed = false;
        }
        Some(event)
    }

    pub(super) fn change(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key)
            && !std::mem::replace(&mut stream.changed, true)
        {
            self.events.push_back(Http2Event::Changed(key));
        }
    }

    /// Takes the number of streams that were reset because of mistakes of the peer.
    pub fn take_faults(&mut self) -> u32 {
        std::mem::take(&mut self.faults)
    }

    /// Streams on which one side may still send something.
    pub fn open_streams(&self) -> usize {
        self.streams.open()
    }

    /// Most streams that the peer lets this side have open.
    pub fn max_open(&self) -> usize {
        self.peer.max_concurrent_streams.unwrap_or(if self.introduced { u32::MAX } else { MAX_STREAMS }) as usize
    }

    /// Returns true if this side, a client, may open streams: the connection has not ended, and is not about to.
    pub fn is_usable(&self) -> bool {
        self.ending == Ending::Open && self.peer_last.is_none() && self.last_stream < LAST_STREAM - 1
    }

    /// Returns true if a stream can be opened at once.
    pub fn may_open(&self) -> bool {
        self.is_usable() && self.has_room() && self.open_streams() < self.max_open()
    }

    /// Why the connection has failed, if the peer is to blame.
    pub fn failure(&self) -> Option<Http2Error> {
        self.failure
    }

    /// Returns true once there is nothing more to receive or to send, besides the output.
    pub fn is_over(&self) -> bool {
        match self.ending {
            Ending::Failed => true,
            Ending::Last(_) => self.open_streams() == 0,
            Ending::Open | Ending::Announced => self.peer_last.is_some() && self.open_streams() == 0,
        }
    }

    /// Finishes open streams and begins no more. A server first announces it, and takes what was on its way meanwhile
    /// (RFC 9113 section 6.8).
    pub fn shut_down(&mut self) {
        if self.ending != Ending::Open {
            return;
        }
        if self.role == Role::Server && self.introduced {
            self.ending = Ending::Announced;
            frame::go_away(&mut self.out, LAST_STREAM, Http2Code::NO_ERROR, b"");
            frame::ping(&mut self.out, SHUTDOWN, false);
        } else {
            self.say_last();
        }
    }

    pub(super) fn say_last(&mut self) {
        let last = if self.role == Role::Server { self.last_stream } else { 0 };
        self.ending = Ending::Last(last);
        frame::go_away(&mut self.out, last, Http2Code::NO_ERROR, b"");
    }

    /// Ends the connection with an error of the peer, and all its streams.
    pub fn abort(&mut self, error: Http2Error) {
        if self.ending != Ending::Failed {
            let last = if self.role == Role::Server { self.last_stream } else { 0 };
            frame::go_away(&mut self.out, last, error.code, b"");
            self.failure = Some(error);
            self.fail();
        }
    }

    /// Ends all streams, because the socket has ended.
    pub fn lose(&mut self) {
        if self.ending != Ending::Failed {
            self.out.clear();
            self.written = 0;
            self.fail();
        }
    }

    fn fail(&mut self) {
        self.ending = Ending::Failed;
        let keys: Vec<_> = self.streams.keys().collect();
        for key in keys {
            self.cut(key, StreamReset { code: None, unprocessed: false });
        }
    }

    /// The window in which a new stream of the peer begins.
    pub(super) fn stream_window(&self) -> u32 {
        if self.acknowledged { self.limits.stream_window } else { DEFAULT_WINDOW }
    }

    /// Closes a stream without a word, unless it was cut off before.
    pub(super) fn cut(&mut self, key: StreamKey, reset: StreamReset) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.reset.get_or_insert(reset);
            self.streams.close(key);
            self.change(key);
        }
    }

    /// Gives memory back on a connection without streams.
    pub fn rest(&mut self) {
        if self.streams.in_use() == 0 && self.out.is_empty() {
            self.streams.rest();
            self.input.rest();
            self.scratch.rest();
            self.recent_resets = VecDeque::new();
            self.events = VecDeque::new();
            self.share = ShareQueue::default();
            (self.lines, self.out, self.waiting_heads) = (Vec::new(), Vec::new(), Vec::new());
        }
    }
}
