//! What must hold of the scanner of WebSocket frames for any input. Called by the fuzz target and by
//! `crates/http/tests`.

use pylae_http::websocket::{FrameLimits, MAX_HEADER, ScanEnd, Sender, WebSocketFrames};

const LIMITS: FrameLimits = FrameLimits { frame: 200, message: 300 };

/// The first byte of `data` says who sends, the rest is what is sent.
pub(crate) fn frames(data: &[u8]) {
    let [first, data @ ..] = data else { return };
    let sender = if first & 1 == 0 { Sender::Client } else { Sender::Server };
    let compressed = first & 2 != 0;
    let mut whole = WebSocketFrames::new(sender, LIMITS, compressed);
    let (passed, found) = whole.scan(data);
    assert!(passed <= data.len());
    match found {
        ScanEnd::More => assert!(data.len() - passed < MAX_HEADER),
        ScanEnd::Closed => assert!(whole.is_closed()),
        ScanEnd::Broken(_) => assert!(whole.is_at_boundary() && !whole.is_closed()),
    }
    for step in [1, 3, 64] {
        assert_eq!(
            (passed, found),
            piecewise(data, step, WebSocketFrames::new(sender, LIMITS, compressed)),
            "cut every {step}"
        );
    }
    let payload = read(&data[..passed], sender);
    assert!(payload.is_none_or(|bytes| bytes as usize <= passed), "frames do not add up");
}

fn piecewise(data: &[u8], step: usize, mut frames: WebSocketFrames) -> (usize, ScanEnd) {
    let (mut passed, mut end) = (0, 0);
    loop {
        end = (end + step).min(data.len());
        let (n, found) = frames.scan(&data[passed..end]);
        passed += n;
        if found != ScanEnd::More || end == data.len() {
            return (passed, found);
        }
    }
}

/// Reads accepted bytes as another reader would, and says how much payload they have; none if they end within a frame.
fn read(mut bytes: &[u8], sender: Sender) -> Option<u64> {
    let (mut payload, mut message, mut open) = (0, 0, false);
    while let [first, second, rest @ ..] = bytes {
        assert!(matches!(first & 0x0F, 0..=2 | 8..=10) && first & 0x30 == 0);
        assert_eq!(second & 0x80 != 0, sender == Sender::Client);
        let (length, extended) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes(rest[..2].try_into().ok()?)), 2),
            127 => (u64::from_be_bytes(rest[..8].try_into().ok()?), 8),
            short => (u64::from(short), 0),
        };
        if first & 0x08 == 0 {
            assert_eq!(open, first % 16 == 0, "fragments fit together");
            message = if open { message + length } else { length };
            assert!(length <= LIMITS.frame && message <= LIMITS.message);
            open = first & 0x80 == 0;
        } else {
            assert!(length <= 125 && first & 0x80 != 0);
        }
        payload += length;
        let head = extended + if sender == Sender::Client { 4 } else { 0 };
        bytes = rest.get(head + usize::try_from(length).ok()?..)?;
    }
    bytes.is_empty().then_some(payload)
}
