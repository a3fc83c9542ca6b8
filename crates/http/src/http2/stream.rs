//! Streams of a connection, in slots that are used again.

use super::error::Http2Code;
use super::window::{ReceiveWindow, SendWindow};
use crate::KnownLines;

/// Most bytes of memory that a slot keeps for the next stream, or a stream for its next bytes.
const KEPT: usize = 16 * 1024;
/// A stream of a connection: its slot, and its number, so that a slot's next stream is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamKey {
    pub(super) slot: u32,
    pub(super) id: u32,
}

impl StreamKey {
    /// The slot, which is less than the number of streams that the connection has had at one time.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// How far one direction of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamProgress {
    /// The head is still to come.
    Head,
    /// The head was complete.
    Body,
    /// The message has ended.
    Ended,
}

/// How a stream was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamReset {
    /// Why, or None if the connection ended.
    pub code: Option<Http2Code>,
    /// True if the peer certainly has not acted on the request (RFC 9113 section 8.7).
    pub unprocessed: bool,
}

/// One stream.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what it waits for, and what its head says, are facts of their own")]
pub(super) struct Stream {
    /// 0 in a slot without stream.
    pub(super) id: u32,
    pub(super) receiving: StreamProgress,
    pub(super) sending: StreamProgress,
    pub(super) reset: Option<StreamReset>,
    pub(super) send_window: SendWindow,
    pub(super) receive_window: ReceiveWindow,
    /// Heads as HTTP/1.1, then body bytes, that were received.
    pub(super) held: Vec<u8>,
    /// Bytes at the start of `held` that were read.
    pub(super) read: usize,
    /// Bytes of heads that follow them.
    pub(super) heads: usize,
    /// The field lines of the request head in `held`.
    pub(super) lines: KnownLines,
    /// Trailer lines that were received.
    pub(super) trailers: Vec<u8>,
    /// Body bytes still to come by `Content-Length`.
    pub(super) content_left: Option<u64>,
    /// Why the request is malformed.
    pub(super) refusal: Option<&'static str>,
    /// The request opens a WebSocket (RFC 8441).
    pub(super) websocket: bool,
    /// The response has no body, whatever its head says.
    pub(super) bodiless: bool,
    /// Bytes that it may write in this turn, although others wait.
    pub(super) share: usize,
    /// It waits for its share.
    pub(super) queued: bool,
    /// It waits for its own window.
    pub(super) blocked: bool,
    /// There is an event for it that nobody has taken.
    pub(super) changed: bool,
}

impl Stream {
    fn new() -> Self {
        Self {
            id: 0,
            receiving: StreamProgress::Head,
            sending: StreamProgress::Head,
            reset: None,
            send_window: SendWindow::new(0),
            receive_window: ReceiveWindow::new(0),
            held: Vec::new(),
            read: 0,
            heads: 0,
            lines: KnownLines::default(),
            trailers: Vec::new(),
            content_left: None,
            refusal: None,
            websocket: false,
            bodiless: false,
            share: 0,
            queued: false,
            blocked: false,
            changed: false,
        }
    }

    /// Makes the slot ready for another stream, and keeps memory.
    fn clear(&mut self) {
        let (mut held, mut trailers) = (std::mem::take(&mut self.held), std::mem::take(&mut self.trailers));
        held.clear();
        held.shrink_to(KEPT);
        trailers.clear();
        trailers.shrink_to(KEPT);
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        *self = Self { held, lines, trailers, ..Self::new() };
    }

    /// Returns true once neither side may send anything more.
    pub(super) fn is_closed(&self) -> bool {
        self.reset.is_some() || (self.receiving == StreamProgress::Ended && self.sending == StreamProgress::Ended)
    }

    /// Body bytes that wait to be read.
    pub(super) fn body_held(&self) -> usize {
        self.held.len() - self.read - self.heads
    }

    /// Forgets what was received. Returns how many body bytes that were.
    pub(super) fn discard_held(&mut self) -> usize {
        let body = self.body_held();
        self.read = self.held.len();
        self.heads = 0;
        self.compact();
        body
    }

    /// Gives memory back once all of it was read, and moves what is left once that is less than what was read.
    pub(super) fn compact(&mut self) {
        if self.read == self.held.len() {
            self.read = 0;
            self.held.clear();
            if self.held.capacity() > KEPT {
                self.held = Vec::new();
            }
        } else if self.read >= KEPT && self.read > self.held.len() / 2 {
            self.held.drain(..self.read);
            self.read = 0;
        }
    }
}

/// All streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: Vec<u32>,
    /// Number and slot of the streams that are not closed. Numbers only grow, so they are in order.
    open: Vec<(u32, u32)>,
}

impl Streams {
    /// Streams that are not closed.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Slots in use: streams that are not closed, and those that their owner has not released.
    pub(super) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Opens stream `id`, which is greater than all before.
    pub(super) fn open_stream(&mut self, id: u32, send_window: u32, receive_window: u32) -> StreamKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::new());
            self.slots.len() as u32 - 1
        });
        let stream = &mut self.slots[slot as usize];
        stream.id = id;
        stream.send_window = SendWindow::new(send_window);
        stream.receive_window = ReceiveWindow::new(receive_window);
        self.open.push((id, slot));
        StreamKey { slot, id }
    }

    /// The stream with this number, unless it is closed.
    pub(super) fn find(&self, id: u32) -> Option<StreamKey> {
        let at = self.open.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        Some(StreamKey { slot: self.open[at].1, id })
    }

    /// The stream, unless it was released.
    pub(super) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.slots.get(key.slot()).filter(|stream| stream.id == key.id)
    }

    /// The stream, unless it was released.
    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots.get_mut(key.slot()).filter(|stream| stream.id == key.id)
    }

    /// Takes a stream that is closed out of those that are not.
    pub(super) fn close(&mut self, key: StreamKey) {
        if let Ok(at) = self.open.binary_search_by_key(&key.id, |&(id, _)| id) {
            self.open.remove(at);
        }
    }

    /// Frees the slot of a stream that is closed.
    pub(super) fn release(&mut self, key: StreamKey) {
        let Some(stream) = self.get_mut(key) else { return };
        stream.clear();
        self.free.push(key.slot);
    }

    /// Gives all memory back if there is no stream.
    pub(super) fn rest(&mut self) {
        if self.in_use() == 0 {
            *self = Self::default();
        }
    }

    /// The streams that are not closed.
    pub(super) fn keys(&self) -> impl Iterator<Item = StreamKey> + '_ {
        self.open.iter().map(|&(id, slot)| StreamKey { slot, id })
    }
}
