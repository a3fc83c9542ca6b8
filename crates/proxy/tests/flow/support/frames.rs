//! WebSocket: the handshake of RFC 6455 section 1.3, and frames with payloads below 126 bytes.

use super::message::latin1;
use super::peer::Peer;

pub(crate) const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\n\
    Host: a\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    X-Request-ID: one\r\n\r\n";
pub(crate) const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A message as a server sends it.
pub(crate) fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, u8::try_from(payload.len()).unwrap()][..], payload].concat()
}

/// A message as a client sends it.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let hidden: Vec<u8> = payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    [&[0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap()][..], &KEY, &hidden].concat()
}

/// The payload of a Close frame.
pub(crate) fn closing(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// Summarizes a frame: its sender, opcode and payload, as in `client 8 1001 going away`.
pub(crate) fn read_frame(peer: &mut Peer) -> String {
    let head = peer.read(2);
    assert_eq!(head[0] & 0xf0, 0x80, "a whole message without extensions");
    let (opcode, length) = (head[0] & 0xf, usize::from(head[1] & 0x7f));
    let key = if head[1] & 0x80 == 0 { vec![0; 4] } else { peer.read(4) };
    let payload: Vec<u8> = peer.read(length).iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    let sender = if head[1] & 0x80 == 0 { "server" } else { "client" };
    match opcode {
        CLOSE => format!("{sender} 8 {} {}", u16::from_be_bytes([payload[0], payload[1]]), latin1(&payload[2..])),
        _ => format!("{sender} {opcode} {}", latin1(&payload)),
    }
}
