//! Echo over WebSocket: just enough of RFC 6455 for messages in single frames, with one key for all handshakes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::origin::field;

/// The key of the example in RFC 6455, and what a server answers to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const BINARY: u8 = 0x82;

/// What turns a request head without its blank line into a handshake.
pub(crate) fn fields() -> String {
    format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n")
}

/// The origin's 101, if this is a handshake.
pub(crate) fn grant(head: &[u8]) -> Option<Vec<u8>> {
    (field(head, b"sec-websocket-key")? == KEY.as_bytes()).then(|| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        )
        .into_bytes()
    })
}

/// Opens a WebSocket over a connection that still blocks.
pub(crate) fn open(stream: &mut TcpStream, request: &[u8], patience: Duration) -> Result<(), String> {
    stream.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
    stream.write_all(request).map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(|error| format!("no answer to the handshake: {error}"))?;
        head.push(byte[0]);
    }
    let accepted = field(&head, b"sec-websocket-accept") == Some(ACCEPT.as_bytes());
    if head.starts_with(b"HTTP/1.1 101 ") && accepted {
        Ok(())
    } else {
        Err(format!("the handshake was answered by {}", head.escape_ascii()))
    }
}

/// A message of `size` bytes as a client sends it, and as it comes back.
pub(crate) fn message(size: usize) -> (Vec<u8>, Vec<u8>) {
    let payload: Vec<u8> = (0..size).map(|place| place as u8).collect();
    let (mut sent, mut back) = (head(size, 0x80), head(size, 0));
    sent.extend_from_slice(&MASK);
    sent.extend(masked(&payload, MASK));
    back.extend_from_slice(&payload);
    (sent, back)
}

/// The first whole frame of a client in `input`, as a server sends it back, and how long it was. An error ends the
/// connection: anything but a binary message in one frame.
pub(crate) fn echo(input: &[u8]) -> Result<Option<(usize, Vec<u8>)>, ()> {
    let [first, second, rest @ ..] = input else { return Ok(None) };
    if *first != BINARY || second & 0x80 == 0 {
        return Err(());
    }
    let (size, extended) = match second & 0x7F {
        127 => return Err(()),
        126 => match rest {
            [high, low, ..] => (usize::from(u16::from_be_bytes([*high, *low])), 2),
            _ => return Ok(None),
        },
        short => (usize::from(short), 0),
    };
    let Some((mask, rest)) = rest[extended..].split_first_chunk::<4>() else { return Ok(None) };
    let Some(payload) = rest.get(..size) else { return Ok(None) };
    let mut back = head(size, 0);
    back.extend(masked(payload, *mask));
    Ok(Some((2 + extended + 4 + size, back)))
}

/// The first bytes of a frame. Messages of the benchmark are below 64 KiB.
fn head(size: usize, masked: u8) -> Vec<u8> {
    match u8::try_from(size) {
        Ok(short @ ..126) => vec![BINARY, masked | short],
        _ => [&[BINARY, masked | 0x7E][..], &(size as u16).to_be_bytes()].concat(),
    }
}

fn masked(payload: &[u8], mask: [u8; 4]) -> impl Iterator<Item = u8> {
    payload.iter().zip(mask.into_iter().cycle()).map(|(byte, key)| byte ^ key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_comes_back() {
        for size in [0, 1, 125, 126, 4000] {
            let (sent, back) = message(size);
            assert_eq!(echo(&sent), Ok(Some((sent.len(), back))));
            for cut in 0..sent.len() {
                assert_eq!(echo(&sent[..cut]), Ok(None));
            }
        }
        assert_eq!(echo(b"\x81\x81aaaaa"), Err(()));
        assert_eq!(echo(b"\x82\x01a"), Err(()));
    }
}
