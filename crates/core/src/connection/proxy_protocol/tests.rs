use super::{MOST_VALUES, Parsed, SIGNATURE, parse};

/// Reads like a connection, never more than was asked for. Returns the result and the number of bytes consumed.
fn read(bytes: &[u8]) -> (Result<Option<String>, &'static str>, usize) {
    let mut taken = 0;
    loop {
        match parse(&bytes[..taken]) {
            Ok(Parsed::More(n)) if taken + n <= bytes.len() => taken += n,
            Ok(Parsed::More(_)) => return (Err("ended"), taken),
            Ok(Parsed::Done(client)) => return (Ok(client.map(|client| client.to_string())), taken),
            Err(why) => return (Err(why), taken),
        }
    }
}

fn binary(command: u8, family: u8, values: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend((values.len() as u16).to_be_bytes());
    header.extend(values);
    header
}

#[test]
fn headers_in_text_are_read_and_nothing_behind_them() {
    for (header, client) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Some("192.0.2.1:56324")),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", Some("1.1.1.1:1")),
        ("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", Some("[2001:db8::1]:65535")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    ] {
        let (read, taken) = read(format!("{header}GET / HTTP/1.1\r\n").as_bytes());
        assert_eq!((read, taken), (Ok(client.map(str::to_owned)), header.len()), "{header}");
    }
}

#[test]
fn binary_headers_are_read_and_nothing_behind_them() {
    let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 187];
    let mut six = [0; 36];
    (six[0], six[15], six[33]) = (0x20, 1, 80);
    let further = [&four[..], &[4, 0, 1, 0]].concat();
    for (header, client) in [
        (binary(0x21, 0x11, &four), Some("192.0.2.1:56324")),
        (binary(0x21, 0x11, &further), Some("192.0.2.1:56324")),
        (binary(0x21, 0x21, &six), Some("[2000::1]:80")),
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, &four), None),
        (binary(0x21, 0x31, &[0; 216]), None),
        (binary(0x21, 0x00, &[]), None),
        (binary(0x20, 0x00, &[0; MOST_VALUES]), None),
    ] {
        let (read, taken) = read(&[&header[..], b"GET / HTTP/1.1\r\n"].concat());
        assert_eq!((read, taken), (Ok(client.map(str::to_owned)), header.len()));
    }
}

#[test]
fn everything_else_is_refused() {
    let mut version = binary(0x31, 0x11, &[0; 12]);
    for header in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 ::1 ::1 56324 443\r\n",
        b"PROXY TCP6 192.0.2.1 ::1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.1 1 443\r\n",
        b"PROXY TCP4 192.0.2.1 \xff 1 443\r\n",
        b"proxy TCP4 192.0.2.1 198.51.100.1 1 443\r\n",
        &[&b"PROXY UNKNOWN "[..], &[b'a'; 200]].concat(),
        &binary(0x21, 0x11, &[0; 11]),
        &binary(0x21, 0x21, &[0; 35]),
        &binary(0x22, 0x11, &[0; 12]),
        &binary(0x20, 0x00, &[0; MOST_VALUES + 1]),
        &version,
    ] {
        let (read, taken) = read(header);
        assert!(read.is_err_and(|why| why != "ended"), "{header:?}");
        assert!(taken <= 107 || header.starts_with(SIGNATURE));
    }
    version.truncate(20);
    version[12] = 0x21;
    assert_eq!(read(&version).0, Err("ended"));
}
