use proptest::prelude::*;

use super::*;

fn decoded(coded: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = b"before".to_vec();
    decode(coded, &mut out).map(|()| out.split_off(6))
}

fn encoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(text, &mut out);
    assert_eq!(out.len(), encoded_len(text));
    out
}

/// Appends `code`, of `length` bits, to `bits`.
fn push(bits: &mut Vec<bool>, code: u32, length: u8) {
    bits.extend((0..length).rev().map(|place| code >> place & 1 == 1));
}

fn bytes(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8).map(|byte| byte.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit)) << (8 - byte.len())).collect()
}

#[test]
fn the_examples_of_appendix_c_4() {
    assert_eq!(encoded(b"www.example.com"), *b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff");
    assert_eq!(encoded(b"no-cache"), *b"\xa8\xeb\x10\x64\x9c\xbf");
    assert_eq!(encoded(b""), b"");
}

#[test]
fn the_code_is_that_of_appendix_b() {
    for (symbol, code, length) in [
        (0, 0x1ff8, 13),
        (10, 0x3fff_fffc, 30),
        (48, 0, 5),
        (92, 0x7fff0, 19),
        (255, 0x3ff_ffee, 26),
        (EOS, 0x3fff_ffff, 30),
    ] {
        assert_eq!((CODES[symbol], LENGTHS[symbol]), (code, length), "{symbol}");
    }
    // Every sequence of bits begins with exactly one code.
    assert_eq!(LENGTHS.iter().map(|length| 1_u64 << (32 - length)).sum::<u64>(), 1 << 32);
}

#[test]
fn every_symbol_is_found_behind_every_other() {
    for first in 0..=255_u8 {
        for second in 0..=255 {
            let text = [first, second, first, first, second, b'a'];
            assert_eq!(decoded(&encoded(&text)), Ok(text.to_vec()));
        }
    }
}

#[test]
fn padding_is_less_than_a_byte_of_ones() {
    // `a` is 00011.
    assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
    assert_eq!(decoded(&[0b0001_1110]), Err("Huffman padding that is not ones"));
    assert_eq!(decoded(&[0b0001_1011]), Err("Huffman padding that is not ones"));
    assert_eq!(decoded(&[0b0001_1111, 0xFF]), Err("Huffman padding of a byte or more"));
    assert_eq!(decoded(&[0xFF]), Err("Huffman padding of a byte or more"));
    for text in [&b"aaaaaaaa"[..], b"aaaaaaaaaaaaaaaa", b"aaaaaaaaaaaaaaaaaaaaaaaa"] {
        let whole = encoded(text);
        assert_eq!(whole.len() % 5, 0, "without padding");
        assert_eq!(decoded(&whole), Ok(text.to_vec()));
        assert_eq!(decoded(&[&whole[..], &[0xFF]].concat()), Err("Huffman padding of a byte or more"));
        assert_eq!(decoded(&[&whole[..], &[0xFF; 3]].concat()), Err("Huffman padding of a byte or more"));
    }
}

#[test]
fn the_end_is_refused_wherever_it_is() {
    for before in 0..40 {
        for after in [0, 1, 40] {
            let mut bits = Vec::new();
            for _ in 0..before {
                push(&mut bits, CODES[usize::from(b'a')], LENGTHS[usize::from(b'a')]);
            }
            push(&mut bits, CODES[EOS], LENGTHS[EOS]);
            for _ in 0..after {
                push(&mut bits, CODES[usize::from(b'a')], LENGTHS[usize::from(b'a')]);
            }
            bits.resize(bits.len().next_multiple_of(8), true);
            assert_eq!(decoded(&bytes(&bits)), Err(END_IN_TEXT), "{before} {after}");
        }
    }
}

/// Decodes bit by bit.
fn slowly(coded: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut code, mut length) = (Vec::new(), 0_u32, 0);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        if let Some(symbol) = (0..=EOS).find(|&symbol| LENGTHS[symbol] == length && CODES[symbol] == code) {
            out.push(u8::try_from(symbol).ok()?);
            (code, length) = (0, 0);
        }
    }
    (length < 8 && code + 1 == 1 << length).then_some(out)
}

proptest! {
    #[test]
    fn texts_survive(text: Vec<u8>) {
        prop_assert_eq!(decoded(&encoded(&text)), Ok(text));
    }

    #[test]
    fn any_bytes_are_read_as_one_bit_after_the_other_would_be(
        coded in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0xFF), 1 => Just(0xFE)], 0..40)
    ) {
        prop_assert_eq!(decoded(&coded).ok(), slowly(&coded));
    }
}
