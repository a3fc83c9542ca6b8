use super::*;

fn read(raw: &[u8]) -> Result<Target, TargetError> {
    let mut target = Target { path: b"before".to_vec(), query: Some(Span::new(1, 2)), ..Target::default() };
    target.read(raw, Method::Get).map(|()| target)
}

#[test]
fn paths_are_made_canonical() {
    for (raw, path) in [
        ("/", "/"),
        ("/a/b.c/~d_e-f", "/a/b.c/~d_e-f"),
        ("/a+b!$&'()*,;=:@", "/a+b!$&'()*,;=:@"),
        ("/a/", "/a/"),
        ("/%41%7e%2D%2e%5F0", "/A~-._0"),
        ("/%3a%c3%a9%20%25%2b", "/%3A%C3%A9%20%25%2B"),
        ("/%252e%252e/", "/%252e%252e/"),
        ("/%f0%9f%98%80", "/%F0%9F%98%80"),
        ("/a%0a%7f", "/a%0A%7F"),
        ("//", "/"),
        ("///a//b///", "/a/b/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a/b/../../c", "/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b/%2e/c", "/b/c"),
        ("/a//../b", "/b"),
        ("/.a/..b/...", "/.a/..b/..."),
        ("/a.;b/;..;", "/a.;b/;..;"),
        ("/;x/..", "/"),
        ("/\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D"),
    ] {
        assert_eq!(String::from_utf8(read(raw.as_bytes()).unwrap().path).unwrap(), path, "{raw}");
        assert_eq!(read(path.as_bytes()).unwrap().path, path.as_bytes(), "canonical twice: {raw}");
    }
}

#[test]
fn confusing_paths_are_refused() {
    for raw in [
        &b"/a%2fb"[..],
        b"/a%2Fb",
        b"/a%5cb",
        b"/a%5C",
        b"/a\\b",
        b"/%00",
        b"/a#b",
        b"/#",
        b"/a b",
        b"/a\tb",
        b"/a\0b",
        b"/a\x7f",
        b"/\xc3\xa9",
        b"/%",
        b"/a%4",
        b"/%zz",
        b"/%4g",
        b"/%%41",
        b"/%+1",
        b"/%c3",
        b"/%c3/",
        b"/%c3a",
        b"/%c3%28",
        b"/%80",
        b"/%ff",
        b"/%c0%af",
        b"/%e0%80%af",
        b"/%ed%a0%80",
        b"/%f4%90%80%80",
        b"/%f5%80%80%80",
        b"/%c3\xa9",
        b"/..",
        b"/../x",
        b"/a/../..",
        b"/a/../../b",
        b"/%2e%2e/x",
        b"//..",
        b"/..;/a",
        b"/a/..;x=1/b",
        b"/a/.;/b",
        b"/a/..%3b/b",
        b"/a/.%3Bx",
        b"/a/%2e%2e;",
        b"/a/%2e%2e%3b/",
        b"/a/%2e;",
        b"/;x/a",
        b"/a/;/",
        b"/a/;x/;y",
        b"/x/../;/a",
    ] {
        assert!(read(raw).is_err(), "{}", raw.escape_ascii());
    }
}

#[test]
fn parameters_are_not_judged() {
    for (raw, path, routing_path) in [
        ("/a/b", "/a/b", "/a/b"),
        ("/admin;x/y", "/admin;x/y", "/admin/y"),
        ("/a;b;c=d,e/f;", "/a;b;c=d,e/f;", "/a/f"),
        ("/a/;x", "/a/;x", "/a/"),
        ("/;", "/;", "/"),
        ("/a;/", "/a;/", "/a/"),
        ("/a;x/../b;y", "/b;y", "/b"),
        ("/a;x//./b", "/a;x/b", "/a/b"),
        ("/a%3Bx/b", "/a%3Bx/b", "/a%3Bx/b"),
        ("/%61;%2e/b", "/a;./b", "/a/b"),
        ("/a;%20/b?c;d", "/a;%20/b", "/a/b"),
        ("http://h/a;b", "/a;b", "/a"),
        ("/a?b;c", "/a", "/a"),
    ] {
        let target = read(raw.as_bytes()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!((text(&target.path).as_str(), text(target.routing_path()).as_str()), (path, routing_path), "{raw}");
        assert_eq!(target.has_parameters(), path != routing_path);
        // It is itself a canonical path.
        assert_eq!(read(routing_path.as_bytes()).unwrap().path, routing_path.as_bytes());
    }
    let mut target = Target::default();
    target.read(b"/a;b", Method::Get).unwrap();
    target.read(b"/c", Method::Get).unwrap();
    assert_eq!(target.routing_path(), b"/c", "nothing is left of the one before");
}

#[test]
fn the_end_of_a_path_keeps_its_parameters() {
    for (raw, from, end) in [
        ("/api/x/y", 4, "/x/y"),
        ("/api;v/x;w/y", 4, "/x;w/y"),
        ("/api;v/x;w/y", 5, "x;w/y"),
        ("/api;v/x;w/y", 6, "/y"),
        ("/api;v/x;w/y;z", 8, ""),
        ("/api;v/x;w/y", 0, "/api;v/x;w/y"),
        ("/api;v", 4, ""),
        ("/api", 4, ""),
        ("/api/;v", 4, "/;v"),
        ("/api/;v", 5, ";v"),
        ("/a;b/", 2, "/"),
        ("/a;b/", 3, ""),
        ("/a;b", 9, ""),
        ("/a", 9, ""),
    ] {
        let target = read(raw.as_bytes()).unwrap();
        assert_eq!(target.end_from(from), end.as_bytes(), "{raw} from {from}");
    }
}

#[test]
fn queries_are_left_as_they_are() {
    for (raw, path, query) in [
        ("/a", "/a", None),
        ("/a?", "/a", Some("")),
        ("/a?b=c&d=%2f%zz|{}?/../", "/a", Some("b=c&d=%2f%zz|{}?/../")),
        ("/x/../a?b", "/a", Some("b")),
        ("http://h?b", "/", Some("b")),
    ] {
        let target = read(raw.as_bytes()).unwrap();
        assert_eq!(target.path, path.as_bytes());
        assert_eq!(target.query.map(|span| span.of(raw.as_bytes())), query.map(str::as_bytes), "{raw}");
    }
    for raw in [&b"/?a#b"[..], b"/?#", b"/?a b", b"/?\xc3\xa9", b"/?\0", b"/?\x7f", b"/?a\r"] {
        assert!(read(raw).is_err(), "{}", raw.escape_ascii());
    }
}

#[test]
fn absolute_form_gives_the_authority() {
    for (raw, authority, path) in [
        ("http://example.org/a/../b", "example.org", "/b"),
        ("HTTPS://Example.org:8443", "Example.org:8443", "/"),
        ("http://[::1]:80/", "[::1]:80", "/"),
        ("http://h//a", "h", "/a"),
    ] {
        let target = read(raw.as_bytes()).unwrap();
        assert_eq!(target.form, Form::Absolute);
        assert_eq!(target.authority.unwrap().of(raw.as_bytes()), authority.as_bytes());
        assert_eq!(target.path, path.as_bytes());
    }
    for raw in [
        "http://",
        "http:///a",
        "http://?a",
        "http://user@h/",
        "http://u:p@h/",
        "ftp://h/",
        "http:/h",
        "http:h",
        "httpx://h",
        "http://h\\a",
        "http://h#a",
        "http://h:0/",
        "http://h:99999/",
        "http://h:a/",
        "http://h%41/",
        "http://[::1/",
        "h:80",
        "example.org",
        "",
        "a/b",
        "?a",
        "http://h\u{e9}/",
        "http://a,b/",
    ] {
        assert!(read(raw.as_bytes()).is_err(), "{raw}");
    }
}

#[test]
fn asterisk_is_for_options_only() {
    let mut target = Target::default();
    assert_eq!(target.read(b"*", Method::Options), Ok(()));
    assert_eq!((target.form, &target.path[..]), (Form::Asterisk, &b"*"[..]));
    assert_eq!(target.read(b"/a", Method::Options), Ok(()));
    assert_eq!((target.form, &target.path[..]), (Form::Origin, &b"/a"[..]));
    for raw in [&b"*"[..], b"**", b"*/", b"*?a"] {
        assert!(read(raw).is_err());
    }
    assert!(target.read(b"**", Method::Options).is_err());
    assert!(target.read(b"example.org:443", Method::Connect).is_err());
}

/// The path, and the path as services read it that decode `%2F`.
fn kept(raw: &str) -> Result<(String, String), TargetError> {
    let mut target = Target::default();
    target.read_with_slashes(raw.as_bytes(), Method::Get)?;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok((text(target.path.clone()), text(target.routing_path_with_slashes_decoded())))
}

#[test]
fn encoded_slashes_are_letters_to_those_who_keep_them() {
    for (raw, path, decoded) in [
        ("/@types%2Fnode", "/@types%2Fnode", "/@types/node"),
        ("/a%2fb", "/a%2Fb", "/a/b"),
        ("/a%2Fb%2Fc/d%2Fe", "/a%2Fb%2Fc/d%2Fe", "/a/b/c/d/e"),
        ("//x/../a%2Fb/./c", "/a%2Fb/c", "/a/b/c"),
        ("/a%2F", "/a%2F", "/a/"),
        ("/a%2Fb;x/c;y", "/a%2Fb;x/c;y", "/a/b/c"),
        ("/a.%2F...%2F.b", "/a.%2F...%2F.b", "/a./.../.b"),
        ("/a%252Fb%2Fc", "/a%252Fb%2Fc", "/a%252Fb/c"),
        ("/%c3%a9%2F%2D", "/%C3%A9%2F-", "/%C3%A9/-"),
        ("http://h/a%2Fb?c%2fd", "/a%2Fb", "/a/b"),
        ("/a/b", "/a/b", "/a/b"),
    ] {
        assert_eq!(kept(raw), Ok((path.to_owned(), decoded.to_owned())), "{raw}");
        assert_eq!(kept(path).unwrap().0, path, "canonical twice: {raw}");
        assert_eq!(read(raw.as_bytes()).is_err(), path.contains("%2F"), "{raw}");
        assert!(!has_odd_slashes(path.as_bytes()), "{raw}");
    }
    let mut target = Target::default();
    assert_eq!(target.read_with_slashes(b"/a%2Fb", Method::Get), Ok(()));
    assert!(target.has_slashes());
    assert_eq!(target.read_with_slashes(b"/a", Method::Get), Ok(()));
    assert!(!target.has_slashes());
    assert_eq!(target.read(b"/a%2Fb", Method::Get), Err(ENCODED_SLASH));
}

#[test]
fn encoded_slashes_stand_between_letters_alone() {
    for path in [
        "/%2F",
        "/%2Fa",
        "/a%2F/",
        "/a%2F/b",
        "/a/%2Fb",
        "/a%2F%2Fb",
        "/a%2Fb%2F%2F",
        "/a%2F.",
        "/a%2F..",
        "/.%2Fa",
        "/..%2Fa",
        "/a%2F./b",
        "/a%2F..%2Fb",
        "/a%2F..;b",
        "/a%2F.%3Bb",
        "/a%2F..%3bb%2Fc",
        "/a;b%2Fc",
        "/a%2Fb;c%2Fd",
        "/a%2F;b",
        "/;a%2Fb",
    ] {
        assert_eq!(kept(path), Err(ODD_SLASH), "{path}");
        assert!(has_odd_slashes(path.replace("%3b", "%3B").as_bytes()), "{path}");
    }
    // Dropped before forwarding, but two readers would disagree on what with.
    for path in ["/a%2Fb/..", "/x/a%2Fb/../c", "/a%2F%2e%2e/b", "/a%2Fb/%2E%2E"] {
        assert_eq!(kept(path), Err(ODD_SLASH), "{path}");
    }
    for path in ["/a%5Cb", "/a%2Fb%5C", "/a%2Fb%00", "/a%2Fb\\", "/a%2", "/a%2Fb%2"] {
        assert!(kept(path).is_err(), "{path}");
    }
    assert!(!has_odd_slashes(b"/a//b"), "there is none");
}
