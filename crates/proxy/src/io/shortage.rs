//! Errors that are the gateway's own: it has run out of something, and nobody else is to blame.

use std::io;
use std::net::SocketAddr;

use pylae_core::Shortage;
use socket2::{Domain, Socket, Type};

/// What the gateway lacked, inside an `io::Error`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Lack {
    what: Shortage,
    message: String,
}

/// What the system lacked when a call failed with `error`, or None if the error has another cause.
pub(crate) fn of_system(error: &io::Error) -> Option<Shortage> {
    match error.raw_os_error()? {
        libc::EMFILE | libc::ENFILE => Some(Shortage::Descriptors),
        // ENOSPC: epoll(7) watches as many descriptors as this user may watch.
        libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC => Some(Shortage::Memory),
        _ => None,
    }
}

/// Marks the error of a failed connect to `to` if it is the gateway's own. [`behind`] reads the mark.
pub(crate) fn of_connect(error: io::Error, to: SocketAddr) -> io::Error {
    let what = match error.raw_os_error() {
        // EAGAIN: connect(2) says so for want of ports, or of entries of the routing cache.
        Some(libc::EADDRNOTAVAIL | libc::EAGAIN) if has_source_address(to) => Some(Shortage::Ports),
        _ => of_system(&error),
    };
    match what {
        Some(what) => mark(what, error.to_string()),
        None => error,
    }
}

/// What the system lacked when the look-up of a name failed. The resolver hides why it could not open a file or a
/// socket, so one is tried.
pub(crate) fn of_lookup(error: &io::Error) -> Option<Shortage> {
    of_system(error).or_else(|| of_system(&Socket::new(Domain::IPV4, Type::DGRAM, None).err()?))
}

/// An error that is the gateway's own.
pub(crate) fn mark(what: Shortage, message: String) -> io::Error {
    io::Error::other(Lack { what, message })
}

/// What the gateway lacked, if `error` is its own.
pub(crate) fn behind(error: &io::Error) -> Option<Shortage> {
    error.get_ref()?.downcast_ref::<Lack>().map(|lack| lack.what)
}

/// Returns true if this machine has an address from which `to` can be reached. Without one, as for `::1` where IPv6 is
/// off, connect(2) fails as it does without ports, and the instance's address is wrong. A datagram socket needs no port
/// of TCP.
fn has_source_address(to: SocketAddr) -> bool {
    match Socket::new(Domain::for_address(to), Type::DGRAM, None).and_then(|socket| socket.connect(&to.into())) {
        Ok(()) => true,
        // Nothing was found out.
        Err(error) => of_system(&error).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(errno: i32, to: &str) -> Option<Shortage> {
        behind(&of_connect(io::Error::from_raw_os_error(errno), to.parse().unwrap()))
    }

    #[test]
    fn local_errors_are_told_from_those_of_an_instance() {
        for (errno, what) in [
            (libc::EMFILE, Some(Shortage::Descriptors)),
            (libc::ENFILE, Some(Shortage::Descriptors)),
            (libc::EADDRNOTAVAIL, Some(Shortage::Ports)),
            (libc::EAGAIN, Some(Shortage::Ports)),
            (libc::ENOBUFS, Some(Shortage::Memory)),
            (libc::ENOMEM, Some(Shortage::Memory)),
            (libc::ENOSPC, Some(Shortage::Memory)),
            (libc::ECONNREFUSED, None),
            (libc::ECONNRESET, None),
            (libc::ETIMEDOUT, None),
            (libc::EHOSTUNREACH, None),
            (libc::ENETUNREACH, None),
        ] {
            assert_eq!(found(errno, "127.0.0.1:80"), what, "{}", io::Error::from_raw_os_error(errno));
        }
        assert_eq!(behind(&io::ErrorKind::ConnectionRefused.into()), None);
    }

    #[test]
    fn an_address_that_cannot_be_reached_from_here_is_no_want_of_ports() {
        // A link-local address without its interface: no source address fits.
        assert_eq!(found(libc::EADDRNOTAVAIL, "[fe80::1]:80"), None);
    }

    #[test]
    fn the_cause_is_still_told() {
        let marked = of_connect(io::Error::from_raw_os_error(libc::EMFILE), "127.0.0.1:80".parse().unwrap());
        assert!(marked.to_string().starts_with("Too many open files"), "{marked}");
    }
}
