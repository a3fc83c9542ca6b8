//! Writes the parts of a log line. Escaping keeps clients from ending a line or a quoted text early.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use pylae_core::civil_date;

/// Escapes text into a buffer.
pub(super) trait TextSink {
    fn put(&mut self, text: &[u8]);
}

/// Escapes text for a JSON string.
pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

/// Escapes text for a quoted field of the common log format.
pub(super) struct Quoted<'a>(pub(super) &'a mut Vec<u8>);

impl TextSink for Json<'_> {
    fn put(&mut self, text: &[u8]) {
        if is_plain(text) {
            self.0.extend_from_slice(text);
            return;
        }
        for letter in String::from_utf8_lossy(text).chars() {
            match letter {
                '"' => self.0.extend_from_slice(b"\\\""),
                '\\' => self.0.extend_from_slice(b"\\\\"),
                // Some readers treat U+2028 and U+2029 as line ends.
                '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    // Writing to a Vec cannot fail.
                    let _ = write!(self.0, "\\u{:04x}", u32::from(letter));
                }
                letter => self.0.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}

impl TextSink for Quoted<'_> {
    fn put(&mut self, text: &[u8]) {
        if is_plain(text) {
            self.0.extend_from_slice(text);
            return;
        }
        for &byte in text {
            match byte {
                b'"' | b'\\' => self.0.extend_from_slice(&[b'\\', byte]),
                b' '..=b'~' => self.0.push(byte),
                _ => {
                    let _ = write!(self.0, "\\x{byte:02x}");
                }
            }
        }
    }
}

/// Returns true if neither format has to escape anything. Free of branches, so that the compiler can vectorize it.
fn is_plain(text: &[u8]) -> bool {
    let odd = |byte: u8| u8::from(byte.wrapping_sub(0x20) >= 0x5f) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    text.iter().fold(0, |any, byte| any | odd(*byte)) == 0
}

pub(super) fn json_string(out: &mut Vec<u8>, text: Option<&[u8]>) {
    let Some(text) = text else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    Json(out).put(text);
    out.push(b'"');
}

pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes seconds with microseconds.
pub(super) fn seconds(out: &mut Vec<u8>, span: Option<Duration>) {
    let Some(span) = span else {
        out.extend_from_slice(b"null");
        return;
    };
    number(out, span.as_secs());
    out.push(b'.');
    digits::<6>(out, span.subsec_micros().into());
}

pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(out, octet.into());
            }
        }
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

/// Writes an RFC 3339 timestamp in UTC with milliseconds.
pub(super) fn timestamp(out: &mut Vec<u8>, wall: Duration) {
    let (year, month, day) = civil_date(wall.as_secs() / 86_400);
    digits::<4>(out, year);
    out.push(b'-');
    digits::<2>(out, month);
    out.push(b'-');
    digits::<2>(out, day);
    out.push(b'T');
    time(out, wall);
    out.push(b'.');
    digits::<3>(out, wall.subsec_millis().into());
    out.push(b'Z');
}

fn time(out: &mut Vec<u8>, wall: Duration) {
    let seconds = wall.as_secs() % 86_400;
    digits::<2>(out, seconds / 3600);
    out.push(b':');
    digits::<2>(out, seconds / 60 % 60);
    out.push(b':');
    digits::<2>(out, seconds % 60);
}

/// A timestamp in the common log format: `23/Nov/2026:10:00:00 +0000`.
pub(super) struct CommonTime(pub(super) Duration);

impl CommonTime {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        const MONTHS: [&[u8; 3]; 12] =
            [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
        let (year, month, day) = civil_date(self.0.as_secs() / 86_400);
        digits::<2>(out, day);
        out.push(b'/');
        out.extend_from_slice(MONTHS[(month as usize + 11) % 12]);
        out.push(b'/');
        digits::<4>(out, year);
        out.push(b':');
        time(out, self.0);
        out.extend_from_slice(b" +0000");
    }
}

fn digits<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text);
}
