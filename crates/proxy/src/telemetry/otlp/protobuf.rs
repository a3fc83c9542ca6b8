//! A writer of protocol buffers (<https://protobuf.dev/programming-guides/encoding/>). Fields are written in the order
//! of the calls. Default values are written like others: who calls leaves them out.

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// Appends a number in base 128, the lowest group first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of an unsigned number, a truth value or an enumeration.
pub(crate) fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    put_pair(out, u64::from(field) << 3 | VARINT, value);
}

/// Appends a field of type `int64` or `int32`: negative numbers take ten bytes.
pub(crate) fn put_int(out: &mut Vec<u8>, field: u32, value: i64) {
    put_uint(out, field, value.cast_unsigned());
}

/// Appends a field of type `fixed64`.
pub(crate) fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_tag(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of type `fixed32`.
pub(crate) fn put_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    put_tag(out, field, FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of type `double`.
pub(crate) fn put_double(out: &mut Vec<u8>, field: u32, value: f64) {
    put_fixed64(out, field, value.to_bits());
}

/// Appends a field of type `bytes`.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_head(out, field, value.len());
    out.extend_from_slice(value);
}

/// Appends a field of type `string`.
pub(crate) fn put_string(out: &mut Vec<u8>, field: u32, value: &str) {
    put_bytes(out, field, value.as_bytes());
}

/// Appends a field of a message, whose fields `write` appends. There is room for a length of one byte: messages of 128
/// bytes and more are moved for theirs.
pub(crate) fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_message_of(1, out, field, write);
}

/// The same, with room for the length of a message of 128 to 16,383 bytes.
pub(crate) fn put_long_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_message_of(2, out, field, write);
}

/// Appends a message with `room` bytes for its length, and moves it if that takes more or less.
#[inline]
fn put_message_of(room: usize, out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_tag(out, field, LENGTH);
    let start = out.len();
    out.extend_from_slice(&[0; 2][..room]);
    write(out);
    let mut digits = [0; 10];
    let size = varint((out.len() - start - room) as u64, &mut digits);
    if size == room {
        out[start..start + room].copy_from_slice(&digits[..size]);
    } else {
        out.splice(start..start + room, digits[..size].iter().copied());
    }
}

/// Appends the head of a message whose fields are written elsewhere and take `length` bytes.
#[inline]
pub(crate) fn put_head(out: &mut Vec<u8>, field: u32, length: usize) {
    put_pair(out, u64::from(field) << 3 | LENGTH, length as u64);
}

/// Bytes that a field of `length` bytes takes, if its number is below 16.
#[inline]
pub(crate) fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Bytes that a number takes in base 128.
#[inline]
pub(crate) fn varint_len(value: u64) -> usize {
    if value < 0x80 { 1 } else { (64 - value.leading_zeros()).div_ceil(7) as usize }
}

/// Appends a tag and a number: at once if each takes one byte, as most do.
#[inline]
fn put_pair(out: &mut Vec<u8>, tag: u64, value: u64) {
    if tag < 0x80 && value < 0x80 {
        out.extend_from_slice(&[tag as u8, value as u8]);
    } else {
        put_varint(out, tag);
        put_varint(out, value);
    }
}

fn put_tag(out: &mut Vec<u8>, field: u32, wire: u64) {
    put_varint(out, u64::from(field) << 3 | wire);
}

/// Writes a number in base 128. Returns how many bytes it takes.
fn varint(mut value: u64, to: &mut [u8; 10]) -> usize {
    let mut size = 0;
    while value >= 0x80 {
        to[size] = value as u8 | 0x80;
        value >>= 7;
        size += 1;
    }
    to[size] = value as u8;
    size + 1
}

#[cfg(test)]
mod tests;
