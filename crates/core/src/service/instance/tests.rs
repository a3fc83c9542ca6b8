use super::Instance;

fn parts(url: &str) -> (String, String, u16) {
    let instance = Instance::parse(url, None).unwrap();
    (instance.authority().into(), instance.host().into(), instance.port())
}

#[test]
fn urls_are_read() {
    for (url, authority, host, port) in [
        ("http://127.0.0.1:9001", "127.0.0.1:9001", "127.0.0.1", 9001),
        ("http://user-service", "user-service", "user-service", 80),
        ("http://User_Service.example:80/", "user_service.example", "user_service.example", 80),
        ("http://[::1]:8080", "[::1]:8080", "::1", 8080),
        ("http://[2001:DB8:0:0::1]", "[2001:db8::1]", "2001:db8::1", 80),
        ("https://user-service", "user-service", "user-service", 443),
        ("https://user-service:443", "user-service", "user-service", 443),
        ("https://user-service:80", "user-service:80", "user-service", 80),
        ("http://user-service:443", "user-service:443", "user-service", 443),
        ("https://[::1]", "[::1]", "::1", 443),
    ] {
        assert_eq!(parts(url), (authority.into(), host.into(), port), "{url}");
    }
}

#[test]
fn the_scheme_tells_whether_tls_is_spoken() {
    let parse = |url| Instance::parse(url, None).unwrap();
    assert!(parse("https://a").is_secure() && !parse("http://a").is_secure());
    assert_ne!(parse("https://a").key, parse("http://a").key);
}

#[test]
fn everything_else_is_refused() {
    for url in [
        "",
        "user-service:80",
        "ftp://user-service",
        "HTTP://user-service",
        "http://",
        "http://:80",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:+80",
        "http://a:000080",
        "http://a/path",
        "http://a?query",
        "http://user@a",
        "http://a:80:80",
        "http://::1",
        "http://[::1",
        "http://[::1]80",
        "http://[a]:80",
        "http://a b",
        "http://é",
    ] {
        assert!(Instance::parse(url, None).is_err(), "{url}");
    }
    assert!(Instance::parse(&format!("http://{}", "a".repeat(254)), None).is_err());
}
