use proptest::prelude::*;

use super::super::reader::{WireField, fields};
use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[test]
fn the_examples_of_the_specification() {
    assert_eq!(written(|out| put_uint(out, 1, 150)), [0x08, 0x96, 0x01]);
    assert_eq!(written(|out| put_string(out, 2, "testing")), [0x12, 7, b't', b'e', b's', b't', b'i', b'n', b'g']);
    assert_eq!(written(|out| put_message(out, 3, |out| put_uint(out, 1, 150))), [0x1a, 0x03, 0x08, 0x96, 0x01]);
    let minus_two = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(written(|out| put_int(out, 1, -2))[1..], minus_two);
}

#[test]
fn fixed_numbers_are_little_endian() {
    assert_eq!(written(|out| put_fixed64(out, 1, 1)), [0x09, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(written(|out| put_fixed32(out, 16, 2)), [0x85, 0x01, 2, 0, 0, 0]);
    assert_eq!(written(|out| put_double(out, 1, 1.0))[1..], 1.0_f64.to_le_bytes());
}

fn nested(out: &mut Vec<u8>, depth: u32, text: &[u8]) {
    if depth == 0 {
        return put_bytes(out, 1, text);
    }
    let write = |out: &mut Vec<u8>| nested(out, depth - 1, text);
    if depth.is_multiple_of(2) {
        put_message(out, depth + 1, write);
    } else {
        put_long_message(out, depth + 1, write);
    }
}

proptest! {
    #[test]
    fn numbers_are_read_as_they_were_written(field in 1_u32..=1000, value: u64) {
        let bytes = written(|out| put_uint(out, field, value));
        prop_assert_eq!(fields(&bytes), [(field, WireField::Number(value))]);
    }

    #[test]
    fn messages_of_any_length_are_whole(length in prop_oneof![0_usize..300, 16_380..16_390_usize], depth in 1_u32..4) {
        let text = vec![b'a'; length];
        let mut bytes = written(|out| nested(out, depth, &text));
        for level in (1..=depth).rev() {
            let found = fields(&bytes);
            let [(field, WireField::Bytes(inner))] = &found[..] else { panic!("one message") };
            prop_assert_eq!(*field, level + 1);
            bytes = inner.to_vec();
        }
        prop_assert_eq!(fields(&bytes), [(1, WireField::Bytes(&text[..]))]);
    }
}
