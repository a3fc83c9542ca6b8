//! What must hold of HPACK and of the frames of HTTP/2 for any input. Called by the fuzz targets and by
//! `crates/http/tests`.
#![allow(dead_code, reason = "each fuzz target calls one of these")]

use pylae_http::http2::connection::{Http2Connection, Http2Event, Http2Grants, PREFACE, Received};
use pylae_http::http2::frame::{self, FrameHeader, FramePayload, flag};
use pylae_http::http2::hpack::{HeadPart, HpackDecoder, HpackEncoder, HpackError};
use pylae_http::http2::settings::{MAX_WINDOW, Settings};

const MAX_LIST: usize = 2000;
const MAX_FRAME: u32 = 16_384;

/// The first byte of `data` says how large the table is. The rest are blocks, each after its length in one byte.
pub(crate) fn hpack(data: &[u8]) {
    let [first, data @ ..] = data else { return };
    let size = usize::from(*first) * 16;
    let (mut decoder, mut encoder) = (HpackDecoder::new(size, MAX_LIST), HpackEncoder::new());
    encoder.set_max_table(size);
    let mut mirror = HpackDecoder::new(4096, MAX_LIST);
    mirror.set_max_table(size);
    let mut data = data;
    while let [len, rest @ ..] = data {
        let (block, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        data = rest;
        let (done, fields) = decoded(&mut decoder, block);
        if fields.is_empty() {
            if matches!(done, Err(HpackError::Compression(_))) {
                return;
            }
            continue;
        }
        // What was found is found again in what we make of it.
        let mut again = Vec::new();
        for (name, value, never) in &fields {
            encoder.encode(&mut again, name, value, *never);
        }
        let (redone, found) = decoded(&mut mirror, &again);
        assert_eq!(redone, Ok(()));
        assert!(fields.iter().map(|field| (&field.0, &field.1)).eq(found.iter().map(|field| (&field.0, &field.1))));
        if matches!(done, Err(HpackError::Compression(_))) {
            return;
        }
    }
}

type Line = (Vec<u8>, Vec<u8>, bool);

fn decoded(decoder: &mut HpackDecoder, block: &[u8]) -> (Result<(), HpackError<()>>, Vec<Line>) {
    let (mut fields, mut list) = (Vec::new(), 0);
    let done = decoder.decode(block, |field| {
        let (name, value) = (field.name(), field.value());
        list += name.len() + value.len() + 32;
        assert!(list <= MAX_LIST);
        assert_eq!(field.line(), [name, b": ", value, b"\r\n"].concat());
        if field.part() != HeadPart::Malformed {
            let controls = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7F;
            assert!(!value.iter().any(controls) && value.trim_ascii() == value);
            assert!(!name.iter().any(|byte| byte.is_ascii_uppercase() || *byte <= b' ' || *byte >= 0x7F));
            assert_eq!(name.iter().rposition(|&byte| byte == b':').is_some(), is_pseudo(field.part()));
        }
        fields.push((name.to_vec(), value.to_vec(), field.never_indexed()));
        Ok(())
    });
    (done, fields)
}

fn is_pseudo(part: HeadPart) -> bool {
    !matches!(part, HeadPart::Line { .. } | HeadPart::Malformed)
}

/// `data` as frames.
pub(crate) fn frames(mut data: &[u8]) {
    let mut settings = Settings::default();
    while let Some((head, rest)) = data.split_first_chunk() {
        let header = FrameHeader::read(head);
        assert!(header.stream <= MAX_WINDOW && header.length < 1 << 24);
        assert_eq!(FrameHeader::read(&header.bytes()), header);
        if header.check(MAX_FRAME).is_err() {
            return;
        }
        assert!(header.length <= MAX_FRAME);
        let Some((payload, rest)) = rest.split_at_checked(header.length as usize) else { return };
        data = rest;
        if let Ok(read) = FramePayload::read(&header, payload) {
            written(&header, read, payload, &mut settings);
        }
    }
}

/// Writes a frame as we would, and reads it again.
fn written(header: &FrameHeader, payload: FramePayload<'_>, raw: &[u8], settings: &mut Settings) {
    let (mut out, end, stream) = (Vec::new(), header.has(flag::END_STREAM), header.stream);
    match payload {
        FramePayload::Data(data) => {
            assert!(data.len() <= raw.len());
            frame::data(&mut out, stream, data.len(), end);
            out.extend_from_slice(data);
        }
        FramePayload::Headers(headers) => {
            assert!(headers.block.len() <= raw.len());
            frame::block(&mut out, stream, end, MAX_FRAME as usize, |out| out.extend_from_slice(headers.block));
            if headers.depends_on_itself {
                return;
            }
        }
        FramePayload::RstStream(code) => frame::reset(&mut out, stream, code),
        FramePayload::Settings(bytes) => {
            let before = *settings;
            if settings.read(bytes, true).is_err() {
                *settings = before;
            }
            assert!(settings.initial_window_size <= MAX_WINDOW && settings.max_frame_size >= MAX_FRAME);
            let list: Vec<_> = bytes
                .as_chunks::<6>()
                .0
                .iter()
                .map(|&[a, b, c, d, e, f]| (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f])))
                .collect();
            frame::settings(&mut out, &list);
        }
        FramePayload::SettingsAck => frame::settings_ack(&mut out),
        FramePayload::Ping(data) => frame::ping(&mut out, data, false),
        FramePayload::PingAck(data) => frame::ping(&mut out, data, true),
        FramePayload::GoAway { last_stream, code, debug } => frame::go_away(&mut out, last_stream, code, debug),
        FramePayload::WindowUpdate(increment) => {
            assert!((1..=MAX_WINDOW).contains(&increment));
            frame::window_update(&mut out, stream, increment);
        }
        FramePayload::Continuation(_) | FramePayload::Ignored => return,
    }
    assert_eq!(read(&out), Some(payload));
}

fn read(bytes: &[u8]) -> Option<FramePayload<'_>> {
    let (head, payload) = bytes.split_first_chunk()?;
    let header = FrameHeader::read(head);
    header.check(MAX_FRAME).ok()?;
    FramePayload::read(&header, payload).ok()
}

/// `data` as what a client sends after its preface, or an instance after a request, by its first bit; in pieces of a
/// size that its other bits say. Whatever comes, what is received is bounded, text that is no refusal has no line of
/// its own making, and the connection answers.
pub(crate) fn connection(data: &[u8]) {
    let [first, data @ ..] = data else { return };
    let limits = Http2Grants { max_streams: 5, stream_window: 70_000, connection_window: 90_000, max_head: 1000 };
    let is_server = first & 1 == 0;
    let mut connection = if is_server { Http2Connection::server(limits) } else { Http2Connection::client(limits) };
    let mut open = Vec::new();
    if is_server {
        connection.receive(PREFACE, |_| true);
    } else {
        let request = b"POST /a HTTP/1.1\r\nHost: a\r\n\r\n";
        open.extend((0..3).filter_map(|_| connection.open(request, b"http", false).ok()).map(|(key, _)| key));
    }
    let mut text = Vec::new();
    for piece in data.chunks(usize::from(first >> 1) * 16 + 1) {
        connection.receive(piece, |_| true);
        while let Some(event) = connection.next_event() {
            match event {
                Http2Event::Opened(key) => {
                    assert!(is_server);
                    open.push(key);
                }
                Http2Event::Changed(_) => {}
            }
        }
        assert!(open.len() <= 10);
        open.retain(|&key| {
            text.clear();
            let refused = connection.refusal(key).is_some();
            let found = connection.read(key, &mut text, 5000);
            assert!(text.len() <= 5000 + 5 * limits.max_head, "{}", text.len());
            if is_server && !refused && text.starts_with(b"GET") {
                let lines = text.split(|&byte| byte == b'\n');
                assert!(lines.filter(|line| line.starts_with(b"host:")).count() <= 1);
            }
            if is_server && matches!(found, Received::End) {
                connection.respond(key, b"HTTP/1.1 200 OK\r\n\r\n", false, false);
                connection.send_data(key, &[0; 100], true);
            }
            let goes_on = matches!(found, Received::Bytes(_) | Received::Nothing) && !refused;
            if !goes_on {
                connection.release(key);
            }
            goes_on
        });
        connection.share_out();
        // What it says is frames.
        let mut said = connection.output();
        said = said.strip_prefix(PREFACE).unwrap_or(said);
        while let Some((head, rest)) = said.split_first_chunk() {
            let header = FrameHeader::read(head);
            said = &rest[header.length as usize..];
        }
        assert!(said.is_empty());
        connection.wrote(connection.output().len());
    }
}
