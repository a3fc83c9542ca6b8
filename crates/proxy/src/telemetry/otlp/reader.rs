//! A reader of protocol buffers: of what is written here in tests, and of what collectors answer. It trusts nothing.

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WireField<'a> {
    /// A varint, or a number of fixed size.
    Number(u64),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message in their order, up to the first that is malformed or of a group.
pub(crate) fn fields(mut message: &[u8]) -> Vec<(u32, WireField<'_>)> {
    let mut found = Vec::new();
    while let Some(field) = take_field(&mut message) {
        found.push(field);
    }
    found
}

/// The first field of a number that has bytes.
pub(crate) fn bytes_of<'a>(fields: &[(u32, WireField<'a>)], number: u32) -> Option<&'a [u8]> {
    fields.iter().find_map(|(field, value)| match value {
        WireField::Bytes(bytes) if *field == number => Some(*bytes),
        _ => None,
    })
}

/// The first field of a number that is a number.
pub(crate) fn number_of(fields: &[(u32, WireField<'_>)], number: u32) -> Option<u64> {
    fields.iter().find_map(|(field, value)| match value {
        WireField::Number(value) if *field == number => Some(*value),
        _ => None,
    })
}

/// Takes the first field off a message.
pub(crate) fn take_field<'a>(message: &mut &'a [u8]) -> Option<(u32, WireField<'a>)> {
    let tag = take_varint(message)?;
    let number = u32::try_from(tag >> 3).ok()?;
    let value = match tag & 7 {
        0 => WireField::Number(take_varint(message)?),
        1 => WireField::Number(u64::from_le_bytes(take(message, 8)?.try_into().ok()?)),
        2 => {
            let length = usize::try_from(take_varint(message)?).ok()?;
            WireField::Bytes(take(message, length)?)
        }
        5 => WireField::Number(u32::from_le_bytes(take(message, 4)?.try_into().ok()?).into()),
        _ => return None,
    };
    Some((number, value))
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for at in 0..10 {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f).checked_shl(at * 7)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_malformed_ends_the_message() {
        assert_eq!(fields(&[0x08, 0x96, 0x01, 0x12, 9, 1]), [(1, WireField::Number(150))], "cut short");
        assert_eq!(fields(&[0x0b]), [], "a group");
        assert_eq!(fields(&[0xff; 20]), [], "an endless number");
        let far = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&far), [], "a length beyond all memory");
    }
}
