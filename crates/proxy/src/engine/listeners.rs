//! Listening sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use pylae_core::Problem;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::io::unread::MAX_UNSENT;
use crate::snapshot::Snapshot;
use crate::thread::Listening;

/// Length of the accept queue.
const BACKLOG: i32 = 4096;
/// A program for the kernel's packet filter that drops segments with the flag SYN, and lets all others through. The
/// first byte is that of the TCP header.
const NO_SYN: [SockFilter; 4] = [
    SockFilter::new(BPF_LOAD_BYTE, 0, 0, 13),
    SockFilter::new(BPF_JUMP_IF_SET, 0, 1, 0x02),
    SockFilter::new(BPF_RETURN, 0, 0, 0),
    SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
];
const BPF_LOAD_BYTE: u16 = 0x30;
const BPF_JUMP_IF_SET: u16 = 0x45;
const BPF_RETURN: u16 = 0x06;

/// Binds the addresses of the plan that are new. Returns all sockets, or every problem and no socket.
pub(super) fn bind_added(
    current: &BTreeMap<SocketAddr, Arc<TcpListener>>,
    snapshot: &Snapshot,
) -> Result<BTreeMap<SocketAddr, Arc<TcpListener>>, Vec<Problem>> {
    let mut added = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, listener) in snapshot.plan.listeners.iter().enumerate() {
        let address = listener.address;
        if current.contains_key(&address) || added.contains_key(&address) {
            continue;
        }
        match bind(address) {
            Ok(socket) => drop(added.insert(address, Arc::new(socket))),
            Err(error) => {
                let path = format!("listeners[{index}].address");
                let why = describe_error(&error, address, current.keys().chain(added.keys()));
                problems.push(Problem::at(path, format!("cannot listen on {address}: {why}")));
            }
        }
    }
    if problems.is_empty() { Ok(added) } else { Err(problems) }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted connections inherit these.
    socket.set_tcp_notsent_lowat(MAX_UNSENT)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets nobody new into the accept queues of sockets that are about to be closed. Whoever connected between the last
/// look into a queue and the end of its socket would be reset, perhaps with a request sent. This way the kernel of the
/// client tries again a second later, and finds that nobody listens.
pub(super) fn shut_out<'a>(sockets: impl IntoIterator<Item = &'a Arc<TcpListener>>) {
    for socket in sockets {
        // Where there is no such filter, somebody may be reset.
        let _ = SockRef::from(socket).attach_filter(&NO_SYN);
    }
}

fn describe_error<'a>(error: &io::Error, address: SocketAddr, own: impl IntoIterator<Item = &'a SocketAddr>) -> String {
    // A wildcard address overlaps every address.
    let overlaps = |own: &&SocketAddr| {
        let all = own.ip().is_unspecified() || address.ip().is_unspecified();
        own.port() == address.port() && own.is_ipv4() == address.is_ipv4() && all
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => match own.into_iter().find(overlaps) {
            Some(own) => format!(
                "this gateway listens on {own}, which overlaps it; take another port, or start the gateway again with \
                 the new address alone"
            ),
            None => "the port is in use by another process".to_owned(),
        },
        io::ErrorKind::PermissionDenied => "not permitted; ports below 1024 need a privilege".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
        _ => error.to_string(),
    }
}

/// The sockets for a worker.
pub(super) fn listed(listeners: &BTreeMap<SocketAddr, Arc<TcpListener>>) -> Vec<Listening> {
    listeners.iter().map(|(address, socket)| (*address, Arc::clone(socket))).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_gets_into_a_queue_that_is_about_to_end() {
        let socket = Arc::new(bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let address = socket.local_addr().unwrap();
        let early = TcpStream::connect(address).unwrap();
        shut_out([&socket]);
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (accepted, peer) = socket.accept().unwrap();
        assert_eq!(peer, early.local_addr().unwrap());
        // As `bind` has set it for all that are accepted.
        assert!(accepted.nodelay().unwrap());
        assert_eq!(socket.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
