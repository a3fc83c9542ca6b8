//! A connection that was accepted a moment ago, and that the runtime does not watch yet.
//!
//! Most clients have sent their request by the time that they are served, and many connections are closed behind its
//! response. The runtime need not know of these: to watch a connection and to forget it again are two system calls.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use bytes::BufMut;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;
use tokio::net::TcpStream;

/// A connection that the runtime does not watch. Nothing here waits.
pub(crate) struct FreshStream(std::net::TcpStream);

impl FreshStream {
    /// Takes a connection from the accept queue.
    pub(crate) fn accept(listener: &TcpListener) -> io::Result<(Self, SocketAddr)> {
        let (descriptor, peer) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        // The kernel names the peer of every TCP connection.
        let peer = peer.and_then(|peer| peer.try_into().ok()).ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((Self(descriptor.into()), peer))
    }

    /// Appends what has come, up to `room` bytes. Fails with `WouldBlock` if that is nothing.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        let mut window = buffer.limit(room);
        // SAFETY: an uninitialised byte may be seen as a `MaybeUninit<u8>`, and nothing but the kernel writes to it.
        let count = SockRef::from(&self.0).recv(unsafe { window.chunk_mut().as_uninit_slice_mut() })?;
        // SAFETY: the kernel has written this many bytes.
        unsafe { window.advance_mut(count) };
        Ok(count)
    }

    /// Writes some of `bytes`. Fails with `WouldBlock` if the kernel takes none.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    /// Shuts down the sending side.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    /// Has the runtime watch the connection.
    pub(crate) fn watch(self) -> io::Result<TcpStream> {
        TcpStream::from_std(self.0)
    }
}

impl AsFd for FreshStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for FreshStream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
