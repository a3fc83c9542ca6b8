use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::Name;

const MAX_LIST: usize = 16 << 10;

type Lines = Vec<(String, String)>;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(decoder: &mut HpackDecoder, block: &[u8]) -> Result<Lines, HpackError<Infallible>> {
    let mut found = Vec::new();
    decoder.decode(block, |field| {
        found.push((text(field.name()), text(field.value())));
        assert_eq!(text(field.line()), format!("{}: {}\r\n", text(field.name()), text(field.value())));
        Ok(())
    })?;
    Ok(found)
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with results")]
fn expected(fields: &[(&str, &str)]) -> Result<Lines, HpackError<Infallible>> {
    Ok(fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The table, its newest field first.
fn table(decoder: &HpackDecoder) -> Vec<(String, String)> {
    let fields = (0..).map_while(|place| decoder.table.get(place));
    fields.map(|field| (text(field.name()), text(field.value()))).collect()
}

fn decoder() -> HpackDecoder {
    HpackDecoder::new(4096, MAX_LIST)
}

fn refusal(block: &[u8]) -> &'static str {
    match lines(&mut decoder(), block) {
        Err(HpackError::Compression(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_literals_of_appendix_c_2() {
    let mut one = decoder();
    let block = hex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
    assert_eq!(lines(&mut one, &block), expected(&[("custom-key", "custom-header")]));
    assert_eq!((table(&one).len(), one.table.size()), (1, 55));
    let mut two = decoder();
    let block = hex("040c 2f73 616d 706c 652f 7061 7468");
    assert_eq!(lines(&mut two, &block), expected(&[(":path", "/sample/path")]));
    let block = hex("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let mut never = Vec::new();
    let done: Result<(), HpackError<Infallible>> = two.decode(&block, |field| {
        never.push((text(field.name()), text(field.value()), field.never_indexed()));
        Ok(())
    });
    assert_eq!((done, never), (Ok(()), vec![("password".to_owned(), "secret".to_owned(), true)]));
    assert_eq!(lines(&mut two, &hex("82")), expected(&[(":method", "GET")]));
    assert_eq!(table(&two), []);
}

#[test]
fn the_requests_of_appendix_c_3_and_c_4() {
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut decoder = decoder();
        let host = (":authority", "www.example.com");
        let first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), host];
        assert_eq!(lines(&mut decoder, &hex(blocks[0])), expected(&first));
        assert_eq!(decoder.table.size(), 57);
        let second = [&first[..], &[("cache-control", "no-cache")]].concat();
        assert_eq!(lines(&mut decoder, &hex(blocks[1])), expected(&second));
        assert_eq!(decoder.table.size(), 110);
        let custom = ("custom-key", "custom-value");
        let third = [(":method", "GET"), (":scheme", "https"), (":path", "/index.html"), host, custom];
        assert_eq!(lines(&mut decoder, &hex(blocks[2])), expected(&third));
        assert_eq!(decoder.table.size(), 164);
        assert_eq!(Ok(table(&decoder)), expected(&[custom, ("cache-control", "no-cache"), host]));
    }
}

#[test]
fn the_responses_of_appendix_c_5_and_c_6() {
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        let mut decoder = HpackDecoder::new(256, MAX_LIST);
        let (private, location) = (("cache-control", "private"), ("location", "https://www.example.com"));
        let date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
        let first = [(":status", "302"), private, date, location];
        assert_eq!(lines(&mut decoder, &hex(blocks[0])), expected(&first));
        assert_eq!(decoder.table.size(), 222);
        assert_eq!(lines(&mut decoder, &hex(blocks[1])), expected(&[(":status", "307"), private, date, location]));
        assert_eq!(Ok(table(&decoder)), expected(&[(":status", "307"), location, date, private]));
        let later = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
        let gzip = ("content-encoding", "gzip");
        let cookie = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
        let third = [(":status", "200"), private, later, location, gzip, cookie];
        assert_eq!(lines(&mut decoder, &hex(blocks[2])), expected(&third));
        assert_eq!(Ok(table(&decoder)), expected(&[cookie, gzip, later]));
        assert_eq!(decoder.table.size(), 215);
    }
}

#[test]
fn what_breaks_a_rule_ends_the_connection() {
    for (block, reason) in [
        (&[0x80][..], "index 0"),
        (&[0xBE], "an index beyond the table"),
        (&[0xFF, 0x80, 0x80, 0x80, 0x7F], "an index beyond the table"),
        (&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], "an integer that is too long"),
        (&[0xFF, 0x80], "a block that ends in an integer"),
        (&[0x40], "a block that ends in an integer"),
        (&[0x40, 1, b'a'], "a block that ends in an integer"),
        (&[0x7E, 1, b'a'], "an index beyond the table"),
        (&[0x0F, 47, 1, b'a'], "an index beyond the table"),
        (&[0x40, 2, b'a'], "a block that ends in a text"),
        (&[0x44, 0x7F, 0xFF, 0xFF, 0xFF, 0x7F], "a block that ends in a text"),
        (&[0x44, 0x81, 0x18], "Huffman padding that is not ones"),
        (&[0x44, 0x84, 0xFF, 0xFF, 0xFF, 0xFF], "the end of a Huffman text inside it"),
        (&[0x3F, 0xE2, 0x1F], "a table size update above what was advertised"),
        (&[0x82, 0x20], "a table size update after a field"),
    ] {
        assert_eq!(refusal(block), reason, "{block:x?}");
    }
}

#[test]
fn a_smaller_table_has_to_be_acknowledged_by_the_next_block() {
    let mut decoder = decoder();
    let custom = [0x40, 1, b'a', 1, b'b'];
    assert!(lines(&mut decoder, &custom).is_ok());
    decoder.set_max_table(100);
    let mut same = decoder.clone();
    let refused = Err(HpackError::Compression("no table size update after a smaller one was advertised"));
    assert_eq!(lines(&mut same, &[0x82]), refused);
    // 31 + 69 = 100
    assert_eq!(lines(&mut decoder, &[0x3F, 69, 0xBE]), expected(&[("a", "b")]));
    assert_eq!(lines(&mut decoder, &[0xBE]), expected(&[("a", "b")]), "once");
    // Smaller for a moment: that has to be said, and then what it is now.
    decoder.set_max_table(0);
    decoder.set_max_table(4096);
    let mut same = decoder.clone();
    let refused = Err(HpackError::Compression("a table size update that does not follow what was advertised"));
    assert_eq!(lines(&mut same, &[0x3F, 69, 0xBE]), refused);
    assert_eq!(lines(&mut decoder, &[0x20, 0x3F, 0xE1, 0x1F, 0x82]), expected(&[(":method", "GET")]));
    assert_eq!((table(&decoder), decoder.table.max()), (Vec::new(), 4096));
    // One who uses less than he might has nothing to say.
    assert!(lines(&mut decoder, &[0x2A]).is_ok());
    decoder.set_max_table(1000);
    assert!(lines(&mut decoder, &[0x82]).is_ok());
}

#[test]
fn a_list_that_is_too_large_leaves_the_table_in_step() {
    let mut decoder = HpackDecoder::new(4096, 100);
    let mut names = Vec::new();
    // Two fields of 42 bytes, one that is too much, and one that would fit.
    let block = hex("8282 400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572 82");
    let done: Result<(), HpackError<Infallible>> = decoder.decode(&block, |field| {
        names.push(text(field.name()));
        Ok(())
    });
    assert_eq!((done, names.len()), (Err(HpackError::ListTooLarge), 2));
    assert_eq!(Ok(table(&decoder)), expected(&[("custom-key", "custom-header")]));
    assert_eq!(lines(&mut decoder, &[0xBE]), expected(&[("custom-key", "custom-header")]));
}

#[test]
fn a_field_that_is_refused_leaves_the_table_in_step() {
    let mut decoder = decoder();
    let mut calls = 0;
    let block = hex("82 400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572 82");
    let done = decoder.decode(&block, |_| {
        calls += 1;
        Err("no")
    });
    assert_eq!((done, calls), (Err(HpackError::Refused("no")), 1));
    assert_eq!(lines(&mut decoder, &[0xBE]), expected(&[("custom-key", "custom-header")]));
    assert_eq!(decoder.decode(&[0x82, 0x80], |_| Err("no")), Err(HpackError::Compression("index 0")));
}

#[test]
fn bombs_cost_no_memory() {
    let mut decoder = decoder();
    // A field that is as large as the table (127 + 0x60 + (0x1E << 7) = 4063), many times in few bytes.
    let mut block = vec![0x40, 1, b'a', 0x7F, 0xE0, 0x1E];
    block.extend([b'x'; 4063]);
    block.resize(block.len() + 100_000, 0xBE);
    assert_eq!(lines(&mut decoder, &block), Err(HpackError::ListTooLarge));
    // A literal that is much larger than the table, and empties it.
    let mut block = vec![0x40, 1, b'a', 0xFF, 0x83, 0x8C, 0x06];
    block.resize(7 + 127 + 3 + (0x0C << 7) + (0x06 << 14), 0);
    assert_eq!(lines(&mut decoder, &block), Err(HpackError::ListTooLarge));
    assert_eq!(table(&decoder), []);
    assert!(decoder.line.capacity() <= KEPT);
}

#[test]
fn a_name_outlives_the_field_that_it_is_taken_from() {
    let mut decoder = HpackDecoder::new(64, MAX_LIST);
    assert!(lines(&mut decoder, &[0x40, 1, b'a', 1, b'b']).is_ok());
    assert_eq!(lines(&mut decoder, &[0x7E, 2, b'c', b'd', 0xBE]), expected(&[("a", "cd"), ("a", "cd")]));
    assert_eq!(Ok(table(&decoder)), expected(&[("a", "cd")]));
}

#[test]
fn what_a_field_is_in_a_head() {
    let line = |id| HeadPart::Line { id, underscore: false };
    for (name, value, part) in [
        (":method", "GET", HeadPart::Method),
        (":scheme", "https", HeadPart::Scheme),
        (":authority", "", HeadPart::Authority),
        (":path", "/", HeadPart::Path),
        (":protocol", "websocket", HeadPart::Protocol),
        (":status", "200", HeadPart::Status),
        (":other", "", HeadPart::Malformed),
        (":Path", "/", HeadPart::Malformed),
        (":", "", HeadPart::Malformed),
        ("", "", HeadPart::Malformed),
        ("accept", "a\tb", line(Name::Accept)),
        ("x-any", "\u{e4}", line(Name::Other)),
        ("x_request_id", "", HeadPart::Line { id: Name::XRequestId, underscore: true }),
        ("Accept", "a", HeadPart::Malformed),
        ("a b", "a", HeadPart::Malformed),
        ("a:b", "a", HeadPart::Malformed),
        ("a\0", "a", HeadPart::Malformed),
        ("accept", " a", HeadPart::Malformed),
        ("accept", "a\t", HeadPart::Malformed),
        ("accept", "a\r\nb: c", HeadPart::Malformed),
        (":path", "/ HTTP/1.1\r\nb: c", HeadPart::Malformed),
        ("accept", "a\0", HeadPart::Malformed),
        ("accept", "a\x7f", HeadPart::Malformed),
        ("connection", "close", HeadPart::Malformed),
        ("keep-alive", "1", HeadPart::Malformed),
        ("proxy-connection", "1", HeadPart::Malformed),
        ("transfer-encoding", "chunked", HeadPart::Malformed),
        ("upgrade", "h2c", HeadPart::Malformed),
        ("te", "trailers", line(Name::Te)),
        ("te", "gzip", HeadPart::Malformed),
    ] {
        let (mut decoder, mut block) = (decoder(), vec![0x40]);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
        // As a literal, from the table, and with its name from the table.
        block.push(0xBE);
        block.extend([0x0F, 47, value.len() as u8]);
        block.extend_from_slice(value.as_bytes());
        // And with another value.
        block.extend([0x0F, 47, 1, b'/']);
        let mut parts = Vec::new();
        let done: Result<(), HpackError<Infallible>> = decoder.decode(&block, |field| {
            parts.push(field.part());
            Ok(())
        });
        assert_eq!((done, &parts[..3]), (Ok(()), &[part; 3][..]), "{name:?} {value:?}");
        let line = format!("{name}: /\r\n");
        assert_eq!(parts[3], HeadPart::of(line.as_bytes(), name.len()), "{name:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_somehow(blocks: Vec<Vec<u8>>) {
        let mut decoder = HpackDecoder::new(200, 1000);
        for block in blocks {
            let mut list = 0;
            let done: Result<(), HpackError<Infallible>> = decoder.decode(&block, |field| {
                list += field.name().len() + field.value().len() + 32;
                Ok(())
            });
            prop_assert!(list <= 1000 && decoder.table.size() <= 200);
            if matches!(done, Err(HpackError::Compression(_))) {
                break;
            }
        }
    }
}
