use super::*;

fn write(authority: &[u8]) -> Result<(String, usize), HostError> {
    let mut out = b"before".to_vec();
    let len = canonical(authority, &mut out)?;
    Ok((String::from_utf8(out).unwrap(), len))
}

#[test]
fn hosts_are_made_canonical() {
    for (authority, host, port) in [
        ("Example.ORG", "example.org", ""),
        ("example.org.", "example.org", ""),
        ("example.org.:80", "example.org", ":80"),
        ("example.org:", "example.org", ""),
        ("a_b-c~d.e:65535", "a_b-c~d.e", ":65535"),
        ("h:00080", "h", ":80"),
        ("h:1", "h", ":1"),
        ("127.0.0.1:8080", "127.0.0.1", ":8080"),
        ("[::1]", "[::1]", ""),
        ("[0:0:0:0:0:0:0:1]:8080", "[::1]", ":8080"),
        ("[2001:DB8::A]:", "[2001:db8::a]", ""),
    ] {
        let expected = format!("{host}{port}");
        assert_eq!(write(authority.as_bytes()), Ok((expected.clone(), host.len())), "{authority}");
        assert_eq!(write(expected.as_bytes()), Ok((expected.clone(), host.len())), "canonical twice: {authority}");
    }
}

#[test]
fn malformed_hosts_are_refused() {
    for authority in [
        "",
        ":80",
        ".",
        "..",
        ".a",
        "a..b",
        "a..",
        "a b",
        " a",
        "a ",
        "a,b",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "u:p@b",
        "a%41",
        "a\\b",
        "a\tb",
        "a\0",
        "h\u{e9}",
        "a!b",
        "a$b",
        "a;b",
        "a=b",
        "h:0",
        "h:65536",
        "h:99999",
        "h:100000",
        "h:000080",
        "h:a",
        "h:-1",
        "h:+1",
        "h: 1",
        "h:80:80",
        "h::1",
        "::1",
        "[::1",
        "[::1]a",
        "[::1]80",
        "[::1]:0",
        "[]",
        "[a]",
        "[::1%25eth0]",
        "[v1.a]",
        "[127.0.0.1]",
        "]",
        "[::g]",
        "\"a\"",
        "a,a",
    ] {
        assert!(write(authority.as_bytes()).is_err(), "{authority:?}");
    }
    let label = "a".repeat(255);
    assert!(write(format!("{label}:80").as_bytes()).is_ok());
    assert!(write(format!("{label}a").as_bytes()).is_err());
}
