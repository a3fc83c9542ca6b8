//! Integers with a prefix (RFC 7541 section 5.1).

/// Most bytes after the prefix that are read: lengths and indexes of more than 28 bits have no use here, and zeros in
/// front would have no end.
const MOST_BYTES: u32 = 4;

/// Reads an integer whose prefix has `bits` bits at the start of `block`. Returns it with the number of bytes.
#[inline]
pub(super) fn read(block: &[u8], bits: u32) -> Result<(usize, usize), &'static str> {
    let Some(&first) = block.first() else { return Err("a block that ends in an integer") };
    let most = (1 << bits) - 1;
    let prefix = usize::from(first) & most;
    if prefix < most { Ok((prefix, 1)) } else { read_more(block, most) }
}

fn read_more(block: &[u8], prefix: usize) -> Result<(usize, usize), &'static str> {
    let mut value = prefix;
    for place in 0..MOST_BYTES {
        let Some(&byte) = block.get(1 + place as usize) else { return Err("a block that ends in an integer") };
        value += usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((value, 2 + place as usize));
        }
    }
    Err("an integer that is too long")
}

/// Appends an integer whose prefix has `bits` bits, under the bits of `mark`.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, mark: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(mark | value as u8);
        return;
    }
    out.push(mark | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_appendix_c_1() {
        for (value, bits, bytes) in [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8, &[42])] {
            let mut out = Vec::new();
            write(&mut out, 0, bits, value);
            assert_eq!(out, bytes);
            assert_eq!(read(bytes, bits), Ok((value, bytes.len())));
        }
    }

    #[test]
    fn integers_have_an_end() {
        assert_eq!(read(&[], 7), Err("a block that ends in an integer"));
        assert_eq!(read(&[0x7F, 0x80], 7), Err("a block that ends in an integer"));
        assert_eq!(read(&[0x7F, 0x80, 0x80, 0x80, 0], 7), Ok((127, 5)));
        assert_eq!(read(&[0x7F, 0xFF, 0xFF, 0xFF, 0x7F], 7), Ok((127 + (1 << 28) - 1, 5)));
        assert_eq!(read(&[0x7F, 0x80, 0x80, 0x80, 0x80, 0], 7), Err("an integer that is too long"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0_usize..1 << 28, bits in 4_u32..8, rest: Vec<u8>) {
            let mut out = Vec::new();
            write(&mut out, !0 << bits, bits, value);
            let len = out.len();
            out.extend(rest);
            prop_assert_eq!(read(&out, bits), Ok((value, len)));
        }
    }
}
