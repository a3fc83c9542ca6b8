use proptest::prelude::*;

use super::*;

const LIMITS: FrameLimits = FrameLimits { frame: 70_000, message: 100_000 };

/// A frame as `sender` sends it.
fn frame(sender: Sender, first: u8, length: usize) -> Vec<u8> {
    let mask = if sender == Sender::Client { 0x80 } else { 0 };
    let mut out = vec![first];
    match length {
        0..=125 => out.push(mask | length as u8),
        126..=65535 => {
            out.push(mask | 0x7E);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 0x7F);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if sender == Sender::Client {
        out.extend_from_slice(&[1, 2, 3, 4]);
    }
    out.resize(out.len() + length, 0x88);
    out
}

fn server(compressed: bool) -> WebSocketFrames {
    WebSocketFrames::new(Sender::Server, LIMITS, compressed)
}

/// Scans what a server may send.
fn scan(frames: &[(u8, usize)]) -> ScanEnd {
    let mut all = Vec::new();
    for (first, length) in frames {
        all.extend(frame(Sender::Server, *first, *length));
    }
    server(false).scan(&all).1
}

fn code(found: ScanEnd) -> u16 {
    match found {
        ScanEnd::Broken(violation) => violation.code,
        found => panic!("{found:?}"),
    }
}

#[test]
fn whole_frames_pass() {
    for sender in [Sender::Client, Sender::Server] {
        for length in [0, 1, 125, 126, 65535, 65536, 70_000] {
            let bytes = frame(sender, 0x82, length);
            let mut frames = WebSocketFrames::new(sender, LIMITS, false);
            assert_eq!(frames.scan(&bytes), (bytes.len(), ScanEnd::More));
            assert!(frames.is_at_boundary() && !frames.is_closed());
        }
    }
}

#[test]
fn the_examples_of_the_rfc_pass() {
    // RFC 6455 section 5.7.
    let hello = [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(server(false).scan(&hello), (7, ScanEnd::More));
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(WebSocketFrames::new(Sender::Client, LIMITS, false).scan(&masked), (11, ScanEnd::More));
    let fragmented = [0x01, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f];
    assert_eq!(server(false).scan(&fragmented), (9, ScanEnd::More));
}

#[test]
fn control_frames_may_stand_within_a_message() {
    assert_eq!(scan(&[(0x01, 3), (0x89, 5), (0x00, 1), (0x8A, 0), (0x80, 0), (0x82, 1)]), ScanEnd::More);
}

#[test]
fn fragments_must_fit_together() {
    assert_eq!(code(scan(&[(0x80, 1)])), PROTOCOL_ERROR);
    assert_eq!(code(scan(&[(0x01, 1), (0x80, 1), (0x00, 1)])), PROTOCOL_ERROR);
    assert_eq!(code(scan(&[(0x01, 1), (0x81, 1)])), PROTOCOL_ERROR);
}

#[test]
fn reserved_bits_and_opcodes_are_refused() {
    for bit in [0x10, 0x20, 0x40] {
        assert_eq!(code(scan(&[(0x81 | bit, 1)])), PROTOCOL_ERROR);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(code(scan(&[(0x80 | opcode, 1)])), PROTOCOL_ERROR);
    }
}

#[test]
fn compressed_messages_have_rsv1_on_their_first_frame() {
    let pass = |firsts: &[u8]| {
        let bytes: Vec<u8> = firsts.iter().flat_map(|first| frame(Sender::Server, *first, 3)).collect();
        server(true).scan(&bytes).1
    };
    assert_eq!(pass(&[0xC1, 0x42, 0x00, 0x80, 0x81]), ScanEnd::More);
    for bad in [&[0xC9][..], &[0x41, 0xC0], &[0xA1]] {
        assert_eq!(code(pass(bad)), PROTOCOL_ERROR);
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        assert_eq!(code(scan(&[(0x80 | opcode, 126)])), PROTOCOL_ERROR);
        assert_eq!(code(scan(&[(opcode, 2)])), PROTOCOL_ERROR);
    }
    assert_eq!(code(scan(&[(0x88, 1)])), PROTOCOL_ERROR);
}

#[test]
fn masks_are_the_clients_and_only_its() {
    let from_client = frame(Sender::Client, 0x81, 3);
    let from_server = frame(Sender::Server, 0x81, 3);
    assert_eq!(code(server(false).scan(&from_client).1), PROTOCOL_ERROR);
    assert_eq!(code(WebSocketFrames::new(Sender::Client, LIMITS, false).scan(&from_server).1), PROTOCOL_ERROR);
}

#[test]
fn lengths_are_written_in_the_shortest_way() {
    let bad: [&[u8]; 4] = [
        &[0x82, 126, 0, 125],
        &[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255],
        &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0x88, 126, 0, 0],
    ];
    for bytes in bad {
        assert_eq!(code(server(false).scan(bytes).1), PROTOCOL_ERROR);
    }
}

#[test]
fn sizes_are_bounded_per_frame_and_per_message() {
    assert_eq!(scan(&[(0x02, 70_000), (0x80, 30_000)]), ScanEnd::More);
    assert_eq!(code(scan(&[(0x82, 70_001)])), TOO_LARGE);
    assert_eq!(code(scan(&[(0x02, 70_000), (0x80, 30_001)])), TOO_LARGE);
    // The size of the next message starts at zero.
    assert_eq!(scan(&[(0x02, 70_000), (0x80, 30_000), (0x82, 70_000)]), ScanEnd::More);
    let endless = [0x82, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(server(false).scan(&endless), (0, server(false).scan(&endless).1));
    assert_eq!(code(server(false).scan(&endless).1), TOO_LARGE);
    let unbounded = FrameLimits { frame: u64::MAX, message: u64::MAX };
    assert_eq!(WebSocketFrames::new(Sender::Server, unbounded, false).scan(&endless), (10, ScanEnd::More));
}

#[test]
fn nothing_passes_behind_a_close_frame() {
    let mut bytes = frame(Sender::Server, 0x88, 2);
    let length = bytes.len();
    bytes.extend(frame(Sender::Server, 0x81, 1));
    let mut frames = server(false);
    assert_eq!(frames.scan(&bytes[..3]), (3, ScanEnd::More));
    assert!(!frames.is_closed());
    assert_eq!(frames.scan(&bytes[3..]), (length - 3, ScanEnd::Closed));
    assert!(frames.is_closed());
    assert_eq!(frames.scan(&bytes[length..]), (0, ScanEnd::Closed));
}

#[test]
fn what_is_wrong_is_said_as_soon_as_it_shows_and_nothing_of_it_passes() {
    let mut bytes = frame(Sender::Client, 0x81, 2);
    let whole = bytes.len();
    bytes.extend_from_slice(&[0x82, 0xFF, 0, 0, 0, 0, 0x7F, 0, 0, 0]);
    let mut frames = WebSocketFrames::new(Sender::Client, LIMITS, false);
    let (passed, found) = frames.scan(&bytes);
    // The key has not arrived yet.
    assert_eq!((passed, code(found)), (whole, TOO_LARGE));
    assert!(frames.is_at_boundary());
}

#[test]
fn the_rest_of_a_frame_can_be_passed_alone() {
    let mut bytes = frame(Sender::Server, 0x82, 10);
    bytes.extend(frame(Sender::Server, 0x82, 10));
    let mut frames = server(false);
    assert_eq!(frames.scan(&bytes[..5]), (5, ScanEnd::More));
    assert!(!frames.is_at_boundary());
    assert_eq!(frames.pass(&bytes[5..]), 7);
    assert!(frames.is_at_boundary());
    assert_eq!(frames.pass(&bytes[12..]), 0);
}

#[test]
fn a_close_frame_that_is_held_is_found_where_it_begins() {
    let before = [frame(Sender::Server, 0x81, 300), frame(Sender::Server, 0x89, 5)].concat();
    let bytes = [&before[..], &frame(Sender::Server, 0x88, 2), &frame(Sender::Server, 0x81, 1)].concat();
    for cut in 0..bytes.len() {
        let mut frames = server(false);
        frames.hold_close();
        let (first, found) = frames.scan(&bytes[..cut]);
        if found == ScanEnd::More {
            let (second, found) = frames.scan(&bytes[first..]);
            assert_eq!((first + second, found), (before.len(), ScanEnd::Closed), "cut at {cut}");
        } else {
            assert_eq!((first, found), (before.len(), ScanEnd::Closed), "cut at {cut}");
        }
        assert!(frames.is_closed() && frames.is_at_boundary());
    }
}

#[test]
fn close_frames_of_our_own_are_valid() {
    let mut out = Vec::new();
    close(&mut out, GOING_AWAY, "bye", None);
    assert_eq!(out, [0x88, 5, 0x03, 0xE9, b'b', b'y', b'e']);
    let mut masked = Vec::new();
    close(&mut masked, 0x0304, "ab", Some([1, 2, 3, 4]));
    assert_eq!(masked, [0x88, 0x84, 1, 2, 3, 4, 0x03 ^ 1, 0x04 ^ 2, b'a' ^ 3, b'b' ^ 4]);
    let mut long = Vec::new();
    close(&mut long, TOO_LARGE, &"ä".repeat(100), None);
    assert_eq!(long.len(), 2 + 2 + 122);
    assert_eq!(server(false).scan(&long), (long.len(), ScanEnd::Closed));
}

proptest! {
    /// However the bytes are split, the same bytes pass and the same result is found.
    #[test]
    fn cutting_changes_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        steps in prop::collection::vec(1..20_usize, 1..20),
        client in any::<bool>(),
    ) {
        let sender = if client { Sender::Client } else { Sender::Server };
        let limits = FrameLimits { frame: 100, message: 150 };
        let whole = WebSocketFrames::new(sender, limits, true).scan(&bytes);
        let mut frames = WebSocketFrames::new(sender, limits, true);
        let (mut passed, mut end, mut found) = (0, 0, ScanEnd::More);
        for step in steps.iter().cycle() {
            if end == bytes.len() || found != ScanEnd::More {
                break;
            }
            end = (end + step).min(bytes.len());
            let (n, now) = frames.scan(&bytes[passed..end]);
            passed += n;
            found = now;
            prop_assert!(found != ScanEnd::More || end - passed < MAX_HEADER);
        }
        prop_assert_eq!((passed, found), if found == ScanEnd::More { (passed, whole.1) } else { whole });
        if found == ScanEnd::More {
            prop_assert_eq!(passed, whole.0);
        }
    }

    /// All valid frames pass.
    #[test]
    fn valid_frames_pass(
        frames in prop::collection::vec((0..3_u8, 0..4_usize, 0..300_usize), 0..20),
        client in any::<bool>(),
    ) {
        let sender = if client { Sender::Client } else { Sender::Server };
        let mut bytes = Vec::new();
        for (opcode, pieces, length) in frames {
            if opcode == 0 {
                bytes.extend(frame(sender, 0x89, length.min(125)));
            } else if pieces == 0 {
                bytes.extend(frame(sender, 0x80 | opcode, length));
            } else {
                bytes.extend(frame(sender, opcode, length));
                for piece in 0..pieces {
                    bytes.extend(frame(sender, 0x8A, 3));
                    bytes.extend(frame(sender, if piece + 1 == pieces { 0x80 } else { 0 }, length));
                }
            }
        }
        let mut scanned = WebSocketFrames::new(sender, LIMITS, false);
        prop_assert_eq!(scanned.scan(&bytes), (bytes.len(), ScanEnd::More));
        prop_assert!(scanned.is_at_boundary());
    }
}
