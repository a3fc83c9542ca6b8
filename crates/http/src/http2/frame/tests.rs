use super::*;
use crate::http2::error::ErrorScope;

const MAX: u32 = 16_384;

/// Reads a frame, as its bytes say.
fn read(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<FramePayload<'_>, Http2Error> {
    let header = FrameHeader { length: payload.len() as u32, kind: FrameKind::from_byte(kind), flags, stream };
    assert_eq!(FrameHeader::read(&header.bytes()), header);
    header.check(MAX)?;
    FramePayload::read(&header, payload)
}

fn error(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> (ErrorScope, Http2Code) {
    let error = read(kind, flags, stream, payload).expect_err("an error");
    (error.scope, error.code)
}

#[test]
fn headers_are_read_as_they_are_written() {
    for kind in 0..=255 {
        let header =
            FrameHeader { length: 0x0001_0203, kind: FrameKind::from_byte(kind), flags: 0xA5, stream: 0x7123_4567 };
        assert_eq!(header.bytes(), [1, 2, 3, kind, 0xA5, 0x71, 0x23, 0x45, 0x67]);
        assert_eq!(FrameHeader::read(&header.bytes()), header);
        assert_eq!(header.kind.to_byte(), kind);
    }
    let reserved = FrameHeader::read(&[0, 0, 0, 0, 0, 0x80, 0, 0, 1]);
    assert_eq!(reserved.stream, 1);
}

#[test]
fn what_breaks_a_rule_has_its_code_and_ends_what_it_has_to() {
    use ErrorScope::{Connection, Stream};
    const SIZE: Http2Code = Http2Code::FRAME_SIZE_ERROR;
    const PROTOCOL: Http2Code = Http2Code::PROTOCOL_ERROR;
    let large = vec![0; MAX as usize + 1];
    for (frame, scope, code) in [
        // Section 4.2
        ((0, 0, 1, &large[..]), Connection, SIZE),
        ((1, 0, 1, &large[..]), Connection, SIZE),
        ((0xF0, 0, 0, &large[..]), Connection, SIZE),
        // Section 6.1
        ((0, 0, 0, &[1][..]), Connection, PROTOCOL),
        ((0, 8, 1, &[]), Connection, SIZE),
        ((0, 8, 1, &[1]), Connection, PROTOCOL),
        ((0, 8, 1, &[3, 1, 1]), Connection, PROTOCOL),
        // Section 6.2
        ((1, 4, 0, &[0x82]), Connection, PROTOCOL),
        ((1, 8, 1, &[]), Connection, SIZE),
        ((1, 8, 1, &[2, 0x82]), Connection, PROTOCOL),
        ((1, 0x20, 1, &[0; 4]), Connection, SIZE),
        ((1, 0x28, 1, &[0; 5]), Connection, SIZE),
        ((1, 0x28, 1, &[1, 0, 0, 0, 0, 0]), Connection, PROTOCOL),
        // Section 6.3, RFC 7540 section 5.3.1
        ((2, 0, 0, &[0; 5]), Connection, PROTOCOL),
        ((2, 0, 1, &[0; 4]), Stream, SIZE),
        ((2, 0, 1, &[0; 6]), Stream, SIZE),
        ((2, 0, 7, &[0x80, 0, 0, 7, 1]), Stream, PROTOCOL),
        // Section 6.4
        ((3, 0, 0, &[0; 4]), Connection, PROTOCOL),
        ((3, 0, 1, &[0; 3]), Connection, SIZE),
        ((3, 0, 1, &[0; 5]), Connection, SIZE),
        // Section 6.5
        ((4, 0, 1, &[]), Connection, PROTOCOL),
        ((4, 1, 0, &[0; 6]), Connection, SIZE),
        ((4, 0, 0, &[0; 5]), Connection, SIZE),
        // Section 6.6
        ((5, 4, 1, &[0, 0, 0, 2, 0x82]), Connection, PROTOCOL),
        ((5, 4, 0, &[]), Connection, PROTOCOL),
        // Section 6.7
        ((6, 0, 1, &[0; 8]), Connection, PROTOCOL),
        ((6, 0, 0, &[0; 7]), Connection, SIZE),
        ((6, 1, 0, &[0; 9]), Connection, SIZE),
        // Section 6.8
        ((7, 0, 1, &[0; 8]), Connection, PROTOCOL),
        ((7, 0, 0, &[0; 7]), Connection, SIZE),
        // Section 6.9
        ((8, 0, 0, &[0; 3]), Connection, SIZE),
        ((8, 0, 1, &[0; 5]), Connection, SIZE),
        ((8, 0, 0, &[0x80, 0, 0, 0]), Connection, PROTOCOL),
        ((8, 0, 1, &[0; 4]), Stream, PROTOCOL),
        // Section 6.10
        ((9, 4, 0, &[]), Connection, PROTOCOL),
    ] {
        let (kind, flags, stream, payload) = frame;
        assert_eq!(error(kind, flags, stream, payload), (scope, code), "{kind} {flags:#x} {stream} {}", payload.len());
    }
}

#[test]
fn payloads_are_what_is_between_lengths_and_padding() {
    let headers = |block, depends_on_itself| Ok(FramePayload::Headers(HeadersPayload { block, depends_on_itself }));
    assert_eq!(read(0, 1, 1, b"body"), Ok(FramePayload::Data(b"body")));
    assert_eq!(read(0, 8, 1, b"\x02body\0\0"), Ok(FramePayload::Data(b"body")));
    assert_eq!(read(0, 8, 1, b"\x02\0\0"), Ok(FramePayload::Data(b"")));
    assert_eq!(read(1, 4, 1, b"\x82"), headers(&b"\x82"[..], false));
    assert_eq!(read(1, 0x2C, 3, b"\x01\x80\0\0\x01\x10\x82\0"), headers(&b"\x82"[..], false));
    assert_eq!(read(1, 0x24, 1, b"\x80\0\0\x01\x10\x82"), headers(&b"\x82"[..], true));
    assert_eq!(read(1, 0, 1, b""), headers(&b""[..], false));
    assert_eq!(read(2, 0, 1, &[0; 5]), Ok(FramePayload::Ignored));
    assert_eq!(read(3, 0, 1, &[0, 0, 0, 8]), Ok(FramePayload::RstStream(Http2Code::CANCEL)));
    assert_eq!(read(4, 0, 0, &[0; 6]), Ok(FramePayload::Settings(&[0; 6])));
    assert_eq!(read(4, 1, 0, &[]), Ok(FramePayload::SettingsAck));
    assert_eq!(read(6, 0, 0, b"12345678"), Ok(FramePayload::Ping(*b"12345678")));
    assert_eq!(read(6, 1, 0, b"12345678"), Ok(FramePayload::PingAck(*b"12345678")));
    let bye = FramePayload::GoAway { last_stream: 5, code: Http2Code::ENHANCE_YOUR_CALM, debug: b"why" };
    assert_eq!(read(7, 0, 0, b"\x80\0\0\x05\0\0\0\x0bwhy"), Ok(bye));
    assert_eq!(read(8, 0, 0, &[0x80, 0, 0, 1]), Ok(FramePayload::WindowUpdate(1)));
    assert_eq!(read(9, 4, 1, b"\x82"), Ok(FramePayload::Continuation(b"\x82")));
    // RFC 9218 section 7.1, and types that nobody has defined
    assert_eq!(read(0x10, 0, 0, b"\0\0\0\x01u=1"), Ok(FramePayload::Ignored));
    assert_eq!(read(0xFF, 0xFF, 77, b"any"), Ok(FramePayload::Ignored));
}

/// Splits what was written.
fn frames(mut bytes: &[u8]) -> Vec<(FrameHeader, &[u8])> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let header = FrameHeader::read(head);
        let (payload, rest) = rest.split_at(header.length as usize);
        assert_eq!(header.check(MAX), Ok(()));
        found.push((header, payload));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    found
}

#[test]
fn what_is_written_is_read() {
    let mut out = Vec::new();
    data(&mut out, 1, 4, true);
    out.extend_from_slice(b"body");
    reset(&mut out, 1, Http2Code::CANCEL);
    settings(&mut out, &[(1, 4096), (3, 100)]);
    settings_ack(&mut out);
    ping(&mut out, *b"12345678", false);
    ping(&mut out, *b"12345678", true);
    go_away(&mut out, 7, Http2Code::NO_ERROR, b"bye");
    window_update(&mut out, 0, 65_535);
    let read: Vec<_> = frames(&out)
        .iter()
        .map(|(header, payload)| (header.stream, header.flags, FramePayload::read(header, payload)))
        .collect();
    let bye = FramePayload::GoAway { last_stream: 7, code: Http2Code::NO_ERROR, debug: b"bye" };
    assert_eq!(
        read,
        [
            (1, 1, Ok(FramePayload::Data(b"body"))),
            (1, 0, Ok(FramePayload::RstStream(Http2Code::CANCEL))),
            (0, 0, Ok(FramePayload::Settings(&[0, 1, 0, 0, 0x10, 0, 0, 3, 0, 0, 0, 100]))),
            (0, 1, Ok(FramePayload::SettingsAck)),
            (0, 0, Ok(FramePayload::Ping(*b"12345678"))),
            (0, 1, Ok(FramePayload::PingAck(*b"12345678"))),
            (0, 0, Ok(bye)),
            (0, 0, Ok(FramePayload::WindowUpdate(65_535))),
        ]
    );
}

#[test]
fn a_block_is_cut_into_as_many_frames_as_it_needs() {
    for (length, pieces) in [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3)] {
        let text: Vec<u8> = (0..length).collect();
        let mut out = b"\0\0\0\x04\x01\0\0\0\0".to_vec();
        block(&mut out, 5, true, 10, |out| out.extend_from_slice(&text));
        let found = &frames(&out)[1..];
        assert_eq!(found.len(), pieces, "{length}");
        let joined: Vec<u8> = found.iter().flat_map(|(_, payload)| payload.iter().copied()).collect();
        assert_eq!(joined, text);
        for (place, (header, payload)) in found.iter().enumerate() {
            assert!(payload.len() <= 10 && header.stream == 5);
            assert_eq!(header.kind, if place == 0 { FrameKind::Headers } else { FrameKind::Continuation });
            assert_eq!(header.has(flag::END_STREAM), place == 0);
            assert_eq!(header.has(flag::END_HEADERS), place + 1 == pieces);
        }
    }
}
