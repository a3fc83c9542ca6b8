//! The text of an address.

use std::io::Write;
use std::net::IpAddr;
use std::ops::Deref;

/// Most characters of an address: eight groups of four digits, and what is between them.
const MAX_ADDRESS: usize = 39;

/// An address as it is written in fields. Each connection has one, so it is held without memory of its own.
#[derive(Clone)]
pub(crate) struct AddressText {
    bytes: [u8; MAX_ADDRESS],
    len: usize,
}

impl AddressText {
    /// An IPv4 address that is mapped to IPv6 is written as what it is.
    pub(crate) fn of(address: IpAddr) -> Self {
        let mut bytes = [0; MAX_ADDRESS];
        let mut room = &mut bytes[..];
        // Cannot fail: no address is longer.
        let _ = write!(room, "{}", address.to_canonical());
        let len = MAX_ADDRESS - room.len();
        Self { bytes, len }
    }
}

impl Deref for AddressText {
    type Target = str;

    fn deref(&self) -> &str {
        // Cannot fail: only ASCII was written.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_room() {
        for text in ["127.0.0.1", "::1", "2001:db8:1111:2222:3333:4444:5555:6666", "::ffff:ffff"] {
            assert_eq!(&*AddressText::of(text.parse().unwrap()), text);
        }
        assert_eq!(&*AddressText::of("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1");
    }
}
