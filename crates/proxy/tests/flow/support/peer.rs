//! One end of a TCP connection, for tests that check bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;

use super::message::{Fields, Message, field, latin1};

/// Time after which a wait fails the test. No passing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes read or written at once.
const READ_SIZE: usize = 16 * 1024;

/// A connected socket with a buffer. Every read waits until it is complete, or fails the test.
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

    /// Every byte received, read by the test or not.
    pub(crate) fn received(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.received)
    }

    /// A handle for another thread to close the socket.
    pub(crate) fn handle(&self) -> Weak<TcpStream> {
        Arc::downgrade(&self.stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        (&*self.stream).write_all(bytes.as_ref()).expect("the other side takes what is sent");
    }

    /// Sends bytes that the other side may not read, because it may close first.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        (&*self.stream).write_all(bytes.as_ref()).is_ok()
    }

    /// Sends as much as the kernel accepts at once.
    pub(crate) fn send_available(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        while (&*self.stream).write(&[0; READ_SIZE]).is_ok() {}
        self.stream.set_nonblocking(false).unwrap();
    }

    /// Shuts down the sending side (FIN). Reading is still possible.
    pub(crate) fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes the connection, with a FIN if everything was read.
    pub(crate) fn close(self) {
        drop(self);
    }

    /// Closes with a reset (RST).
    pub(crate) fn reset(self) {
        SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads exactly `count` bytes.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        expect(self.take_count(count))
    }

    /// Reads until the other side closes. A reset fails the test.
    pub(crate) fn read_all(&mut self) -> Vec<u8> {
        while self.receive().expect("closed in order") > 0 {}
        self.take(self.pending())
    }

    /// Waits until the other side closes, by FIN or reset. Returns false if bytes arrive instead.
    pub(crate) fn is_closed(&mut self) -> bool {
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

    /// Waits until the other side closes. Returns true if it was by a reset (RST).
    pub(crate) fn is_reset(&mut self) -> bool {
        assert_eq!(self.pending(), 0, "bytes that nobody has read");
        matches!(self.receive(), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }

    /// Returns true if a read would not block: there are bytes, or the end.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.pending() > 0 {
            return true;
        }
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads the next head, of a request or a response, as text.
    pub(crate) fn read_raw_head(&mut self) -> String {
        latin1(&expect(self.take_until(b"\r\n\r\n")))
    }

    /// Reads the next head, of a request or a response.
    pub(crate) fn read_head(&mut self) -> Message {
        expect(self.take_head())
    }

    /// Reads the next request with its body.
    pub(crate) fn read_request(&mut self) -> Message {
        expect(self.take_request())
    }

    /// Reads the next request. Returns None if the other side closes before it is complete.
    pub(crate) fn next_request(&mut self) -> Option<Message> {
        self.take_request().ok()
    }

    /// Reads the next response with its body, also an interim one. Not for responses to HEAD.
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

    fn take_head(&mut self) -> Result<Message, PeerError> {
        self.take_until(b"\r\n\r\n").map(|head| Message::of_head(&head))
    }

    fn take_request(&mut self) -> Result<Message, PeerError> {
        let head = self.take_head()?;
        self.take_body(head)
    }

    fn take_body(&mut self, head: Message) -> Result<Message, PeerError> {
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        if head.has("transfer-encoding") {
            (body, trailers) = self.take_chunked()?;
        } else if let Some(length) = head.single("content-length") {
            body = self.take_count(length.parse().expect("a length"))?;
        }
        Ok(Message { body, trailers, ..head })
    }

    fn take_chunked(&mut self) -> Result<(Vec<u8>, Fields), PeerError> {
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

    /// Reads a line, without its end.
    fn take_line(&mut self) -> Result<String, PeerError> {
        self.take_until(b"\r\n").map(|line| latin1(&line[..line.len() - 2]))
    }

    fn take_until(&mut self, end: &[u8]) -> Result<Vec<u8>, PeerError> {
        loop {
            let found = memchr::memmem::find(&self.received.lock()[self.taken..], end);
            if let Some(at) = found {
                return Ok(self.take(at + end.len()));
            }
            self.receive_more()?;
        }
    }

    fn take_count(&mut self, count: usize) -> Result<Vec<u8>, PeerError> {
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
        let mut piece = [0; READ_SIZE];
        let count = (&*self.stream).read(&mut piece)?;
        self.received.lock().extend_from_slice(&piece[..count]);
        Ok(count)
    }

    fn receive_more(&mut self) -> Result<(), PeerError> {
        match self.receive() {
            Ok(count) if count > 0 => Ok(()),
            other => {
                let received = self.received.lock();
                // Bounded, because megabytes do not help in a report.
                let last = latin1(&received[received.len().saturating_sub(500)..]);
                Err(PeerError(format!("{other:?} after {} bytes, the last of them {last:?}", received.len())))
            }
        }
    }
}

/// What ended a read early.
struct PeerError(String);

fn expect<T>(read: Result<T, PeerError>) -> T {
    read.unwrap_or_else(|PeerError(what)| panic!("{what}"))
}
