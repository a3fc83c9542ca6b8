//! A connection that was accepted a moment ago, and that the runtime does not watch yet.
//!
//! Most clients have sent their request by the time that they are served, and many connections are closed behind its
//! response. The runtime need not know of these: to watch a connection and to forget it again are two system calls.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use bytes::BufMut;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;
use tokio::net::TcpStream;

/// A connection that the runtime does not watch. Nothing here waits.
pub(crate) struct FreshStream {
    stream: std::net::TcpStream,
    /// What is written next is the end, and the connection is closed behind it.
    is_last: bool,
}

impl FreshStream {
    /// Takes a connection from the accept queue.
    pub(crate) fn accept(listener: &TcpListener) -> io::Result<(Self, SocketAddr)> {
        let (descriptor, peer) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        // The kernel names the peer of every TCP connection.
        let peer = peer.and_then(|peer| peer.try_into().ok()).ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((Self { stream: descriptor.into(), is_last: false }, peer))
    }

    /// Appends what has come, up to `room` bytes. Fails with `WouldBlock` if that is nothing.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        let mut window = buffer.limit(room);
        // SAFETY: an uninitialised byte may be seen as a `MaybeUninit<u8>`, and nothing but the kernel writes to it.
        let count = SockRef::from(&self.stream).recv(unsafe { window.chunk_mut().as_uninit_slice_mut() })?;
        // SAFETY: the kernel has written this many bytes.
        unsafe { window.advance_mut(count) };
        Ok(count)
    }

    /// Writes some of `bytes`. Fails with `WouldBlock` if the kernel takes none.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        send(&SockRef::from(&self.stream), bytes, self.is_last)
    }

    /// Declares that what is written next is the end, and that the connection is shut down or closed at once then.
    pub(crate) fn end(&mut self) {
        self.is_last = true;
    }

    /// Shuts down the sending side.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Has the runtime watch the connection.
    pub(crate) fn watch(self) -> io::Result<TcpStream> {
        TcpStream::from_std(self.stream)
    }
}

/// Asks the kernel whether something has come that was not read. The end does not count.
pub(super) fn has_input(connection: impl AsFd) -> bool {
    // Fails only if the connection is closed already.
    rustix::io::ioctl_fionread(connection).is_ok_and(|bytes| bytes > 0)
}

/// Writes some of `bytes`. If they are the last, the kernel keeps them until the connection is shut down or closed, so
/// that one packet says both.
pub(super) fn send(connection: &SockRef<'_>, bytes: &[u8], is_last: bool) -> io::Result<usize> {
    let more = if is_last { libc::MSG_MORE } else { 0 };
    connection.send_with_flags(bytes, libc::MSG_NOSIGNAL | more)
}

impl AsFd for FreshStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for FreshStream {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};

    use super::*;

    fn pair() -> (FreshStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = FreshStream::accept(&listener).unwrap();
        assert_eq!(peer, far.local_addr().unwrap());
        (stream, far)
    }

    #[test]
    fn nothing_waits() {
        let (stream, mut far) = pair();
        let mut bytes = Vec::with_capacity(10);
        assert_eq!(stream.read(&mut bytes, 4).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(!has_input(&stream));
        far.write_all(b"abcdefg").unwrap();
        assert_eq!(stream.read(&mut bytes, 4).unwrap(), 4);
        assert_eq!(bytes, b"abcd");
        assert!(has_input(&stream));
        let large = vec![0; 1 << 20];
        let full = loop {
            if let Err(error) = stream.write(&large) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn the_end_is_sent_with_what_is_last() {
        let (mut stream, mut far) = pair();
        assert_eq!(stream.write(b"head").unwrap(), 4);
        let mut seen = [0; 20];
        assert_eq!(far.read(&mut seen).unwrap(), 4);
        stream.end();
        assert_eq!(stream.write(b"body").unwrap(), 4);
        far.set_nonblocking(true).unwrap();
        assert_eq!(far.read(&mut seen).unwrap_err().kind(), ErrorKind::WouldBlock);
        stream.shut_down().unwrap();
        far.set_nonblocking(false).unwrap();
        assert_eq!(far.read(&mut seen).unwrap(), 4);
        assert_eq!(far.read(&mut seen).unwrap(), 0);
    }
}
