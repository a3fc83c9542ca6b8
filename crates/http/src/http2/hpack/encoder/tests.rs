use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::Name;
use crate::http2::hpack::{HpackDecoder, HpackError};

const SECRET: [&[u8]; 4] = [b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"];

type Line = (Vec<u8>, Vec<u8>, bool);

fn encoded(encoder: &mut HpackEncoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        encoder.encode(&mut out, name.as_bytes(), value.as_bytes(), false);
    }
    out
}

fn decoded(decoder: &mut HpackDecoder, block: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    let done: Result<(), HpackError<Infallible>> = decoder.decode(block, |field| {
        lines.push((field.name().to_vec(), field.value().to_vec(), field.never_indexed()));
        Ok(())
    });
    assert_eq!(done, Ok(()));
    lines
}

const RESPONSE: [(&str, &str); 8] = [
    (":status", "200"),
    ("content-type", "application/json"),
    ("content-length", "180"),
    ("date", "Mon, 30 Nov 2026 10:00:00 GMT"),
    ("server", "example"),
    ("x-frame-options", "DENY"),
    ("via", "1.1 pylae"),
    ("x-request-id", "0190a6e0c3f87b2e"),
];

#[test]
fn what_comes_again_is_an_index_the_third_time() {
    let mut encoder = HpackEncoder::new();
    let mut lengths = Vec::new();
    for request in 0..4 {
        let mut fields = RESPONSE;
        let id = format!("0190a6e0c3f87b2{request}");
        fields[7].1 = &id;
        lengths.push(encoded(&mut encoder, &fields).len());
    }
    assert!(lengths[0] >= lengths[1] && lengths[1] > 2 * lengths[2], "{lengths:?}");
    // :status, content-type, date, server, x-frame-options, via; then content-length and x-request-id.
    assert_eq!(lengths[2..], [6 + 6 + 19; 2], "{lengths:?}");
    // Nothing else came into the table, so nothing goes out of it.
    assert_eq!(encoder.table.added(), 6);
}

#[test]
fn indexes_of_the_static_table_are_those_of_their_names() {
    assert_eq!(SENSITIVE.map(|index| FIELDS[usize::from(index) - 1].name()), SECRET);
    assert_eq!(FIELDS[usize::from(CONTENT_LENGTH) - 1].name(), b"content-length");
}

#[test]
fn secrets_come_into_no_table() {
    let mut encoder = HpackEncoder::new();
    let mut decoder = HpackDecoder::new(4096, 1 << 20);
    let names = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];
    for _ in 0..3 {
        let mut out = Vec::new();
        for name in names {
            encoder.encode(&mut out, name.as_bytes(), b"secret", name == "x-api-key");
        }
        assert!(decoded(&mut decoder, &out).iter().all(|line| line.1 == b"secret" && line.2));
    }
    assert_eq!(encoder.table.added(), 0);
}

#[test]
fn a_smaller_table_is_said_and_kept_to() {
    let mut encoder = HpackEncoder::new();
    let mut decoder = HpackDecoder::new(4096, 1 << 20);
    let field = [("x-frame-options", "DENY")];
    let first = encoded(&mut encoder, &field);
    decoded(&mut decoder, &first);
    assert_eq!(encoded(&mut encoder, &field), [0xBE]);
    // What is allowed beyond the default is not used.
    encoder.set_max_table(65_536);
    assert_eq!(encoded(&mut encoder, &field), [0xBE]);
    // Smaller than the field and large again.
    encoder.set_max_table(20);
    encoder.set_max_table(4096);
    assert_eq!(encoded(&mut encoder, &field), [&[0x34, 0x3F, 0xE1, 0x1F], &first[..]].concat());
    assert_eq!(encoded(&mut encoder, &field), [0xBE]);
    // No table at all.
    encoder.set_max_table(0);
    let block = encoded(&mut encoder, &field);
    assert_eq!((block[0], block[1]), (0x20, 0));
    assert_eq!(encoded(&mut encoder, &field), block[1..]);
    decoder.set_max_table(0);
    assert_eq!(decoded(&mut decoder, &block), [(b"x-frame-options".to_vec(), b"DENY".to_vec(), false)]);
}

#[test]
fn lines_of_http_1_are_the_same_fields() {
    let lines = [
        ("Content-Type", "text/plain"),
        ("ACCEPT-ENCODING", "gzip, deflate"),
        ("Content_Type", "text/html"),
        ("X-Request-ID", "1"),
        ("X-Other", "2"),
        ("Transfer-Encoding", ""),
        ("Set-Cookie", "a=b"),
    ];
    let (mut one, mut other) = (HpackEncoder::new(), HpackEncoder::new());
    for _ in 0..3 {
        let (mut as_lines, mut as_fields) = (Vec::new(), Vec::new());
        for (name, value) in lines {
            let id = if name.contains('_') { Name::Other } else { Name::classify(name.as_bytes()) };
            one.encode_line(&mut as_lines, id, name.as_bytes(), value.as_bytes(), false);
            other.encode(&mut as_fields, name.to_lowercase().as_bytes(), value.as_bytes(), false);
        }
        assert_eq!(as_lines, as_fields);
    }
}

#[test]
fn a_field_as_large_as_the_table_stays_out_of_it() {
    let mut encoder = HpackEncoder::new();
    let large = "x".repeat(4000);
    let small = [("x-frame-options", "DENY")];
    encoded(&mut encoder, &small);
    for _ in 0..3 {
        encoded(&mut encoder, &[("content-security-policy", &large)]);
    }
    assert_eq!(encoded(&mut encoder, &small), [0xBE]);
}

/// Fields whose names and values are often seen.
fn field() -> impl Strategy<Value = Line> {
    let name = prop_oneof![
        prop::sample::select(&[":path", ":status", "accept", "cookie", "content-length", "date", "x-one", "x-two"][..])
            .prop_map(|name| name.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    let value = prop_oneof![
        prop::sample::select(&["", "/", "200", "one", "two"][..]).prop_map(|value| value.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..60),
        prop::collection::vec(any::<u8>(), 0..500),
    ];
    (name, value, prop::bool::weighted(0.1))
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        blocks in prop::collection::vec(
            (prop::collection::vec(0..5000_usize, 0..2), prop::collection::vec((field(), 1..4_usize), 1..30)), 1..12),
    ) {
        let mut encoder = HpackEncoder::new();
        let mut decoder = HpackDecoder::new(4096, 1 << 20);
        for (sizes, fields) in blocks {
            for size in sizes {
                encoder.set_max_table(size);
                decoder.set_max_table(size);
            }
            let fields: Vec<_> = fields.into_iter().flat_map(|(field, times)| std::iter::repeat_n(field, times)).collect();
            let mut out = Vec::new();
            for (name, value, sensitive) in &fields {
                encoder.encode(&mut out, name, value, *sensitive);
            }
            let found = decoded(&mut decoder, &out);
            // An index that every table has cannot say that a value is secret.
            let expected: Vec<_> = fields.into_iter().map(|(name, value, sensitive)| {
                let everywhere = FIELDS.iter().any(|field| field.name() == name && field.value() == value && !value.is_empty());
                let never = (sensitive || SECRET.contains(&&name[..])) && !everywhere;
                (name, value, never)
            }).collect();
            prop_assert_eq!(expected, found);
        }
    }
}
