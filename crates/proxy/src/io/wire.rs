//! The transport of an HTTP/2 connection, which inspects frames as they are read.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pylae_core::connection::flood::{Flood, FloodLimits};
use pylae_core::plan::Limits;
use pylae_core::{Delivery, Instant, Pace};
use pylae_http::frames::{END_STREAM, FrameHead, FrameVisibility, Http2Frames, PADDED, kind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::clock;
use crate::io::socket::Socket;

/// DATA frames below this size are counted, because buffering them costs more than their bytes (as in h2).
const SMALL_FRAME: u32 = 256;
/// Most small frames read before other tasks may run and consume them: h2 buffers each frame separately.
const FRAMES_PER_TURN: u32 = 1024;
/// Most bytes of one stream that wait to be written.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
/// The budget of h2 for buffered frames: unlimited within the windows. h2 would also count frames that arrive after a
/// reset, over the life of the connection. Here frames do not pile up in h2, because tasks consume them in time.
pub(crate) const HELD_FRAMES: usize = usize::MAX;

/// Tracks the frames that a client sends and how fast it reads.
pub(crate) struct ClientWatch {
    flood: RefCell<Flood>,
    delivery: RefCell<Delivery>,
}

impl ClientWatch {
    pub(crate) fn new(limits: &Limits) -> Rc<Self> {
        let flood = FloodLimits { resets: limits.http2.max_resets, idle_frames: limits.http2.max_idle_frames };
        let flood = Flood::new(flood, clock::coarse());
        let delivery = Delivery::new(Pace::new(limits.min_rate, limits.body_grace.0));
        Rc::new(Self { flood: RefCell::new(flood), delivery: RefCell::new(delivery) })
    }

    /// When the client counts as too slow in reading, or None while the kernel accepts all writes. Each stream bounds
    /// its own idle time.
    pub(crate) fn slow_deadline(&self, unacknowledged: impl FnOnce() -> u64) -> Option<Instant> {
        let (now, mut rest) = (clock::coarse(), None);
        let mut delivery = self.delivery.borrow_mut();
        let due = delivery.due(now, Duration::MAX, || *rest.insert(unacknowledged()));
        if rest == Some(0) {
            // Nothing is left to write: the stream was reset.
            delivery.stop_waiting(now);
            return None;
        }
        due
    }

    /// Records the result of a write to the client.
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let mut delivery = self.delivery.borrow_mut();
        match written {
            Poll::Ready(Ok(n)) => {
                self.flood.borrow_mut().on_sent(*n);
                delivery.send(*n);
                if delivery.is_waiting() {
                    delivery.stop_waiting(clock::coarse());
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => delivery.start_waiting(clock::coarse()),
        }
    }

    /// Records that an exchange was completed.
    pub(crate) fn served(&self) {
        self.flood.borrow_mut().on_served();
    }

    /// Returns true if the client exceeded a limit.
    pub(crate) fn is_breached(&self) -> bool {
        self.flood.borrow().is_breached()
    }

    /// When the client began the head that is incomplete.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.flood.borrow().head_since()
    }
}

/// A connection that may start with bytes read earlier. Connections of clients are watched.
pub(crate) struct Wire {
    socket: Rc<RefCell<Socket>>,
    ahead: Vec<u8>,
    watch: Option<Rc<ClientWatch>>,
    frames: Http2Frames,
    /// Small frames read since the last yield.
    small: u32,
}

impl Wire {
    /// A client's connection. `ahead` are the bytes read already.
    pub(crate) fn of_client(socket: Rc<RefCell<Socket>>, ahead: Vec<u8>, watch: Rc<ClientWatch>) -> Self {
        Self { socket, ahead, watch: Some(watch), frames: Http2Frames::after_preface(), small: 0 }
    }

    /// A connection to an instance.
    pub(crate) fn of_instance(socket: Socket) -> Self {
        let socket = Rc::new(RefCell::new(socket));
        Self { socket, ahead: Vec::new(), watch: None, frames: Http2Frames::without_preface(), small: 0 }
    }

    /// Inspects the frames in `bytes`.
    fn inspect(&mut self, bytes: &mut [u8]) {
        let Self { frames, watch, small, .. } = self;
        let mut flood = watch.as_ref().map(|watch| watch.flood.borrow_mut());
        let now = clock::coarse();
        frames.read(bytes, |frame| {
            *small += u32::from(frame.kind == kind::DATA && frame.length < SMALL_FRAME);
            if let Some(flood) = &mut flood {
                flood.on_frame(frame, now);
            }
            // Empty frames are counted here. Hide them from h2, which allows only a hundred per connection.
            if is_empty(frame) { FrameVisibility::Hidden } else { FrameVisibility::Open }
        });
        if let Some(flood) = flood.as_mut().filter(|_| frames.is_at_boundary()) {
            flood.on_frame_complete();
        }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Some(watch) = &self.watch {
            watch.wrote(&written);
        }
        written
    }
}

/// Returns true for an empty DATA frame without effect.
fn is_empty(frame: FrameHead) -> bool {
    frame.kind == kind::DATA && frame.length == 0 && frame.flags & (END_STREAM | PADDED) == 0
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.small >= FRAMES_PER_TURN {
            self.small = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self { socket, ahead, watch, .. } = &mut *self;
        if watch.as_ref().is_some_and(|watch| watch.is_breached()) {
            // The task that drives the connection checks this too and aborts the connection.
            return Poll::Pending;
        }
        let start = into.filled().len();
        if ahead.is_empty() {
            ready!(socket.borrow_mut().poll_read_buf(cx, into))?;
        } else {
            let n = ahead.len().min(into.remaining());
            into.put_slice(&ahead[..n]);
            ahead.drain(..n);
            if ahead.is_empty() {
                *ahead = Vec::new();
            }
        }
        self.inspect(&mut into.filled_mut()[start..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.socket.borrow_mut().poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket.borrow_mut().poll_write_vectored(cx, pieces);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Written bytes are in the kernel already.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.borrow_mut().poll_shutdown(cx)
    }
}
