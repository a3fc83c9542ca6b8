//! One end of a TCP connection, for tests that care about bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;

use super::message::{Fields, Message, field, latin1};

/// After which a test that waits for bytes fails. Nothing waits that long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes that are read or written at once.
const PIECE: usize = 16 * 1024;

/// A connected socket with a buffer: every read waits until it has what it was asked for, or fails the test.
pub(crate) struct Peer {
    stream: Arc<TcpStream>,
    received: Arc<Mutex<Vec<u8>>>,
    taken: usize,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Arc::new(stream), received: Arc::default(), taken: 0 }
    }

    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    /// Every byte that has come, read by the test or not.
    pub(crate) fn received(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.received)
    }

    /// The same socket while it is open, for another thread that ends it.
    pub(crate) fn handle(&self) -> Weak<TcpStream> {
        Arc::downgrade(&self.stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        (&*self.stream).write_all(bytes.as_ref()).expect("the other side takes what is sent");
    }

    /// Sends what the other side need not take, because it may close before it has all.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        (&*self.stream).write_all(bytes.as_ref()).is_ok()
    }

    /// Sends as much as is taken at once.
    pub(crate) fn top_up(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        while (&*self.stream).write(&[0; PIECE]).is_ok() {}
        self.stream.set_nonblocking(false).unwrap();
    }

    /// Says that no more bytes will come (FIN); reading goes on.
    pub(crate) fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes, in order if everything was read.
    pub(crate) fn close(self) {
        drop(self);
    }

    /// Closes with a reset (RST).
    pub(crate) fn reset(self) {
        SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Exactly `count` bytes.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        expect(self.take_count(count))
    }

    /// Everything until the other side closes in order; a reset fails the test.
    pub(crate) fn read_all(&mut self) -> Vec<u8> {
        while self.receive().expect("closed in order") > 0 {}
        self.take(self.pending())
    }

    /// Waits for the other side to close, by FIN or reset; `false` if bytes come instead.
    pub(crate) fn at_end(&mut self) -> bool {
        if self.pending() > 0 {
            return false;
        }
        match self.receive() {
            Ok(count) => count == 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                true
            }
        }
    }

    /// Waits for the other side to close, and says whether it was by a reset (RST).
    pub(crate) fn is_reset(&mut self) -> bool {
        assert_eq!(self.pending(), 0, "bytes that nobody has read");
        matches!(self.receive(), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }

    /// Whether a read would not wait: bytes have come, or the end.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.pending() > 0 {
            return true;
        }
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The next head, of a request or an answer, as it came.
    pub(crate) fn read_raw_head(&mut self) -> String {
        latin1(&expect(self.take_until(b"\r\n\r\n")))
    }

    /// The next head, of a request or an answer.
    pub(crate) fn read_head(&mut self) -> Message {
        expect(self.take_head())
    }

    /// The next request, with its body.
    pub(crate) fn read_request(&mut self) -> Message {
        expect(self.take_request())
    }

    /// The next request; none if the other side closes first, even in the middle of it.
    pub(crate) fn next_request(&mut self) -> Option<Message> {
        self.take_request().ok()
    }

    /// The next answer to a request other than HEAD, with its body; interim answers are answers too.
    pub(crate) fn read_answer(&mut self) -> Message {
        let head = self.read_head();
        if head.status() < 200 || matches!(head.status(), 204 | 304) {
            return head;
        }
        if head.has("transfer-encoding") || head.has("content-length") {
            return expect(self.take_body(head));
        }
        Message { body: self.read_all(), ..head }
    }

    fn take_head(&mut self) -> Result<Message, Broken> {
        self.take_until(b"\r\n\r\n").map(|head| Message::of_head(&head))
    }

    fn take_request(&mut self) -> Result<Message, Broken> {
        let head = self.take_head()?;
        self.take_body(head)
    }

    fn take_body(&mut self, head: Message) -> Result<Message, Broken> {
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        if head.has("transfer-encoding") {
            (body, trailers) = self.take_chunked()?;
        } else if let Some(length) = head.one("content-length") {
            body = self.take_count(length.parse().expect("a length"))?;
        }
        Ok(Message { body, trailers, ..head })
    }

    fn take_chunked(&mut self) -> Result<(Vec<u8>, Fields), Broken> {
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        loop {
            let line = self.take_line()?;
            let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("not a size: {line:?}"));
            if size == 0 {
                break;
            }
            body.extend(self.take_count(size)?);
            assert_eq!(self.take_count(2)?, b"\r\n");
        }
        loop {
            let line = self.take_line()?;
            if line.is_empty() {
                return Ok((body, trailers));
            }
            trailers.push(field(&line));
        }
    }

    /// A line without its end.
    fn take_line(&mut self) -> Result<String, Broken> {
        self.take_until(b"\r\n").map(|line| latin1(&line[..line.len() - 2]))
    }

    fn take_until(&mut self, end: &[u8]) -> Result<Vec<u8>, Broken> {
        loop {
            let found = memchr::memmem::find(&self.received.lock()[self.taken..], end);
            if let Some(at) = found {
                return Ok(self.take(at + end.len()));
            }
            self.receive_more()?;
        }
    }

    fn take_count(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        while self.pending() < count {
            self.receive_more()?;
        }
        Ok(self.take(count))
    }

    fn pending(&self) -> usize {
        self.received.lock().len() - self.taken
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.taken += count;
        self.received.lock()[self.taken - count..self.taken].to_vec()
    }

    fn receive(&mut self) -> std::io::Result<usize> {
        let mut piece = [0; PIECE];
        let count = (&*self.stream).read(&mut piece)?;
        self.received.lock().extend_from_slice(&piece[..count]);
        Ok(count)
    }

    fn receive_more(&mut self) -> Result<(), Broken> {
        match self.receive() {
            Ok(count) if count > 0 => Ok(()),
            other => {
                let received = self.received.lock();
                // Bounded: a body of megabytes helps nobody in a report.
                let last = latin1(&received[received.len().saturating_sub(500)..]);
                Err(Broken(format!("{other:?} after {} bytes, the last of them {last:?}", received.len())))
            }
        }
    }
}

/// What came instead of more bytes.
struct Broken(String);

fn expect<T>(read: Result<T, Broken>) -> T {
    read.unwrap_or_else(|Broken(what)| panic!("{what}"))
}
