//! Encodes and decodes blocks of HPACK, one for each line that is read, so that `tests/contract/test_hpack.py` can
//! compare them with what another implementation makes of them. Bytes are hexadecimal digits.
//!
//! - `new` begins a connection.
//! - `table 100` changes the size of both tables.
//! - `decode 82` answers `3a6d6574686f64 474554 0`: name, value and whether it is never indexed, of all fields. Or it
//!   answers `error` with a reason.
//! - `encode 3a6d6574686f64 474554 0` answers `82`.

use std::io::{self, BufRead, Write};
use std::num::ParseIntError;

use pylae_http::http2::hpack::{HpackDecoder, HpackEncoder, HpackError};

const MAX_LIST: usize = 1 << 20;

fn main() -> io::Result<()> {
    let (mut encoder, mut decoder) = (HpackEncoder::new(), HpackDecoder::new(4096, MAX_LIST));
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["new"] => {
                (encoder, decoder) = (HpackEncoder::new(), HpackDecoder::new(4096, MAX_LIST));
                Ok(String::new())
            }
            ["table", size] => size.parse().map_err(io::Error::other).map(|size| {
                encoder.set_max_table(size);
                decoder.set_max_table(size);
                String::new()
            }),
            ["decode", block] => bytes(block).map(|block| decode(&mut decoder, &block)),
            ["encode", ref fields @ ..] => encode(&mut encoder, fields),
            _ => Err(io::Error::other("a line that nobody knows")),
        };
        writeln!(out, "{}", answer?)?;
        out.flush()?;
    }
    Ok(())
}

fn decode(decoder: &mut HpackDecoder, block: &[u8]) -> String {
    let mut words = Vec::new();
    let done: Result<(), HpackError<()>> = decoder.decode(block, |field| {
        words.extend([digits(field.name()), digits(field.value()), u8::from(field.never_indexed()).to_string()]);
        Ok(())
    });
    match done {
        Ok(()) => words.join(" "),
        Err(HpackError::Compression(reason)) => format!("error {reason}"),
        Err(HpackError::ListTooLarge | HpackError::Refused(())) => "error the list is too large".to_owned(),
    }
}

fn encode(encoder: &mut HpackEncoder, fields: &[&str]) -> io::Result<String> {
    let mut block = Vec::new();
    for field in fields.as_chunks::<3>().0 {
        encoder.encode(&mut block, &bytes(field[0])?, &bytes(field[1])?, field[2] == "1");
    }
    Ok(digits(&block))
}

fn bytes(digits: &str) -> io::Result<Vec<u8>> {
    let pairs = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    pairs.collect::<Result<_, ParseIntError>>().map_err(io::Error::other)
}

fn digits(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}
