//! The client connections of a worker, which other threads can reset while the worker is stuck.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

use parking_lot::Mutex;
use rustix::net::{connect_unspec, getpeername};
use slab::Slab;

/// The open client connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable(Mutex<OpenConnections>);

#[derive(Debug, Default)]
struct OpenConnections {
    /// Descriptor and client of each.
    sockets: Slab<(RawFd, SocketAddr)>,
    /// True once the worker was given up. What it opens and closes from then on is not counted.
    given_up: bool,
}

impl ConnectionTable {
    /// Adds a connection. Returns its place, or None if the worker was given up.
    pub(crate) fn add(&self, descriptor: RawFd, peer: SocketAddr) -> Option<usize> {
        let mut open = self.0.lock();
        (!open.given_up).then(|| open.sockets.insert((descriptor, peer)))
    }

    /// Removes a connection. Returns false if the worker was given up, and the connection with it.
    pub(crate) fn remove(&self, place: usize) -> bool {
        let mut open = self.0.lock();
        !open.given_up && open.sockets.try_remove(place).is_some()
    }

    /// Resets all connections of a worker that is given up. Returns their number.
    pub(crate) fn give_up(&self) -> usize {
        let mut open = self.0.lock();
        open.given_up = true;
        let sockets = std::mem::take(&mut open.sockets);
        for (_, &(descriptor, peer)) in &sockets {
            reset(descriptor, peer);
        }
        sockets.len()
    }
}

/// Resets the connection with `peer`.
fn reset(descriptor: RawFd, peer: SocketAddr) {
    // SAFETY: the descriptor is used for two system calls. The worker closes it just before it removes it from the
    // table, so it may be another one by now; the client's address tells.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if getpeername(socket).ok().flatten().and_then(|address| SocketAddr::try_from(address).ok()) == Some(peer) {
        // Fails only if the connection has ended meanwhile.
        let _ = connect_unspec(socket);
    }
}
