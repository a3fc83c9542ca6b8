//! The Huffman code of texts (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of the same length follow each other in the order of their symbols, and longer ones
//! follow shorter ones. So the lengths say everything, and the compiler makes the tables.

/// The symbol that ends a text, which only padding may begin to spell.
const EOS: usize = 256;
/// Length of the longest code in bits.
const LONGEST: usize = 30;
/// Codes of up to so many bits are looked up: those of all letters, digits and the usual punctuation.
const LOOKED_UP: usize = 10;

/// Length of each symbol's code in bits.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The symbols in the order of their codes.
static ORDER: [u16; 257] = canonical().order;
/// Each symbol's code.
static CODES: [u32; 257] = canonical().codes;
/// By length: what the codes of up to that length are below, as the first bits of 32.
static LIMITS: [u32; LONGEST + 1] = canonical().limits;
/// By length: what a code is ahead of the place of its symbol in `ORDER`.
static AHEAD: [u32; LONGEST + 1] = canonical().ahead;
/// By the next bits: the symbol, and above it the length of its code; 0 if the code is longer.
static SHORT: [u16; 1 << LOOKED_UP] = short();

struct Canonical {
    order: [u16; 257],
    codes: [u32; 257],
    limits: [u32; LONGEST + 1],
    ahead: [u32; LONGEST + 1],
}

const fn canonical() -> Canonical {
    let mut made = Canonical { order: [0; 257], codes: [0; 257], limits: [0; LONGEST + 1], ahead: [0; LONGEST + 1] };
    let (mut code, mut place, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        made.ahead[length] = code.wrapping_sub(place as u32);
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol] as usize == length {
                made.order[place] = symbol as u16;
                made.codes[symbol] = code;
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        // The last one would be 1 << 32: all bits are ones there, and `long` looks no further.
        made.limits[length] = ((code as u64) << (32 - length)) as u32;
        length += 1;
    }
    made
}

const fn short() -> [u16; 1 << LOOKED_UP] {
    let codes = canonical().codes;
    let mut table = [0; 1 << LOOKED_UP];
    let mut symbol = 0;
    while symbol < EOS {
        let length = LENGTHS[symbol] as usize;
        if length <= LOOKED_UP {
            let free = LOOKED_UP - length;
            let mut bits = 0;
            while bits < 1 << free {
                table[((codes[symbol] as usize) << free) | bits] = symbol as u16 | (length as u16) << 8;
                bits += 1;
            }
        }
        symbol += 1;
    }
    table
}

/// Codes that are looked up in a row in 64 bits of which 56 count, without a look at how many are left.
const AT_ONCE: usize = 56 / LOOKED_UP;

/// Appends the text that `coded` stands for, at most 8/5 of its length.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut at = out.len();
    // With room for codes that are looked up behind the end.
    out.resize(at + coded.len() * 8 / 5 + AT_ONCE, 0);
    let mut rest = coded;
    // The next bits, the first on top, and how many of them count. Below are some that come again, or ones.
    let (mut bits, mut count) = (0_u64, 0_u32);
    loop {
        let mut next = [0xFF; 8];
        let free = (63 - count) as usize / 8;
        let taken = if let Some(chunk) = rest.first_chunk() {
            next = *chunk;
            free
        } else {
            next[..rest.len()].copy_from_slice(rest);
            free.min(rest.len())
        };
        bits |= u64::from_be_bytes(next) >> count;
        count += taken as u32 * 8;
        rest = &rest[taken..];
        if count < 8 && bits == u64::MAX {
            out.truncate(at);
            return Ok(());
        }
        let start = at;
        let Some(room) = out[at..].first_chunk_mut::<AT_ONCE>() else { return Err(NOT_ONES) };
        for place in room {
            let entry = SHORT[(bits >> (64 - LOOKED_UP)) as usize];
            if entry == 0 {
                break;
            }
            *place = entry as u8;
            at += 1;
            bits <<= entry >> 8;
            count = count.wrapping_sub(u32::from(entry >> 8));
        }
        if at == start {
            let (symbol, length) = long(bits);
            out[at] = u8::try_from(symbol).map_err(|_| if length > count { TOO_LONG } else { END_IN_TEXT })?;
            at += 1;
            bits <<= length;
            count = count.wrapping_sub(length);
        }
        if count > 64 {
            // A code whose end is not there.
            return Err(NOT_ONES);
        }
    }
}

const END_IN_TEXT: &str = "the end of a Huffman text inside it";
const NOT_ONES: &str = "Huffman padding that is not ones";
const TOO_LONG: &str = "Huffman padding of a byte or more";

/// Returns the symbol at the start of `bits` whose code is too long to be looked up, and the length of that.
fn long(bits: u64) -> (u16, u32) {
    let next = (bits >> 32) as u32;
    let mut length = LOOKED_UP + 1;
    while length < LONGEST && next >= LIMITS[length] {
        length += 1;
    }
    let code = next >> (32 - length);
    (ORDER[code.wrapping_sub(AHEAD[length]) as usize], length as u32)
}

/// Returns the length in bytes of `text` once it is encoded.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum::<usize>().div_ceil(8)
}

/// Appends `text` encoded.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    // The bits that are not written, the last at the bottom.
    let (mut bits, mut count) = (0_u64, 0);
    for &byte in text {
        let length = LENGTHS[usize::from(byte)];
        bits = bits << length | u64::from(CODES[usize::from(byte)]);
        count += u32::from(length);
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
        }
    }
    let padding = count.next_multiple_of(8) - count;
    bits = bits << padding | ((1 << padding) - 1);
    let last = (count + padding) as usize / 8;
    out.extend_from_slice(&(bits as u32).to_be_bytes()[4 - last..]);
}

#[cfg(test)]
mod tests;
