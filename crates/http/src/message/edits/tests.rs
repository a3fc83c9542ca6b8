use super::*;

fn lines(edits: &Edits) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    edits.added().map(|(name, value)| (text(name), text(value))).collect()
}

fn pairs(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn set_replaces_and_append_adds() {
    let mut edits = Edits::default();
    edits.append(b"X-One", b"1").unwrap();
    edits.append(b"x-one", b"2").unwrap();
    edits.append(b"Vary", b"Origin").unwrap();
    assert!(!edits.removes(Name::Other, b"X-One") && !edits.removes(Name::Vary, b"Vary"));
    edits.set(b"X_ONE", b"3").unwrap();
    edits.set(b"x-request-id", b"abc").unwrap();
    assert_eq!(lines(&edits), pairs(&[("Vary", "Origin"), ("X_ONE", "3"), ("X-Request-ID", "abc")]));
    assert!(edits.removes(Name::Other, b"x-one") && edits.removes(Name::XRequestId, b"X-Request-ID"));
    assert!(!edits.removes(Name::Other, b"x-two"));
    assert_eq!(edits.get(b"x-one"), Some(&b"3"[..]));
    assert_eq!(edits.get(b"vary"), Some(&b"Origin"[..]));
    assert_eq!(edits.get(b"age"), None);
}

#[test]
fn remove_takes_lines_of_both_kinds() {
    let mut edits = Edits::default();
    edits.set(b"X-One", b"1").unwrap();
    edits.set_known(Name::Server, b"s").unwrap();
    edits.remove(b"x-one");
    edits.remove(b"SERVER");
    edits.remove_known(Name::Via);
    assert!(lines(&edits).is_empty());
    assert!(edits.removes(Name::Other, b"X-One") && edits.removes(Name::Server, b"") && edits.removes(Name::Via, b""));
    edits.clear();
    assert!(!edits.removes(Name::Other, b"X-One") && !edits.removes(Name::Server, b""));
}

#[test]
fn header_injection_is_refused() {
    let mut edits = Edits::default();
    for value in [&b"a\r\nX: y"[..], b"a\n", b"\r", b"\0", b"a\x01", b"\x7f", b"\x1b[0m"] {
        assert!(edits.set(b"X-A", value).is_err(), "{}", value.escape_ascii());
        assert!(edits.append(b"X-A", value).is_err(), "{}", value.escape_ascii());
        assert!(edits.set_known(Name::Server, value).is_err(), "{}", value.escape_ascii());
    }
    for name in [&b""[..], b"a b", b"a:", b"a\r\nb", b"\xc3\xa9", b"a\0", b"(a)"] {
        assert!(edits.set(name, b"1").is_err(), "{}", name.escape_ascii());
        assert!(edits.append(name, b"1").is_err(), "{}", name.escape_ascii());
    }
    assert!(edits.set_known(Name::Other, b"1").is_err());
    assert_eq!(lines(&edits), pairs(&[]));
    assert!(!edits.removes(Name::Other, b"X-A"), "a refused edit changes nothing");
    assert!(edits.set(b"X-A", b"tab\there \xc3\xa9").is_ok());
}

#[test]
fn framing_and_connection_names_are_refused() {
    let mut edits = Edits::default();
    for name in [
        "Connection",
        "transfer-encoding",
        "Content-Length",
        "content_length",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Proxy-Connection",
        "Host",
        "HTTP2-Settings",
        "Expect",
    ] {
        assert!(edits.set(name.as_bytes(), b"1").is_err(), "{name}");
        assert!(edits.append(name.as_bytes(), b"1").is_err(), "{name}");
        assert!(edits.set_known(Name::classify(name.as_bytes()), b"1").is_err(), "{name}");
    }
}
